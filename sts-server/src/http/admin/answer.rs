//! All statuses and bodies of the admin API: JSON, and problems (RFC 9457) with fixed texts.

use askama::Template;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, ETAG, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::answer::{closing, later};
use super::pages::{Page, PageRequest};
use super::refused::Refused;
use crate::admin::{Denied, Put, SeenEntry, SignInError};
use crate::document::FieldFault;
use crate::rate_limits::{RateLimit, RateLimited};
use crate::telemetry::RequestOutcome;

/// The header with the origin of an entry: `file` or `api`.
pub(super) const ENTRY_ORIGIN: HeaderName = HeaderName::from_static("entry-origin");

/// A refusal (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `about:blank`; `reason` identifies the problem.
    #[serde(rename = "type")]
    r#type: &'static str,
    /// The reason phrase of the status.
    title: &'static str,
    /// The HTTP status code.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The problem and its remedy, as a fixed text for each reason.
    detail: &'static str,
    /// The stable name of the reason, as in the audit log.
    reason: &'static str,
    /// The correlation id, which links the request to its audit event.
    correlation_id: String,
    /// The individual faults of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<FieldFault>,
}

/// An entry in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ListedEntry<T> {
    /// The id of the entry within its kind.
    id: String,
    /// The origin of the entry: `file` or `api`.
    origin: &'static str,
    /// True if an administrator has disabled the entry. No registry file can enable it again.
    disabled_by_admin: bool,
    /// The value for `If-Match`, without its quotes.
    etag: String,
    /// The entry itself, in the form of the registry file.
    entry: T,
}

/// A page of the entries of a kind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryList<T> {
    /// The entries, ordered by id.
    entries: Vec<ListedEntry<T>>,
    /// The `after` of the next page. Absent if there is no next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Returns 200 with a JSON body.
pub(super) fn json(body: &impl Serialize) -> Response {
    with_body(StatusCode::OK, "application/json", body)
}

/// Returns 200 with a JSON document that is already serialized.
pub(super) fn document(body: bytes::Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Returns 204.
pub(super) fn gone() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Returns 200 with an entry.
pub(super) fn entry(entry: &SeenEntry) -> Response {
    described(json(&entry.entry), entry)
}

/// Returns 200 with the stored entry, or 201 if it is new.
pub(super) fn put(put: Put, entry: &SeenEntry) -> Response {
    let status = match put {
        Put::Created => StatusCode::CREATED,
        Put::Changed => StatusCode::OK,
    };
    described(with_body(status, "application/json", &entry.entry), entry)
}

/// Returns 200 with a page of the entries of a kind.
pub(super) fn entries(request: &PageRequest, entries: Vec<SeenEntry>) -> Response {
    let listed = entries.into_iter().map(|entry| ListedEntry::<Map<String, Value>> {
        id: entry.id,
        origin: entry.origin.as_str(),
        disabled_by_admin: entry.disabled_by_admin,
        etag: entry.etag,
        entry: entry.entry,
    });
    let Page { elements, next } = request.page(listed.collect(), |entry| entry.id.clone());
    json(&EntryList { entries: elements, next })
}

/// Returns the problem response to a request that was refused or cannot be served now.
pub(super) fn problem(refused: &Refused, correlation_id: &str) -> Response {
    let status = status(refused);
    let body = Problem {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail: detail(refused),
        reason: refused.reason(),
        correlation_id: correlation_id.to_owned(),
        faults: refused.faults().to_vec(),
    };
    let mut response = with_body(status, "application/problem+json", &body);
    if let Some(challenge) = challenge(refused) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => later(response, refused.retry_after()),
        // The rest of the body is not read, so the connection cannot be reused.
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => closing(response),
        _ => response,
    }
}

/// Returns 200 with a page of the console.
pub(super) fn page(page: &impl Template) -> Response {
    html(StatusCode::OK, page)
}

