//! The reasons why a request to the admin API was not served.

use std::time::Duration;

use sts_jose::{JsonError, error_chain};
use sts_protocol::FormError;
use thiserror::Error;

use super::super::intake::TooSlow;
use crate::admin::{Denied, SignInError};
use crate::document::FieldFault;
use crate::record::cut_detail;

/// The pause before a retry, after load or an outage.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request to the admin API is refused, or cannot be served now.
#[derive(Debug, Error)]
pub(super) enum Refused {
    /// The operation is denied.
    #[error(transparent)]
    Denied(Denied),
    /// Other requests hold the memory that the body needs.
    #[error("other requests use the memory for its body")]
    RequestMemory,
    /// Too many requests of operators are in progress.
    #[error("too many requests of operators are in progress")]
    Busy,
    /// The path does not decode to UTF-8.
    #[error("the path is malformed")]
    Path,
    /// The endpoint does not exist.
    #[error("the endpoint does not exist")]
    Endpoint,
    /// The endpoint does not support the method.
    #[error("the endpoint does not have this method")]
    Method,
    /// The body is not declared as JSON.
    #[error("the body is not declared as JSON")]
    MediaType,
    /// The body is not a JSON object.
    #[error("the body is not a JSON object")]
    Json(#[source] JsonError),
    /// The body is not a form.
    #[error("the body is not a form")]
    Form(#[source] FormError),
    /// The form does not carry the token of the session.
    #[error("the form does not carry the token of the session")]
    FormToken,
    /// The credential is too long for a session.
    #[error("the credential is too long for a cookie")]
    SessionSize,
    /// A sign-in at the issuer of operators has failed.
    #[error("the sign-in has failed")]
    SignIn(#[source] SignInError),
    /// The connection ended within the body.
    #[error("the body ended early")]
    Body,
    #[error("the body is too large")]
    TooLarge,
    /// The body did not arrive in time.
    #[error("the body timed out")]
    SlowBody,
    /// The deadline passed. The operation may have been performed.
    #[error("the request timed out")]
    TooSlow,
    /// The task of the operation ended early.
    #[error("the task of the request ended early")]
    Ended,
}

impl Refused {
    /// Returns the stable name of the reason, for the client, for audit and for metrics.
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
            Self::Form(_) => "form_malformed",
            Self::FormToken => "form_token_invalid",
            Self::SessionSize => "session_too_large",
            Self::SignIn(error) if error.is_outage() => "sign_in_unavailable",
            Self::SignIn(_) => "sign_in_failed",
            Self::Body => "body_cut",
            Self::TooLarge => "body_too_large",
            Self::SlowBody => "body_too_slow",
            Self::TooSlow => "too_slow",
            Self::Ended => "ended_early",
        }
    }

    pub(super) fn faults(&self) -> &[FieldFault] {
        if let Self::Denied(denied) = self { denied.faults() } else { &[] }
    }

    /// Returns the refusal and its causes as text for audit. It never contains a token or a secret.
    pub(super) fn detail(&self) -> String {
        if let Self::Denied(denied) = self { denied.detail() } else { cut_detail(error_chain(self)) }
    }

    /// Returns the time to wait before the same request may succeed.
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
