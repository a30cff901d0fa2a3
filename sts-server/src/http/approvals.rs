//! `/approvals/{id}` of the public listener: the user of a request sees it, and decides.
//!
//! A client sends the user's token as bearer token and gets JSON. A portal where the user has signed
//! in posts the token as a form, and the user gets a page ([`super::approval_page`]).

use std::pin::pin;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, Method};
use sts_jose::json::parse_object;
use sts_protocol::{Form, parameter};

use super::answer::{self, IntakeFault};
use super::body::{self, HeldBody};
use super::content_type::{Charset, FORM, JSON, charset};
use super::intake::{About, Intake, Observed, Unserved};
use super::peer::Peer;
use super::unanswered::Unanswered;
use super::{App, approval_page};
use crate::approval::{ApprovalAct, SeenApproval};
use crate::exchange::{ApproverCall, decide_approval, show_approval};
use crate::telemetry::{Endpoint, RequestOutcome};

/// The form field, and the JSON member, with the decision.
const DECISION: &str = "decision";

/// A request as a person sent it: the token, the decision, and the form of the answer.
struct PersonRequest {
    token: String,
    act: Option<ApprovalAct>,
    shape: Shape,
}

/// The form of the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Json,
    Page,
}

impl From<Unanswered> for Unserved<Unanswered> {
    fn from(unanswered: Unanswered) -> Self {
        Self::Refused(unanswered)
    }
}

/// Answers a GET or a POST.
pub(super) async fn approval(State(app): State<App>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let peer = Peer::of(&head);
    let intake = Intake::new(&app, Endpoint::Approvals, &head, &peer);
    let mut observed = Observed::begin(&intake);
    let is_page = wants_page(&head.headers);
    let answered = {
        let work = pin!(async { serve(&intake, body).await });
        intake.in_time(work).await
    };
    let response = match answered {
        Ok(response) => {
            observed.decided(RequestOutcome::Ok, None);
            response
        }
        Err(Unserved::Intake(fault)) => {
            observed.decided(fault.outcome(), Some(fault.reason()));
            intake.log_fault(fault);
            answer::intake_fault(fault)
        }
        Err(Unserved::Refused(unanswered)) => {
            let reason = unanswered.reason();
            observed.decided(answer::approval_outcome(&unanswered), Some(reason));
            intake.log_refusal(reason, || About { detail: detail(&unanswered), ..About::default() });
            if is_page {
                answer::approval_error_page(&unanswered, approval_page::error)
            } else {
                answer::approval_error(&unanswered)
            }
        }
    };
    intake.seal(response)
}

async fn serve(intake: &Intake<'_>, body: Body) -> Result<Response, Unserved<Unanswered>> {
    let sts = &intake.app.sts;
    if let Err(limited) = sts.rates().admit_source(intake.source) {
        body::leave(intake.peer);
        return Err(Unanswered::Refused(limited.into()).into());
    }
    let body = if intake.head.method == Method::POST {
        intake.read(body).await.map_err(IntakeFault::from)?
    } else {
        HeldBody::default()
    };
    let PersonRequest { token, act, shape } = presented(intake, &body)?;
    let id = intake.head.uri.path().rsplit('/').next().unwrap_or_default();
    let call = ApproverCall { token: &token, id, correlation_id: &intake.correlation_id, source: intake.source };
    let seen = match act {
        Some(act) => decide_approval(sts, &call, act).await,
        None => show_approval(sts, &call).await,
    };
    let seen = seen.map_err(Unanswered::from)?;
    Ok(shown(&seen, shape, &token))
}

fn shown(seen: &SeenApproval, shape: Shape, token: &str) -> Response {
    match shape {
        Shape::Json => answer::json(seen),
        Shape::Page => answer::approval_page(approval_page::approval(seen, token)),
    }
}

/// Reads the token and the decision.
fn presented(intake: &Intake<'_>, body: &[u8]) -> Result<PersonRequest, Unanswered> {
    let headers = &intake.head.headers;
    let bearer = bearer(headers)?;
    if intake.head.method != Method::POST {
        let token = bearer.ok_or(Unanswered::TokenMissing)?;
        return Ok(PersonRequest { token, act: None, shape: Shape::Json });
    }
    if charset(headers, FORM) == Some(Charset::Utf8) {
        let form = Form::parse(body).or(Err(Unanswered::Malformed("the body is no form")))?;
        let act = form.get(DECISION).map(act).transpose()?;
        return match (bearer, form.get(parameter::TOKEN)) {
            (Some(token), None) => {
                let act = Some(act.ok_or(Unanswered::Malformed("decision is missing"))?);
                Ok(PersonRequest { token, act, shape: Shape::Json })
            }
            (None, Some(token)) => Ok(PersonRequest { token: token.to_owned(), act, shape: Shape::Page }),
            (None, None) => Err(Unanswered::TokenMissing),
            (Some(_), Some(_)) => Err(Unanswered::Malformed("there are two tokens")),
        };
    }
    if charset(headers, JSON) != Some(Charset::Utf8) {
        return Err(Unanswered::Malformed("the body is neither a form nor JSON"));
    }
    let token = bearer.ok_or(Unanswered::TokenMissing)?;
    let object = parse_object(body).or(Err(Unanswered::Malformed("the body is not one JSON object")))?;
    match (object.get(DECISION).and_then(serde_json::Value::as_str), object.len()) {
        (Some(decision), 1) => Ok(PersonRequest { token, act: Some(act(decision)?), shape: Shape::Json }),
        _ => Err(Unanswered::Malformed("the body must have decision alone")),
    }
}

fn act(text: &str) -> Result<ApprovalAct, Unanswered> {
    serde_json::from_value(text.into()).or(Err(Unanswered::Malformed("decision must be grant, deny or withdraw")))
}

/// Returns the one bearer token of the `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, Unanswered> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let malformed = || Unanswered::Malformed("Authorization must be one bearer token");
    let Some(value) = values.next() else { return Ok(None) };
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
    let is_one = values.next().is_none() && scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty();
    if is_one { Ok(Some(token.trim().to_owned())) } else { Err(malformed()) }
}

/// Returns true if a person reads the answer in a browser.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accepts.is_some_and(|accept| accept.contains("text/html")) && !headers.contains_key(AUTHORIZATION)
}

fn detail(unanswered: &Unanswered) -> String {
    match unanswered {
        Unanswered::TokenMissing => "no token".to_owned(),
        Unanswered::Malformed(what) => (*what).to_owned(),
        Unanswered::Refused(refusal) => sts_jose::error_chain(refusal),
    }
}
