//! All statuses and bodies of the endpoints.

use std::collections::BTreeMap;
use std::future::Future;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use sts_client::outcome::{Halted, Trace};
use sts_client::{CallContext, Error, RequiredApproval};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::header_pairs::{self, HeaderError, HeaderPairs};
use crate::loaded::CallerError;
use crate::matches::MatchError;
use crate::metrics;

/// The reason why there is no other answer.
#[derive(Debug, Clone, Copy, Serialize, ToSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum FailureKind {
    /// The question is malformed. The integration is wrong.
    InvalidRequest,
    /// The bearer of this process is missing or wrong.
    Unauthorized,
    /// The caller is refused, or its call is. The same question fails again.
    Refused,
    /// A person must approve the call first. The same question passes once the approval is granted.
    ApprovalRequired,
    /// No route of the agent's file names the target, so the call must not be made.
    NoRoute,
    /// The agent's file is wrong.
    Misconfigured,
    /// There is no answer now. The same question may succeed later.
    Unavailable,
}

/// A failed question. The agent must not serve the request, or not make the call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failure {
    error: FailureKind,
    /// The OAuth error code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The cause, for the log of the agent.
    message: String,
    /// The time after which to ask again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    /// The approval that the call requires.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<Box<CallApproval>>,
    /// The answer that the agent gives to its own caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Box<AgentResponse>>,
}

/// An approval that a call requires.
#[derive(Debug, Serialize, ToSchema)]
struct CallApproval {
    /// The id. Equal calls share one.
    id: String,
    /// The page on which the person decides.
    interaction_uri: String,
    /// The person who decides, `user` or `operator`, if the service names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    approver: Option<&'static str>,
}

impl CallApproval {
    fn of(required: &RequiredApproval) -> Self {
        Self {
            id: required.approval_id.clone(),
            interaction_uri: required.interaction_uri.to_string(),
            approver: required.approver.map(sts_client::Approver::as_str),
        }
    }
}

/// An answer of the agent to its own caller.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentResponse {
    /// The status.
    pub(super) status: u16,
    /// The headers, each as `[name, value]`.
    #[schema(value_type = Vec<Vec<String>>)]
    pub(super) headers: HeaderPairs,
    /// The body.
    pub(super) body: String,
}

impl FailureKind {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Refused | Self::NoRoute => StatusCode::FORBIDDEN,
            Self::ApprovalRequired => StatusCode::PRECONDITION_FAILED,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
            Self::ApprovalRequired => "approval_required",
            Self::NoRoute => "no_route",
            Self::Misconfigured => "misconfigured",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Failure {
    fn new(error: FailureKind, message: impl Into<String>) -> Self {
        Self { error, code: None, message: message.into(), retry_after_seconds: None, approval: None, response: None }
    }

    /// A proxy whose configuration is wrong.
    pub(super) fn misconfigured(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Misconfigured, message)
    }

    /// The status of the answer to a question.
    pub(super) fn status(&self) -> StatusCode {
        self.error.status()
    }

    /// A malformed question.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::InvalidRequest, message)
    }

    /// A call that must not be made.
    pub(super) fn call(error: &Error, context: &CallContext) -> Self {
        let kind = match error {
            Error::Refused { .. } => FailureKind::Refused,
            Error::ApprovalRequired(_) => FailureKind::ApprovalRequired,
            Error::Unavailable { .. } => FailureKind::Unavailable,
            Error::NoRoute { .. } => FailureKind::NoRoute,
            _ => FailureKind::Misconfigured,
        };
        let mut failure = Self::new(kind, sts_jose::error_chain(error));
        match error {
            Error::Refused { code } => failure.code = Some(code.as_str().to_owned()),
            Error::ApprovalRequired(required) => {
                failure.code = Some("interaction_required".to_owned());
                failure.approval = Some(Box::new(CallApproval::of(required)));
            }
            Error::Unavailable { retry_after, .. } => {
                failure.retry_after_seconds = retry_after.map(|after| after.as_secs().max(1));
            }
            _ => {}
        }
        let answer = Halted::from(error).answer(&Trace::from(context));
        failure.response = Some(AgentResponse::of(answer.to_response()));
        failure
    }

    fn into_response(self) -> Response {
        let mut response = json(&self);
        *response.status_mut() = self.status();
        let retry_after = self.retry_after_seconds.filter(|_| self.error == FailureKind::Unavailable);
        response.headers_mut().extend(retry_after.map(|after| (RETRY_AFTER, HeaderValue::from(after))));
        response
    }

    /// The answer that a proxy gives to the caller of the agent, for a request that must not be served.
    pub(super) fn for_caller(self) -> AgentResponse {
        match self.response {
            Some(response) => *response,
            // The message is for the agent's own people.
            None => AgentResponse::bare(self.error),
        }
    }

    /// The answer that a proxy gives to the agent, for a call that must not be made: that of
    /// `POST /v1/headers`.
    pub(super) fn for_agent(&self) -> AgentResponse {
        let mut headers = AgentResponse::bare(self.error).headers;
        let retry_after = self.retry_after_seconds.filter(|_| self.error == FailureKind::Unavailable);
        headers.extend(retry_after.map(|after| ["retry-after".to_owned(), after.to_string()]));
        let body = serde_json::to_string(self).unwrap_or_default();
        AgentResponse { status: self.status().as_u16(), headers, body }
    }
}

