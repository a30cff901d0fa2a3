//! Every status and every body of the admin API: JSON, and problems (RFC 9457) with fixed texts.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, ETAG, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::answer::{closing, later};
use crate::admin::{Put, Refusal, SeenEntry};
use crate::document::FieldFault;
use crate::rate_limits::{RateLimit, RateLimited};
use crate::storage::Origin;
use crate::telemetry::Outcome;

/// Who made the entry: `file` or `api`.
pub(super) const ENTRY_ORIGIN: HeaderName = HeaderName::from_static("entry-origin");

/// What every refusal says (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`: `reason` says what it is.
    #[serde(rename = "type")]
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong, and what to do about it: a fixed text for each reason.
    detail: &'static str,
    /// The stable name of the reason, as in the audit log.
    reason: &'static str,
    /// What joins the request to its audit event.
    correlation_id: String,
    /// What exactly is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<FieldFault>,
}

/// An entry in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListedEntry<T> {
    /// Its name among its kind.
    id: String,
    /// Who made it: `file` or `api`.
    origin: &'static str,
    /// Whether an administrator has disabled it, which no registry file lifts.
    disabled_by_admin: bool,
    /// What `If-Match` takes, without its quotes.
    etag: String,
    /// The entry.
    entry: T,
}

/// All entries of a kind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryList<T> {
    /// The entries, by their names.
    entries: Vec<ListedEntry<T>>,
}

/// 200 with a JSON body.
pub(super) fn json(body: &impl Serialize) -> Response {
    with_body(StatusCode::OK, "application/json", body)
}

/// 200 with a JSON document that is written already.
pub(super) fn document(body: bytes::Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 204.
pub(super) fn gone() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 200 with an entry.
pub(super) fn entry(entry: &SeenEntry) -> Response {
    described(json(&entry.entry), entry)
}

/// 200, or 201 where it is new, with an entry that was put.
pub(super) fn put(put: Put, entry: &SeenEntry) -> Response {
    let status = match put {
        Put::Created => StatusCode::CREATED,
        Put::Changed => StatusCode::OK,
    };
    described(with_body(status, "application/json", &entry.entry), entry)
}

/// 200 with all entries of a kind.
pub(super) fn entries(entries: Vec<SeenEntry>) -> Response {
    let listed = entries.into_iter().map(|entry| ListedEntry::<Map<String, Value>> {
        id: entry.id,
        origin: origin(entry.origin),
        disabled_by_admin: entry.disabled_by_admin,
        etag: entry.etag,
        entry: entry.entry,
    });
    json(&EntryList { entries: listed.collect() })
}

/// A refusal, or an outage.
pub(super) fn problem(refusal: &Refusal, correlation_id: &str) -> Response {
    let status = status(refusal);
    let body = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail: detail(refusal),
        reason: refusal.reason(),
        correlation_id: correlation_id.to_owned(),
        faults: refusal.faults().to_vec(),
    };
    let mut response = with_body(status, "application/problem+json", &body);
    if let Some(challenge) = challenge(refusal) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => later(response, refusal.retry_after()),
        // The rest of the body is not read, so the connection cannot be used again.
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => closing(response),
        _ => response,
    }
}

