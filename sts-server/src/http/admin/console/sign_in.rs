//! Signing in with an admin token or an access token, and signing out.

use std::pin::pin;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderValue, Method};
use secrecy::ExposeSecret as _;
use sts_protocol::Form;

use super::super::call::{form, log, read};
use super::super::refused::Refused;
use super::super::{AdminApi, answer};
use super::page::SignIn;
use super::session::{COOKIE_NAME, SIGN_IN};
use crate::admin::Denied;
use crate::http::answer::correlated;
use crate::http::intake::{Intake, Observed};
use crate::http::peer::Peer;
use crate::telemetry::{Endpoint, RequestOutcome};

/// The path of the first page.
const HOME: &str = "/console";
/// The attributes of the cookie. `Strict`: a link from another site arrives without a session.
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";

/// Returns the path that signs in with a code of [`Access::offer`](crate::admin::Access::offer).
#[must_use]
pub fn sign_in_path(code: &str) -> String {
    format!("{SIGN_IN}?code={code}")
}

/// Shows the form. With the code of a link in the query, begins its session.
pub(super) async fn show(State(api): State<AdminApi>, request: Request) -> Response {
    let query = Form::parse(request.uri().query().unwrap_or_default().as_bytes()).ok();
    // A HEAD request, as for a preview of a link, spends no code.
    let query = query.filter(|_| request.method() == Method::GET);
    let bearer = query.and_then(|query| api.access.spend(query.get("code")?));
    if let Some(session) = bearer.and_then(|bearer| api.administration.begin_session(bearer.expose_secret())) {
        return signed_in(&session);
    }
    answer::page(&SignIn { issuer: api.administration.issuer(), fault: None })
}

/// Begins a session for the credential in the form. It replaces any session of the browser.
pub(super) async fn sign_in(State(api): State<AdminApi>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let peer = Peer::of(&head);
    let intake = Intake::new(&api.app, Endpoint::Admin, &head, &peer);
    let mut observed = Observed::begin(&intake);
    let begun = {
        let work = pin!(async {
            let sts = &api.app.sts;
            sts.rates().admit_source(intake.source).map_err(Denied::from)?;
            let body = read(&intake, body).await?;
            let form = form(&head.headers, &body)?;
            let bearer = form.get("token").map(str::trim).ok_or(Denied::Unauthenticated)?;
            let header = HeaderValue::from_str(&format!("Bearer {bearer}")).ok().ok_or(Denied::Authorization)?;
            api.access.authenticate(sts, &[&header], intake.source).await?;
            api.administration.begin_session(bearer).ok_or(Refused::SessionSize)
        });
        intake.in_time(work).await
    };
    let response = match begun {
        Ok(session) => {
            observed.decided(RequestOutcome::Ok, None);
            signed_in(&session)
        }
        Err(refused) => {
            observed.decided(answer::outcome(&refused), Some(refused.reason()));
            log(&refused, &intake);
            let fault = Some(answer::detail(&refused));
            answer::refusal_page(&refused, &SignIn { issuer: api.administration.issuer(), fault })
        }
    };
    correlated(response, &intake.correlation_id)
}

fn signed_in(session: &str) -> Response {
    with_cookie(Redirect::to(HOME).into_response(), &format!("{COOKIE_NAME}={session}; {ATTRIBUTES}"))
}

/// Ends the session of the browser.
pub(super) async fn sign_out() -> Response {
    with_cookie(Redirect::to(SIGN_IN).into_response(), &format!("{COOKIE_NAME}=; {ATTRIBUTES}; Max-Age=0"))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