impl From<MatchError> for Failure {
    fn from(error: MatchError) -> Self {
        Self::new(FailureKind::Refused, error.to_string())
    }
}

impl From<HeaderError> for Failure {
    fn from(error: HeaderError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<CallerError> for Failure {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::NoInbound => Self::new(FailureKind::Misconfigured, error.to_string()),
            CallerError::Header(error) => error.into(),
            CallerError::Refused(refusal) => {
                let retry_after = refusal.retry_after();
                let kind = if retry_after.is_some() { FailureKind::Unavailable } else { FailureKind::Refused };
                let mut failure = Self::new(kind, format!("the caller is refused: {}", refusal.reason()));
                failure.code = refusal.error().map(str::to_owned);
                failure.retry_after_seconds = retry_after.map(|after| after.as_secs().max(1));
                failure.response = Some(AgentResponse::of(refusal.to_response()));
                failure
            }
            CallerError::Lost => {
                let mut failure = Self::new(FailureKind::Unavailable, error.to_string());
                failure.retry_after_seconds = Some(1);
                failure.response = Some(AgentResponse::new_request());
                failure
            }
        }
    }
}

impl AgentResponse {
    fn of(response: http::Response<Vec<u8>>) -> Box<Self> {
        let (parts, body) = response.into_parts();
        let body = String::from_utf8_lossy(&body).into_owned();
        Box::new(Self { status: parts.status.as_u16(), headers: header_pairs::write(&parts.headers), body })
    }

    /// The answer to a caller that is served when it sends its request again, with a new proof.
    fn new_request() -> Box<Self> {
        let mut answer = Self::bare(FailureKind::Unavailable);
        answer.headers.push(["retry-after", "1"].map(str::to_owned));
        Box::new(answer)
    }

    /// The answer that says the kind of a failure alone.
    fn bare(kind: FailureKind) -> Self {
        let code = match kind {
            FailureKind::InvalidRequest => "invalid_request",
            FailureKind::Unauthorized | FailureKind::Refused | FailureKind::NoRoute => "access_denied",
            FailureKind::ApprovalRequired => "interaction_required",
            FailureKind::Misconfigured => "server_error",
            FailureKind::Unavailable => "temporarily_unavailable",
        };
        let headers = [["content-type", "application/json"], ["cache-control", "no-store"]];
        let headers = headers.map(|pair| pair.map(str::to_owned)).into();
        Self { status: kind.status().as_u16(), headers, body: format!(r#"{{"error":"{code}"}}"#) }
    }
}

/// The failures of every question, for the OpenAPI document.
impl IntoResponses for Failure {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        [
            ("400", "The question is malformed."),
            ("401", "The bearer of this process is missing or wrong."),
            ("403", "The caller is refused, or the call is."),
            ("412", "A person must approve the call first."),
            ("500", "The agent's file is wrong."),
            ("503", "There is no answer now."),
        ]
        .map(|(status, description)| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
            let response = ResponseBuilder::new().description(description).content("application/json", content);
            (status.to_owned(), response.build().into())
        })
        .into()
    }
}

/// Answers a question, and counts the answer with the time that it took.
pub(super) async fn timed(endpoint: &'static str, answer: impl Future<Output = Result<Response, Failure>>) -> Response {
    counted(endpoint, answer).await.unwrap_or_else(Failure::into_response)
}

/// Counts the answer to a question with the time that it took.
pub(super) async fn counted<T>(
    endpoint: &'static str,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let span = span_of(endpoint);
    let start = Instant::now();
    let answer = answer.instrument(span.clone()).await;
    let outcome = answer.as_ref().map_or_else(|failure| failure.error.name(), |_answer| "answered");
    span.record("outcome", outcome);
    metrics::count_request(endpoint, outcome, start.elapsed());
    answer
}

/// Makes the span of a question.
fn span_of(endpoint: &'static str) -> Span {
    let name = format_args!("sts_agent.{endpoint}");
    tracing::info_span!("question", otel.name = %name, otel.kind = "server", endpoint, outcome = Empty)
}

/// Reads the status of a target's answer.
pub(super) fn status_of(status: u16) -> Result<StatusCode, Failure> {
    // The cause says no more.
    StatusCode::from_u16(status).or(Err(Failure::invalid("answer.status is no status")))
}

/// Returns 200 with JSON.
pub(super) fn json(body: &impl Serialize) -> Response {
    // The types of this module have no maps, so they can be written.
    text("application/json", serde_json::to_string(body).unwrap_or_default())
}

/// Returns 200 with a text, which must not be cached: it may hold a token.
pub(super) fn text(media_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns 401: the bearer is missing or wrong.
pub(super) fn unauthorized() -> Response {
    metrics::count_request("any", FailureKind::Unauthorized.name(), std::time::Duration::ZERO);
    let failure = Failure::new(FailureKind::Unauthorized, "the bearer of the bearer file is needed");
    let mut response = failure.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Returns 404.
pub(super) async fn unknown_endpoint() -> Response {
    let mut response = Failure::invalid("no such endpoint").into_response();
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// Returns 405.
pub(super) async fn unknown_method() -> Response {
    let mut response = Failure::invalid("the endpoint has another method").into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
