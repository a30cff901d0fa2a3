//! All statuses and bodies of the public endpoints. Responses carry fixed texts; causes go to the
//! audit log.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, PRAGMA, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use sts_protocol::{DeferralResponse, ErrorCode, ErrorResponse, InteractionResponse, parameter};

use super::body::BodyFault;
use super::unanswered::Unanswered;
use crate::error_kind::ErrorKind;
use crate::exchange::{ApproverRefusal, AwaitedApproval, DeferredAnswer, OUTAGE_RETRY, Refusal};
use crate::telemetry::RequestOutcome;

/// The challenge for a client that used the `Authorization` header (RFC 6749 §5.2).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"sts\", charset=\"UTF-8\"");

/// Returns the fixed text of a kind of error: ASCII without quotes and backslashes (RFC 6749 §5.2).
fn description(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Request => {
            "The request is malformed, or lacks or repeats a parameter, or asks for what is not served."
        }
        ErrorKind::Token => "The subject token or the actor token is not acceptable.",
        ErrorKind::Target => "The target is missing, unknown, not allowed or not exactly one.",
        ErrorKind::Scope => "The scope is malformed, or beyond what is allowed.",
        ErrorKind::Details => "The authorization details are malformed, or beyond what is allowed.",
        ErrorKind::Interaction => "A person must approve the request first.",
        ErrorKind::Pending => "A person has not decided yet.",
        ErrorKind::PollRate => "The deferral code is polled too often: add 5 seconds to the interval.",
        ErrorKind::Deferral => "The deferral code is not acceptable.",
        ErrorKind::Denied => "The request was denied.",
        ErrorKind::Grant => "The client may not do this.",
        ErrorKind::UnsupportedGrant => "The grant type is not supported.",
        ErrorKind::Client => "Client authentication failed.",
        ErrorKind::Proof => "The DPoP proof is not acceptable.",
        ErrorKind::ProofNonce => "The DPoP proof needs the nonce in the DPoP-Nonce header of this answer.",
        ErrorKind::Binding => "The token must be bound to a key of the client, which the request does not prove.",
        ErrorKind::TokenSize => "The token would be too large.",
        ErrorKind::TooMany => "Too many requests or failed attempts: come back later.",
        ErrorKind::Unavailable => "The service cannot answer now.",
    }
}

/// The usual upper bound of an answer with a token.
const USUAL_BODY_BYTES: usize = 2 * 1024;

/// The `Retry-After` of a failed readiness probe.
const READY_RETRY: Duration = Duration::from_secs(1);

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Request
        | ErrorKind::Token
        | ErrorKind::Target
        | ErrorKind::Scope
        | ErrorKind::Details
        | ErrorKind::Interaction
        | ErrorKind::Pending
        | ErrorKind::PollRate
        | ErrorKind::Deferral
        | ErrorKind::Denied
        | ErrorKind::Grant
        | ErrorKind::UnsupportedGrant
        | ErrorKind::Proof
        | ErrorKind::ProofNonce
        | ErrorKind::Binding
        | ErrorKind::TokenSize => StatusCode::BAD_REQUEST,
        ErrorKind::Client => StatusCode::UNAUTHORIZED,
        ErrorKind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Returns 200 with a JSON body.
pub(super) fn json(body: &impl Serialize) -> Response {
    with_body(StatusCode::OK, body)
}

/// Returns 200 with metrics, in the text format of Prometheus.
pub(super) fn metrics(text: String) -> Response {
    let mut response = text.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}

/// Returns 200 without a body (RFC 7009 §2.2).
pub(super) fn empty() -> Response {
    StatusCode::OK.into_response()
}

/// Returns the response to a request that was refused or cannot be served now.
pub(super) fn refusal(refusal: &Refusal, used_authorization_header: UsedHeader) -> Response {
    let kind = refusal.kind();
    if let Refusal::ApprovalRequired(awaited) = refusal {
        return interaction(awaited);
    }
    if let Refusal::Deferred(answer) = refusal {
        return deferred(answer);
    }
    let mut response = match refusal.told() {
        Some(told) => error(status(kind), kind.code(), &completed(kind, &told)),
        None => error(status(kind), kind.code(), description(kind)),
    };
    if kind == ErrorKind::Client && used_authorization_header == UsedHeader::Authorization {
        response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    }
    match refusal.retry_after() {
        Some(wait) => later(response, wait),
        None => response,
    }
}