/// Returns the page of a refusal, with its status.
pub(super) fn refusal_page(refused: &Refused, page: &impl Template) -> Response {
    html(status(refused), page)
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => {
            (status, [(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "failed to render a page of the console");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Returns 421 for a name that is not that of the console.
pub(super) fn wrong_host() -> Response {
    let text = "The console answers to localhost, to IP addresses and to the host of admin.url.\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

/// Returns 403 for a form of another site.
pub(super) fn other_site() -> Response {
    (StatusCode::FORBIDDEN, "A form of another site is not accepted.\n").into_response()
}

/// Returns the reason phrase of the status of a refusal.
pub(super) fn title(refused: &Refused) -> &'static str {
    status(refused).canonical_reason().unwrap_or_default()
}

/// Returns the outcome as metrics name it.
pub(super) fn outcome(refused: &Refused) -> RequestOutcome {
    match status(refused) {
        StatusCode::TOO_MANY_REQUESTS => RequestOutcome::Limited,
        StatusCode::SERVICE_UNAVAILABLE => RequestOutcome::Unavailable,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => RequestOutcome::Unreadable,
        _ => RequestOutcome::Refused,
    }
}

fn status(refused: &Refused) -> StatusCode {
    match refused {
        Refused::Denied(denied) => denied_status(denied),
        Refused::RequestMemory | Refused::Busy => StatusCode::TOO_MANY_REQUESTS,
        Refused::Path | Refused::Json(_) | Refused::Form(_) | Refused::SessionSize | Refused::Body => {
            StatusCode::BAD_REQUEST
        }
        Refused::SignIn(error) if error.is_outage() => StatusCode::SERVICE_UNAVAILABLE,
        Refused::SignIn(_) => StatusCode::UNAUTHORIZED,
        Refused::FormToken => StatusCode::FORBIDDEN,
        Refused::Endpoint => StatusCode::NOT_FOUND,
        Refused::Method => StatusCode::METHOD_NOT_ALLOWED,
        Refused::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refused::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Refused::SlowBody => StatusCode::REQUEST_TIMEOUT,
        Refused::TooSlow | Refused::Ended => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn denied_status(denied: &Denied) -> StatusCode {
    match denied {
        Denied::NotConfigured | Denied::Unauthenticated | Denied::Token | Denied::AccessToken(_) => {
            StatusCode::UNAUTHORIZED
        }
        Denied::Role { .. } => StatusCode::FORBIDDEN,
        Denied::Limited(_) | Denied::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        Denied::Authorization | Denied::Parameters(_) => StatusCode::BAD_REQUEST,
        Denied::NotFound => StatusCode::NOT_FOUND,
        Denied::Faults(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Denied::Conflict(_)
        | Denied::FileMade(_)
        | Denied::TooEarly(..)
        | Denied::TooManyKeys(_)
        | Denied::Undecidable(_) => StatusCode::CONFLICT,
        Denied::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        Denied::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Denied::IssuerKeys(_)
        | Denied::Contended
        | Denied::Uncounted
        | Denied::Keys(_)
        | Denied::Storage(_)
        | Denied::Registry(_)
        | Denied::Snapshot(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub(super) fn detail(refused: &Refused) -> &'static str {
    match refused {
        Refused::Denied(denied) => denied_detail(denied),
        Refused::RequestMemory => "Other requests use the memory for the body. Retry later.",
        Refused::Busy => "Too many requests of operators are in progress. Retry later.",
        Refused::Path => "The path does not decode to UTF-8.",
        Refused::Endpoint => "This endpoint does not exist. openapi.json lists all endpoints.",
        Refused::Method => "The endpoint does not have this method. The Allow header lists its methods.",
        Refused::MediaType => "The body must be declared as application/json.",
        Refused::Json(_) => "The body must be one JSON object, without repeated members.",
        Refused::Form(_) => "The body must be one form, without repeated fields.",
        Refused::FormToken => "The form does not belong to this session. Load its page again.",
        Refused::SessionSize => "The token is too long for a session of the console.",
        Refused::SignIn(error) => sign_in_detail(error),
        Refused::Body => "The body ended early.",
        Refused::TooLarge => "The body is too large.",
        Refused::SlowBody => "The body took too long.",
        Refused::TooSlow | Refused::Ended => {
            "The request timed out, but may have taken effect. Check before you retry."
        }
    }
}

fn sign_in_detail(error: &SignInError) -> &'static str {
    match error {
        SignInError::Issuer(_) => "The issuer of operators cannot be reached. Retry later.",
        SignInError::State => "The sign-in was not begun in this browser, or took more than 10 minutes. Begin again.",
        SignInError::Refused(_) => "The issuer of operators refused the sign-in. The log of the server has the reason.",
        SignInError::Endpoint(_) | SignInError::Secret(_) | SignInError::OtherIssuer | SignInError::Answer => {
            "The sign-in at the issuer of operators is not set up correctly. The log of the server has the reason."
        }
    }
}

fn denied_detail(denied: &Denied) -> &'static str {
    match denied {
        Denied::NotConfigured => {
            "No operator may use the admin API yet: add [[admin.tokens]] to the configuration (`sts-server admin token` makes one), or [admin.oidc]."
        }
        Denied::Unauthenticated => "A bearer token of an operator is needed.",
        Denied::Authorization => "There must be one Authorization header with one bearer token.",
        Denied::Token | Denied::AccessToken(_) => "The bearer token is not accepted.",
        Denied::IssuerKeys(_) => "The keys of the operators' issuer cannot be fetched. Retry later.",
        Denied::Limited(RateLimited { limit: RateLimit::FailedAttempts, .. }) => {
            "Too many attempts have failed. Retry later."
        }
        Denied::Limited(_) => "Too many requests. Retry later.",
        Denied::Overloaded => "Too many secrets are waiting to be checked. Retry later.",
        Denied::Role { .. } => "Insufficient role. WWW-Authenticate names the role required.",
        Denied::Parameters(_) => "The query or a header is invalid.",
        Denied::NotFound => "The object does not exist.",
        Denied::Faults(_) => "The body has faults. Nothing was changed.",
        Denied::Conflict(_) => "The change would leave the registry with faults. Nothing was changed.",
        Denied::PreconditionRequired => {
            "Say what is to be changed: If-Match with the entry's ETag, or If-None-Match: * for an entry that is new."
        }
        Denied::PreconditionFailed => "The entry has changed since you read it. Fetch it and retry.",
        Denied::FileMade(_) => "This entry is managed by the registry file; the API can only disable or enable it.",
        Denied::TooEarly(..) => "The next key was published too recently for every verifier to know it.",
        Denied::TooManyKeys(_) => "Too many signing keys are published. Retry after a retired key has expired.",
        Denied::Undecidable(_) => "The decision is not possible: the approval is closed, or its user decides.",
        Denied::Contended => "Another change happened at the same time. Retry.",
        Denied::Uncounted => "The servers are still counting the uses in the audit log. Ask again in a few minutes.",
        Denied::Keys(_) => "The signing keys could not be changed; the log says why.",
        Denied::Storage(_) | Denied::Snapshot(_) => {
            "The database cannot be reached, or the change is committed but not yet in force on this server. Check, then retry."
        }
        Denied::Registry(_) => "The stored registry cannot be read; the log says why.",
    }
}

/// Returns the challenge of RFC 6750 §3, if the problem needs a challenge.
fn challenge(refused: &Refused) -> Option<HeaderValue> {
    let Refused::Denied(denied) = refused else { return None };
    let challenge = match denied {
        Denied::NotConfigured | Denied::Unauthenticated => "Bearer realm=\"sts-admin\"".to_owned(),
        Denied::Authorization => "Bearer realm=\"sts-admin\", error=\"invalid_request\"".to_owned(),
        Denied::Token | Denied::AccessToken(_) => "Bearer realm=\"sts-admin\", error=\"invalid_token\"".to_owned(),
        Denied::Role { needs } => {
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
    headers.insert(ENTRY_ORIGIN, HeaderValue::from_static(entry.origin.as_str()));
    response
}

fn with_body(status: StatusCode, content_type: &'static str, body: &impl Serialize) -> Response {
    let Ok(body) = serde_json::to_vec(body) else {
        tracing::error!("failed to serialize an answer");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
