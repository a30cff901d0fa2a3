//! An outcome as the answer to a request.

use std::fmt;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response};
use serde_json::Value;

use super::{Halted, wire};
use crate::call::{CallContext, Carried, Delegation};

/// Names one request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Which request an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    correlation_id: String,
    request_id: String,
}

impl Trace {
    /// `correlationId`: joins the events of one user request across hops.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        &self.correlation_id
    }

    /// `requestId`: the request's `X-Request-ID`, or else the correlation id.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Of a request that nobody verified.
    #[cfg(feature = "tower")]
    pub(crate) fn unknown() -> Self {
        Self { correlation_id: "-".to_owned(), request_id: "-".to_owned() }
    }

    fn of(carried: &Carried) -> Self {
        let correlation_id = carried.correlation_id().as_str().to_owned();
        let request_id = carried.request_id().unwrap_or(&correlation_id).to_owned();
        Self { correlation_id, request_id }
    }
}

/// Of the request that the delegation came with.
impl From<&Delegation> for Trace {
    fn from(delegation: &Delegation) -> Self {
        Self::of(&delegation.verified().carried)
    }
}

/// Of the request that the context came of.
impl From<&CallContext> for Trace {
    fn from(context: &CallContext) -> Self {
        Self::of(context.carried())
    }
}

/// An outcome as the answer to a request; with the feature `axum` a handler returns it.
#[must_use = "whoever asked is told"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(Box<(Halted, Trace)>);

impl Answer {
    pub(super) fn new(halted: Halted, trace: Trace) -> Self {
        Self(Box::new((halted, trace)))
    }

    /// What it says.
    pub fn halted(&self) -> &Halted {
        &self.0.0
    }

    /// The body.
    #[must_use]
    pub fn to_value(&self) -> Value {
        wire::write(&self.0.0, &self.0.1)
    }

    /// The whole answer.
    #[must_use]
    pub fn to_response<B: From<Vec<u8>>>(&self) -> Response<B> {
        let row = self.halted().row();
        let mut response = Response::new(B::from(self.to_value().to_string().into_bytes()));
        *response.status_mut() = row.status;
        let headers = response.headers_mut();
        let media_type = row.media_types.first().copied().unwrap_or_default();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let retry_after = match self.halted() {
            Halted::FailedDependency(failure) => failure.retry_after,
            Halted::Conflict(conflict) => conflict.retry_after,
            Halted::Operation(_)
            | Halted::ClarificationRequired(_)
            | Halted::ValidationFailed(_)
            | Halted::ApprovalRequired(_)
            | Halted::Forbidden(_)
            | Halted::Error(_) => None,
        };
        if let Some(retry_after) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(retry_after)));
        }
        response
    }
}

/// Rounded up: a caller must not come back too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// Its code and message.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.halted().detail();
        write!(f, "{}: {}", detail.code, detail.message)
    }
}

impl std::error::Error for Answer {}
