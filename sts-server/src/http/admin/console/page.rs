//! The frame of all pages, and the pages without an operation.

use askama::Template;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sts_protocol::Form;

use super::super::call::Asked;
use super::super::refused::Refused;
use super::super::{AdminApi, answer};
use super::session::session;
use crate::admin::Denied;
use crate::config::Role;

const STYLE: &str = include_str!("../../../../templates/console/style.css");

/// The content of the frame of a page, and the token of its forms.
#[derive(Debug)]
pub(super) struct Frame {
    /// The name of the operator.
    pub(super) operator: String,
    /// The role of the operator.
    pub(super) role: Role,
    /// The token of the session's forms.
    pub(super) form_token: String,
    /// The issuer identifier of the service.
    pub(super) issuer: String,
}

impl Frame {
    pub(super) fn new(api: &AdminApi, asked: &Asked) -> Self {
        let session = session(api, asked.headers());
        Self {
            operator: asked.operator.name.clone(),
            role: asked.operator.role,
            form_token: session.map(|session| session.form_token().to_owned()).unwrap_or_default(),
            issuer: api.administration.issuer().to_owned(),
        }
    }

    /// Returns true if the operator may revoke and disable.
    pub(super) fn may_stop(&self) -> bool {
        self.role >= Role::Operator
    }
}

/// Returns the form of a request, which must carry the token of the session.
pub(super) fn posted(api: &AdminApi, asked: &Asked) -> Result<Form, Refused> {
    let form = asked.form()?;
    let session = session(api, asked.headers()).ok_or(Denied::Unauthenticated)?;
    match form.get("form_token") {
        Some(token) if session.is_form_token(token) => Ok(form),
        Some(_) | None => Err(Refused::FormToken),
    }
}

#[derive(Template)]
#[template(path = "console/sign_in.html")]
pub(super) struct SignIn<'a> {
    pub(super) issuer: &'a str,
    /// The issuer of operators, if operators sign in there.
    pub(super) at: Option<&'a str>,
    pub(super) fault: Option<&'a str>,
}

/// The page after a sign-in at the issuer. It leads on by itself: a redirect would still count as
/// coming from the issuer, and browsers would send no `Strict` cookie with it.
#[derive(Template)]
#[template(path = "console/signed_in.html")]
pub(super) struct SignedIn;

#[derive(Template)]
#[template(path = "console/refused.html")]
struct RefusedPage<'a> {
    title: &'a str,
    detail: &'a str,
    faults: Vec<&'a str>,
    reason: &'a str,
    correlation_id: &'a str,
}

/// Returns the page of a refusal.
pub(super) fn refusal(refused: &Refused, correlation_id: &str) -> Response {
    let page = RefusedPage {
        title: answer::title(refused),
        detail: answer::detail(refused),
        faults: refused.faults().iter().map(|fault| fault.message.as_str()).collect(),
        reason: refused.reason(),
        correlation_id,
    };
    answer::refusal_page(refused, &page)
}

/// Redirects after a change, so that a reload of the page does not repeat it.
pub(super) fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

pub(super) async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
    ];
    (headers, STYLE).into_response()
}

pub(super) async fn unknown(request: Request) -> Response {
    let correlation_id = crate::http::intake::correlation_id(request.headers()).unwrap_or_default();
    refusal(&Refused::Endpoint, &correlation_id)
}