/// Returns the response to a request that a person must approve first.
fn interaction(awaited: &AwaitedApproval) -> Response {
    let kind = ErrorKind::Interaction;
    let error = ErrorResponse { error: kind.code(), error_description: description(kind).to_owned() };
    let AwaitedApproval { id, uri, by } = awaited.clone();
    let approver = by.as_str().to_owned();
    with_body(status(kind), &InteractionResponse { error, interaction_uri: uri, approval_id: id, approver })
}

/// Returns the response to a request that waits for a person.
fn deferred(answer: &DeferredAnswer) -> Response {
    let kind = ErrorKind::Pending;
    let error = ErrorResponse { error: kind.code(), error_description: description(kind).to_owned() };
    let DeferredAnswer { code, expires_in, interval } = answer.clone();
    with_body(status(kind), &DeferralResponse { error, deferral_code: code, expires_in, interval })
}

/// Returns 200 with a page for a person.
pub(super) fn approval_page(html: String) -> Response {
    page(StatusCode::OK, html)
}

/// Returns the response to a client whose request about an approval was not served.
pub(super) fn approval_error(unanswered: &Unanswered) -> Response {
    let body = serde_json::json!({ "error": unanswered.reason(), "error_description": approval_told(unanswered) });
    approval_headers(unanswered, with_body(approval_status(unanswered), &body))
}

/// Returns the same as a page for a person, which `render` makes of the text.
pub(super) fn approval_error_page(unanswered: &Unanswered, render: fn(&str) -> String) -> Response {
    approval_headers(unanswered, page(approval_status(unanswered), render(approval_told(unanswered))))
}

/// Returns the outcome of such a request, for metrics.
pub(super) fn approval_outcome(unanswered: &Unanswered) -> RequestOutcome {
    match approval_status(unanswered) {
        StatusCode::TOO_MANY_REQUESTS => RequestOutcome::Limited,
        StatusCode::SERVICE_UNAVAILABLE => RequestOutcome::Unavailable,
        _ => RequestOutcome::Refused,
    }
}

fn approval_status(unanswered: &Unanswered) -> StatusCode {
    match unanswered {
        Unanswered::TokenMissing => StatusCode::UNAUTHORIZED,
        Unanswered::Malformed(_) => StatusCode::BAD_REQUEST,
        Unanswered::Refused(refusal) => match refusal {
            ApproverRefusal::Token(error) if error.is_outage() => StatusCode::SERVICE_UNAVAILABLE,
            ApproverRefusal::Token(_) => StatusCode::UNAUTHORIZED,
            ApproverRefusal::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            ApproverRefusal::NotFound => StatusCode::NOT_FOUND,
            ApproverRefusal::Undecidable(_) | ApproverRefusal::Changed => StatusCode::CONFLICT,
            ApproverRefusal::Snapshot(_)
            | ApproverRefusal::Unconfirmed(_)
            | ApproverRefusal::Storage(_)
            | ApproverRefusal::Ended => StatusCode::SERVICE_UNAVAILABLE,
        },
    }
}

fn approval_told(unanswered: &Unanswered) -> &'static str {
    match approval_status(unanswered) {
        StatusCode::UNAUTHORIZED => {
            "A token of your own issuer is needed: addressed to this service alone, and of a sign-in within the last ten minutes."
        }
        StatusCode::BAD_REQUEST => "The request is malformed.",
        StatusCode::NOT_FOUND => "You have no such approval.",
        StatusCode::CONFLICT => "The decision is not possible any more: the approval is closed or has been decided.",
        StatusCode::TOO_MANY_REQUESTS => description(ErrorKind::TooMany),
        _ => description(ErrorKind::Unavailable),
    }
}