/// What metrics call it.
pub(super) fn outcome(refusal: &Refusal) -> Outcome {
    match status(refusal) {
        StatusCode::TOO_MANY_REQUESTS => Outcome::Limited,
        StatusCode::SERVICE_UNAVAILABLE => Outcome::Unavailable,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => Outcome::Unreadable,
        _ => Outcome::Refused,
    }
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NotConfigured | Refusal::Unauthenticated | Refusal::Token | Refusal::AccessToken(_) => {
            StatusCode::UNAUTHORIZED
        }
        Refusal::Role { .. } => StatusCode::FORBIDDEN,
        Refusal::Limited(_) | Refusal::RequestMemory | Refusal::Overloaded | Refusal::Busy => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Refusal::Authorization | Refusal::Path | Refusal::Parameters(_) | Refusal::Json(_) | Refusal::Body => {
            StatusCode::BAD_REQUEST
        }
        Refusal::NotFound | Refusal::Endpoint => StatusCode::NOT_FOUND,
        Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::SlowBody => StatusCode::REQUEST_TIMEOUT,
        Refusal::Faults(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Conflict(_) | Refusal::FileMade(_) | Refusal::TooEarly(..) | Refusal::TooManyKeys(_) => {
            StatusCode::CONFLICT
        }
        Refusal::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        Refusal::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Refusal::IssuerKeys(_)
        | Refusal::Contended
        | Refusal::Keys(_)
        | Refusal::Storage(_)
        | Refusal::Registry(_)
        | Refusal::Snapshot(_)
        | Refusal::TooSlow
        | Refusal::Ended => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn detail(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotConfigured => {
            "Nobody may use the admin API yet: add [[admin.tokens]] to the configuration (`sts-server admin token` makes one), or [admin.oidc]."
        }
        Refusal::Unauthenticated => "A bearer token of an operator is needed.",
        Refusal::Authorization => "There must be one Authorization header with one bearer token.",
        Refusal::Token | Refusal::AccessToken(_) => "The bearer token is not accepted.",
        Refusal::IssuerKeys(_) => "The keys of the operators' issuer are out of reach: come back later.",
        Refusal::Limited(RateLimited { limit: RateLimit::FailedAttempts, .. }) => {
            "Too many attempts have failed: come back later."
        }
        Refusal::Limited(_) => "Too many requests: come back later.",
        Refusal::RequestMemory => "Other requests hold the memory for the body: come back later.",
        Refusal::Overloaded => "Too many secrets wait to be checked: come back later.",
        Refusal::Busy => "Too many requests of operators are served at this moment: come back later.",
        Refusal::Role { .. } => "The operator's role does not reach: WWW-Authenticate names the one that would.",
        Refusal::Path => "The path does not decode to UTF-8.",
        Refusal::Parameters(_) => "The query or a header makes no sense.",
        Refusal::NotFound => "There is no such thing.",
        Refusal::Endpoint => "There is no such endpoint: openapi.json lists them.",
        Refusal::Method => "The endpoint does not have this method: Allow names those that it has.",
        Refusal::MediaType => "The body must be declared as application/json.",
        Refusal::Json(_) => "The body must be one JSON object, without repeated members.",
        Refusal::Body => "The body ended early.",
        Refusal::TooLarge => "The body is too large.",
        Refusal::SlowBody => "The body took too long.",
        Refusal::Faults(_) => "The body has faults; nothing was done.",
        Refusal::Conflict(_) => "The registry would be left with faults; nothing was done.",
        Refusal::PreconditionRequired => {
            "Say what is to be changed: If-Match with the entry's ETag, or If-None-Match: * for an entry that is new."
        }
        Refusal::PreconditionFailed => {
            "Somebody was faster: the entry is not what the request takes it for. Read it again."
        }
        Refusal::FileMade(_) => "The registry file made this entry: here it can only be disabled, and that be lifted.",
        Refusal::TooEarly(..) => "The next key was published too short a time ago for every verifier to know it.",
        Refusal::TooManyKeys(_) => "Too many signing keys are published: a retired one must go first.",
        Refusal::Contended => "Others changed the same at the same time: come back.",
        Refusal::Keys(_) => "The signing keys could not be changed; the log says why.",
        Refusal::Storage(_) | Refusal::Snapshot(_) => {
            "The database is out of reach, or what was asked for is done and does not hold here yet: look, and ask again."
        }
        Refusal::Registry(_) => "The stored registry cannot be read; the log says why.",
        Refusal::TooSlow | Refusal::Ended => {
            "It took too long. What was asked for may have been done: look before asking again."
        }
    }
}

/// RFC 6750 §3.
fn challenge(refusal: &Refusal) -> Option<HeaderValue> {
    let challenge = match refusal {
        Refusal::NotConfigured | Refusal::Unauthenticated => "Bearer realm=\"sts-admin\"".to_owned(),
        Refusal::Authorization => "Bearer realm=\"sts-admin\", error=\"invalid_request\"".to_owned(),
        Refusal::Token | Refusal::AccessToken(_) => "Bearer realm=\"sts-admin\", error=\"invalid_token\"".to_owned(),
        Refusal::Role { needs } => {
            format!("Bearer realm=\"sts-admin\", error=\"insufficient_scope\", scope=\"{needs}\"")
        }
        _ => return None,
    };
    HeaderValue::from_str(&challenge).ok()
}

fn described(mut response: Response, entry: &SeenEntry) -> Response {
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", entry.etag)) {
        headers.insert(ETAG, etag);
    }
    headers.insert(ENTRY_ORIGIN, HeaderValue::from_static(origin(entry.origin)));
    response
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::File => "file",
        Origin::Api => "api",
    }
}

fn with_body(status: StatusCode, content_type: &'static str, body: &impl Serialize) -> Response {
    let Ok(body) = serde_json::to_vec(body) else {
        tracing::error!("an answer could not be written as JSON");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
