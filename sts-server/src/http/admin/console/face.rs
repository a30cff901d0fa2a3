//! The face of the admin listener for browsers: a session in a cookie, and refusals as pages.

use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::super::call::Face;
use super::super::refused::Refused;
use super::super::{AdminApi, answer};
use super::page;
use super::{BASE, sign_in};
use crate::admin::{Denied, Session};
use crate::http::intake::Intake;

/// The name of the cookie. Browsers accept a `__Host-` cookie of a secure origin alone, for the
/// whole origin and no other (RFC 6265bis §4.1.3.2).
pub(super) const COOKIE_NAME: &str = "__Host-sts-console";

/// The face of browsers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Browser;

impl Face for Browser {
    fn base(self) -> &'static str {
        BASE
    }

    fn authorization(self, api: &AdminApi, headers: &HeaderMap) -> Vec<HeaderValue> {
        let session = session(api, headers);
        let header = session.and_then(|session| HeaderValue::from_str(&format!("Bearer {}", session.bearer())).ok());
        header.into_iter().collect()
    }

    fn refusal(self, refused: &Refused, intake: &Intake<'_>) -> Response {
        match refused {
            Refused::Denied(Denied::Unauthenticated | Denied::Token | Denied::AccessToken(_)) => {
                Redirect::to(sign_in::PATH).into_response()
            }
            _ => page::refusal(refused, answer::status(refused), &intake.correlation_id),
        }
    }
}

/// Returns the session of a request.
pub(super) fn session(api: &AdminApi, headers: &HeaderMap) -> Option<Session> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let sealed = pairs.find_map(|(name, value)| (name == COOKIE_NAME).then_some(value))?;
    api.administration.session(sealed)
}
