//! An outcome as an HTTP response.

use std::fmt;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response};
use serde_json::Value;

use super::trace::Trace;
use super::{Halted, wire};

/// The header that identifies one request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An outcome as an HTTP response. With the feature `axum` a handler can return it.
#[must_use = "the answer must be returned to the caller"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer(Box<(Halted, Trace)>);

impl Answer {
    pub(super) fn new(halted: Halted, trace: Trace) -> Self {
        Self(Box::new((halted, trace)))
    }

    /// Returns the outcome of the response.
    pub fn halted(&self) -> &Halted {
        &self.0.0
    }

    /// Returns the body of the response.
    #[must_use]
    pub fn to_value(&self) -> Value {
        wire::write(&self.0.0, &self.0.1)
    }

    /// Returns the whole response.
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

/// Rounds up, so that a caller does not retry too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// Writes the code and the message.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = self.halted().detail();
        write!(f, "{}: {}", detail.code, detail.message)
    }
}

impl std::error::Error for Answer {}
