//! Signing in with an admin token, with an access token, or at the issuer of operators, and signing
//! out.

use std::pin::pin;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderValue, Method};
use secrecy::ExposeSecret as _;
use sts_protocol::Form;

use super::super::call::{form, log, read};
use super::super::refused::Refused;
use super::super::{AdminApi, answer};
use super::page::{SignIn, SignedIn};
use super::session::{COOKIE_NAME, SIGN_IN, SIGN_IN_COOKIE_NAME, cookie};
use crate::admin::{Denied, Returned, SignInError};
use crate::http::answer::correlated;
use crate::http::intake::{Intake, Observed};
use crate::http::peer::Peer;
use crate::telemetry::{Endpoint, RequestOutcome};

/// The path of the first page.
const HOME: &str = "/console";
/// The attributes of the cookie of a session. `Strict`: a link from another site arrives without it.
const SESSION: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";
/// The attributes of the cookie of a sign-in that has begun. `Lax`: the issuer leads back with it.
const PENDING: &str = "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600";
const ENDED: &str = "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";

/// Returns the path that signs in with a code of [`Access::offer`](crate::admin::Access::offer).
#[must_use]
pub fn sign_in_path(code: &str) -> String {
    format!("{SIGN_IN}?code={code}")
}

/// Shows the form. With the code of a link in the query, begins its session.
pub(super) async fn show(State(api): State<AdminApi>, request: Request) -> Response {
    let query = query(&request);
    // A HEAD request, as for a preview of a link, spends no code.
    let query = query.filter(|_| request.method() == Method::GET);
    let bearer = query.and_then(|query| api.access.spend(query.get("code")?));
    if let Some(session) = bearer.and_then(|bearer| api.administration.begin_session(bearer.expose_secret())) {
        return signed_in(Redirect::to(HOME).into_response(), &session);
    }
    answer::page(&form_page(&api, None))
}

/// Begins a session for the credential in the form. It replaces any session of the browser.
pub(super) async fn sign_in(State(api): State<AdminApi>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    attempt(&api, &head, Step::Form(body)).await
}

/// Sends the browser to the issuer of operators.
pub(super) async fn begin(State(api): State<AdminApi>, request: Request) -> Response {
    attempt(&api, &request.into_parts().0, Step::Begin).await
}

/// Begins a session for the code that the issuer sent the browser back with.
pub(super) async fn finish(State(api): State<AdminApi>, request: Request) -> Response {
    let query = query(&request);
    let response = attempt(&api, &request.into_parts().0, Step::Finish(query)).await;
    with_cookie(response, &format!("{SIGN_IN_COOKIE_NAME}=; {ENDED}"))
}

/// Ends the session of the browser.
pub(super) async fn sign_out() -> Response {
    with_cookie(Redirect::to(SIGN_IN).into_response(), &format!("{COOKIE_NAME}=; {SESSION}; Max-Age=0"))
}

/// A step of signing in.
enum Step {
    /// A credential in a form.
    Form(Body),
    /// The way to the issuer.
    Begin,
    /// The way back from the issuer, with this query.
    Finish(Option<Form>),
}

/// Answers a request of a browser without a session. A refusal is the page with the form.
async fn attempt(api: &AdminApi, head: &Parts, step: Step) -> Response {
    let peer = Peer::of(head);
    let intake = Intake::new(&api.app, Endpoint::Admin, head, &peer);
    let mut observed = Observed::begin(&intake);
    let done = {
        let work = pin!(async {
            api.app.sts.rates().admit_source(intake.source).map_err(Denied::from)?;
            match step {
                Step::Form(body) => of_form(api, &intake, body).await,
                Step::Begin => to_issuer(api).await,
                Step::Finish(query) => of_issuer(api, &intake, query).await.inspect_err(warn),
            }
        });
        intake.in_time(work).await
    };
    let response = match done {
        Ok(response) => {
            observed.decided(RequestOutcome::Ok, None);
            response
        }
        Err(refused) => {
            observed.decided(answer::outcome(&refused), Some(refused.reason()));
            log(&refused, &intake);
            answer::refusal_page(&refused, &form_page(api, Some(answer::detail(&refused))))
        }
    };
    correlated(response, &intake.correlation_id)
}

async fn of_form(api: &AdminApi, intake: &Intake<'_>, body: Body) -> Result<Response, Refused> {
    let body = read(intake, body).await?;
    let form = form(&intake.head.headers, &body)?;
    let bearer = form.get("token").map(str::trim).ok_or(Denied::Unauthenticated)?;
    let session = session_of(api, intake, bearer).await?;
    Ok(signed_in(Redirect::to(HOME).into_response(), &session))
}

async fn to_issuer(api: &AdminApi) -> Result<Response, Refused> {
    let sign_in = api.access.sign_in().ok_or(Refused::Endpoint)?;
    let (url, sealed) = api.administration.begin_sign_in(sign_in).await.map_err(Refused::SignIn)?;
    let sealed = sealed.ok_or(Refused::Ended)?;
    let response = Redirect::to(url.as_str()).into_response();
    Ok(with_cookie(response, &format!("{SIGN_IN_COOKIE_NAME}={sealed}; {PENDING}")))
}

async fn of_issuer(api: &AdminApi, intake: &Intake<'_>, query: Option<Form>) -> Result<Response, Refused> {
    let sign_in = api.access.sign_in().ok_or(Refused::Endpoint)?;
    let kept = cookie(&intake.head.headers, SIGN_IN_COOKIE_NAME);
    let pending = kept.and_then(|sealed| api.administration.kept_sign_in(sealed));
    let pending = pending.ok_or(Refused::SignIn(SignInError::State))?;
    let query = query.ok_or(Refused::SignIn(SignInError::Answer))?;
    let [code, state, error, iss] = ["code", "state", "error", "iss"].map(|name| query.get(name).map(str::to_owned));
    let bearer = sign_in.finish(pending, Returned { code, state, error, iss }).await.map_err(Refused::SignIn)?;
    let session = session_of(api, intake, bearer.expose_secret()).await?;
    Ok(signed_in(answer::page(&SignedIn), &session))
}

/// Returns a new session of the operator of this credential.
async fn session_of(api: &AdminApi, intake: &Intake<'_>, bearer: &str) -> Result<String, Refused> {
    let header = HeaderValue::from_str(&format!("Bearer {bearer}")).ok().ok_or(Denied::Authorization)?;
    api.access.authenticate(&api.app.sts, &[&header], intake.source).await?;
    api.administration.begin_session(bearer).ok_or(Refused::SessionSize)
}

/// Logs why a sign-in failed after the issuer had sent the browser back. The setup is often the
/// cause. A request without a pending sign-in is logged for debugging alone, because anyone can send it.
fn warn(refused: &Refused) {
    if !matches!(refused, Refused::SignIn(SignInError::State) | Refused::Denied(Denied::Limited(_)) | Refused::Endpoint)
    {
        tracing::warn!(reason = refused.reason(), detail = refused.detail(), "a sign-in to the console failed");
    }
}

fn form_page<'a>(api: &'a AdminApi, fault: Option<&'a str>) -> SignIn<'a> {
    let at = api.access.sign_in().map(crate::admin::SignIn::issuer);
    SignIn { issuer: api.administration.issuer(), at, fault }
}

fn query(request: &Request<Body>) -> Option<Form> {
    Form::parse(request.uri().query().unwrap_or_default().as_bytes()).ok()
}

fn signed_in(response: Response, session: &str) -> Response {
    with_cookie(response, &format!("{COOKIE_NAME}={session}; {SESSION}"))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