fn approval_headers(unanswered: &Unanswered, mut response: Response) -> Response {
    let challenge = match unanswered {
        Unanswered::TokenMissing => Some("Bearer realm=\"sts-approvals\""),
        Unanswered::Refused(ApproverRefusal::Token(error)) if !error.is_outage() => {
            Some("Bearer realm=\"sts-approvals\", error=\"invalid_token\"")
        }
        Unanswered::Refused(_) | Unanswered::Malformed(_) => None,
    };
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    match (unanswered, response.status()) {
        (Unanswered::Refused(ApproverRefusal::Limited(limited)), _) => later(response, limited.retry_after),
        (_, StatusCode::SERVICE_UNAVAILABLE) => later(response, READY_RETRY),
        _ => response,
    }
}

/// Returns a page that no other page may frame, and that loads nothing.
fn page(status: StatusCode, html: String) -> Response {
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// Returns the response to a request without a host, or with several (RFC 9112 §3.2).
pub(super) fn bad_host() -> Response {
    closing(error(StatusCode::BAD_REQUEST, ErrorCode::InvalidRequest, description(ErrorKind::Request)))
}

/// Returns the response to a request with too many headers (RFC 6585 §5).
pub(super) fn too_many_headers() -> Response {
    closing(error(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorCode::InvalidRequest,
        description(ErrorKind::Request),
    ))
}

/// The presence of an `Authorization` header in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsedHeader {
    Authorization,
    None,
}

/// A request ended before its decision: at its head or body, or at a bound of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntakeFault {
    Method,
    Query,
    ContentType,
    Charset,
    ContentEncoding,
    Body,
    TooLarge,
    BodyTooSlow,
    /// Other requests hold the memory that the body needs.
    RequestMemory,
    /// The deadline of the request passed. Its decision may have been committed, but is not answered.
    TooSlow,
}

impl From<BodyFault> for IntakeFault {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => Self::TooLarge,
            BodyFault::Malformed => Self::Body,
            BodyFault::TooSlow => Self::BodyTooSlow,
            BodyFault::NoMemory => Self::RequestMemory,
        }
    }
}

impl IntakeFault {
    /// Returns the stable name of the fault, for logs and metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Method => "method_not_post",
            Self::Query => "parameters_in_query",
            Self::ContentType => "content_type",
            Self::Charset => "content_type_charset",
            Self::ContentEncoding => "content_encoding",
            Self::Body => "body_malformed",
            Self::TooLarge => "body_too_large",
            Self::BodyTooSlow => "body_too_slow",
            Self::RequestMemory => "request_memory",
            Self::TooSlow => "too_slow",
        }
    }

    /// Returns the text for the log, and for the client if the request is at fault.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Method => "the method is not POST",
            Self::Query => "parameters stand in the URI and not in the body",
            Self::ContentType => "Content-Type is not application/x-www-form-urlencoded",
            Self::Charset => "the body holds more than ASCII, and Content-Type names another charset than UTF-8",
            Self::ContentEncoding => "Content-Encoding is not supported",
            Self::Body => "the body ends early, is malformed or comes in too many pieces",
            Self::TooLarge => "the body is too large",
            Self::BodyTooSlow => "the body did not come in time",
            Self::RequestMemory => "other requests use the memory for its body",
            Self::TooSlow => "the request timed out",
        }
    }

    /// Returns the outcome that metrics count.
    pub(super) fn outcome(self) -> RequestOutcome {
        match self {
            Self::RequestMemory => RequestOutcome::Limited,
            Self::TooSlow => RequestOutcome::Unavailable,
            Self::Method
            | Self::Query
            | Self::ContentType
            | Self::Charset
            | Self::ContentEncoding
            | Self::Body
            | Self::TooLarge
            | Self::BodyTooSlow => RequestOutcome::Unreadable,
        }
    }
}

/// Appends the fixed text `told` to the fixed text of the kind of error.
fn completed(kind: ErrorKind, told: &str) -> String {
    format!("{}: {told}.", description(kind).trim_end_matches('.'))
}

