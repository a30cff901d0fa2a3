//! Why a request to the admin API was not answered with what it asked for.

use std::time::Duration;

use sts_jose::{JsonError, error_chain};
use thiserror::Error;

use super::super::intake::TooSlow;
use crate::admin::Denied;
use crate::document::FieldFault;
use crate::record::cut_detail;

/// The pause before a retry, after load or an outage.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request to the admin API is refused, or cannot be served now.
#[derive(Debug, Error)]
pub(super) enum Refused {
    /// The act is denied.
    #[error(transparent)]
    Denied(Denied),
    /// Other requests hold the memory that its body needs.
    #[error("other requests hold the memory for its body")]
    RequestMemory,
    /// Too many requests of operators are served at this moment.
    #[error("too many requests of operators are served at once")]
    Busy,
    /// The path does not decode.
    #[error("the path is malformed")]
    Path,
    /// There is no such endpoint.
    #[error("there is no such endpoint")]
    Endpoint,
    /// The endpoint does not have this method.
    #[error("the endpoint does not have this method")]
    Method,
    /// The body is declared as something else than JSON.
    #[error("the body is not declared as JSON")]
    MediaType,
    /// The body is no JSON object.
    #[error("the body is no JSON object")]
    Json(#[source] JsonError),
    /// The connection ended within the body.
    #[error("the body ended early")]
    Body,
    /// The body is too large.
    #[error("the body is too large")]
    TooLarge,
    /// The body took too long.
    #[error("the body took too long")]
    SlowBody,
    /// The request took too long. What it asked for may have been done.
    #[error("the request took too long")]
    TooSlow,
    /// What was to do it has ended.
    #[error("the task that does it has ended early")]
    Ended,
}

impl Refused {
    /// The stable name, for the requester, for audit and for metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Denied(denied) => denied.reason(),
            Self::RequestMemory => "request_memory",
            Self::Busy => "busy",
            Self::Path => "path_malformed",
            Self::Endpoint => "endpoint_unknown",
            Self::Method => "method_unknown",
            Self::MediaType => "media_type_unsupported",
            Self::Json(_) => "body_not_json",
            Self::Body => "body_cut",
            Self::TooLarge => "body_too_large",
            Self::SlowBody => "body_too_slow",
            Self::TooSlow => "too_slow",
            Self::Ended => "ended_early",
        }
    }

    /// The faults of the request.
    pub(super) fn faults(&self) -> &[FieldFault] {
        if let Self::Denied(denied) = self { denied.faults() } else { &[] }
    }

    /// The refusal and its causes in words, for audit. No cause quotes a token or a secret.
    pub(super) fn detail(&self) -> String {
        if let Self::Denied(denied) = self { denied.detail() } else { cut_detail(error_chain(self)) }
    }

    /// The time to wait before the same request may succeed.
    pub(super) fn retry_after(&self) -> Duration {
        if let Self::Denied(denied) = self { denied.retry_after() } else { RETRY_AFTER }
    }
}

impl<E> From<E> for Refused
where
    Denied: From<E>,
{
    fn from(error: E) -> Self {
        Self::Denied(error.into())
    }
}

impl From<TooSlow> for Refused {
    fn from(_: TooSlow) -> Self {
        Self::TooSlow
    }
}
