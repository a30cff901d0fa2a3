//! The face of the admin listener for browsers: a session in a cookie, and refusals as pages.

use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, HeaderValue};

use super::super::AdminApi;
use super::super::call::Face;
use super::super::refused::Refused;
use super::BASE;
use super::page;
use super::session::{SIGN_IN, session};
use crate::admin::Denied;
use crate::http::intake::Intake;

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
                Redirect::to(SIGN_IN).into_response()
            }
            _ => page::refusal(refused, &intake.correlation_id),
        }
    }
}