/// Returns the response to a request that ended before its decision.
pub(super) fn intake_fault(fault: IntakeFault) -> Response {
    let invalid = |status| error(status, ErrorCode::InvalidRequest, &completed(ErrorKind::Request, fault.told()));
    let overloaded = |kind: ErrorKind| later(error(status(kind), kind.code(), description(kind)), OUTAGE_RETRY);
    match fault {
        IntakeFault::Query
        | IntakeFault::ContentType
        | IntakeFault::Charset
        | IntakeFault::ContentEncoding
        | IntakeFault::Body => invalid(StatusCode::BAD_REQUEST),
        IntakeFault::Method => {
            let mut response = invalid(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            response
        }
        // The rest of the body is not read, so the connection cannot be reused.
        IntakeFault::TooLarge => closing(invalid(StatusCode::PAYLOAD_TOO_LARGE)),
        IntakeFault::BodyTooSlow => closing(invalid(StatusCode::REQUEST_TIMEOUT)),
        IntakeFault::RequestMemory => overloaded(ErrorKind::TooMany),
        IntakeFault::TooSlow => overloaded(ErrorKind::Unavailable),
    }
}

/// Adds the nonce of the next DPoP proof (RFC 9449 §8.2). The response must not be cached.
pub(super) fn with_nonce(mut response: Response, nonce: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(nonce) {
        response.headers_mut().insert(HeaderName::from_static(parameter::DPOP_NONCE), value);
    }
    response
}

/// Adds the headers that all responses of the POST endpoints have.
pub(super) fn seal(mut response: Response, correlation_id: &str) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    correlated(response, correlation_id)
}

/// Adds the correlation id.
pub(super) fn correlated(mut response: Response, correlation_id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(correlation_id) {
        response.headers_mut().insert(HeaderName::from_static(parameter::X_CORRELATION_ID), value);
    }
    response
}

/// Returns 200 with a JSON document that verifiers may cache for a minute.
pub(super) fn document(body: &impl Serialize) -> Response {
    let mut response = json(body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns the response of the authorization endpoint, which issues nothing. It never redirects the
/// user agent.
pub(super) fn unsupported_response_type() -> Response {
    let text = "This service has no authorization endpoint: exchange a token at the token endpoint.";
    let mut response = error(StatusCode::BAD_REQUEST, ErrorCode::UnsupportedResponseType, text);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns the 503 of a failed readiness probe.
pub(super) fn not_ready() -> Response {
    later((StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(), READY_RETRY)
}

fn error(status: StatusCode, code: ErrorCode, description: &str) -> Response {
    with_body(status, &ErrorResponse { error: code, error_description: description.to_owned() })
}

fn with_body(status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(USUAL_BODY_BYTES);
    if serde_json::to_writer(&mut bytes, body).is_err() {
        tracing::error!("failed to serialize an answer");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Adds `Retry-After`. Every 429 and every 503 needs it.
pub(super) fn later(mut response: Response, wait: Duration) -> Response {
    response.headers_mut().insert(RETRY_AFTER, seconds(wait));
    response
}

/// Closes the connection after this response.
pub(super) fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6749_section_5_2_descriptions_keep_to_the_allowed_characters() {
        for kind in [
            ErrorKind::Request,
            ErrorKind::Token,
            ErrorKind::Target,
            ErrorKind::Scope,
            ErrorKind::Details,
            ErrorKind::Interaction,
            ErrorKind::Pending,
            ErrorKind::PollRate,
            ErrorKind::Deferral,
            ErrorKind::Denied,
            ErrorKind::Grant,
            ErrorKind::UnsupportedGrant,
            ErrorKind::Client,
            ErrorKind::TokenSize,
            ErrorKind::TooMany,
            ErrorKind::Unavailable,
        ] {
            let text = description(kind);
            assert!(text.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E)), "{text}");
        }
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        assert_eq!(seconds(Duration::from_millis(1)), "1");
        assert_eq!(seconds(Duration::from_millis(2001)), "3");
    }
}
