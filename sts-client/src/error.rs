//! Errors of outbound calls.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::call::{MissingContext, RefusalCode, RequiredApproval};
use crate::exchange::{ExchangeError, Outage};

/// The reason why an outbound call is not sent. Cheap to clone: all callers that waited for one
/// exchange share its error.
///
/// No message holds a token, a secret or a claim.
///
/// ```
/// use sts_client::{Error, RefusalCode, http::StatusCode};
///
/// /// The status with which an agent answers its own caller.
/// fn status(error: &Error) -> StatusCode {
///     match error {
///         Error::Refused { code } if *code == RefusalCode::INVALID_TOKEN => StatusCode::UNAUTHORIZED,
///         Error::Refused { .. } => StatusCode::FORBIDDEN,
///         Error::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
///         _ => StatusCode::INTERNAL_SERVER_ERROR,
///     }
/// }
/// # assert_eq!(status(&Error::Refused { code: RefusalCode::INVALID_TOKEN }), StatusCode::UNAUTHORIZED);
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The STS or this crate refused, and no fallback applies. The requester is at fault: a retry
    /// with the same token fails again.
    #[error("refused: {code}")]
    Refused {
        /// The OAuth error code of the refusal.
        code: RefusalCode,
    },
    /// A person must approve the call first. The same call passes once the approval is granted.
    #[error("a person must approve the call first, at {}", .0.interaction_uri)]
    ApprovalRequired(Arc<RequiredApproval>),
    /// No token is available now, because of an outage or load. The caller may retry.
    #[error("no token is available now")]
    Unavailable {
        /// The time to wait before a retry, if the service named it.
        retry_after: Option<Duration>,
        /// The cause of the outage; `None` under load.
        #[source]
        outage: Option<Arc<Outage>>,
    },
    /// The agent's own configuration or code is at fault.
    #[error("misconfigured: {what}")]
    Misconfigured {
        /// The fault to correct, without secrets.
        what: Cow<'static, str>,
    },
    /// The STS knows the target by another name than the route. This token cannot be distinguished
    /// from a token for another target. The agent's configuration is at fault: its route needs an
    /// `issued_audience`.
    #[error(
        "the sts issued a token for {issued:?}, which the route does not name: set issued_audience = {issued:?} in the route"
    )]
    WrongAudience {
        /// The `aud` of the issued token.
        issued: Arc<str>,
    },
    /// No route covers the URL, so no token is sent.
    #[error("no route to {url}: {}", listed(routes))]
    NoRoute {
        /// The URL of the call, without user, password, query and fragment.
        url: Box<Url>,
        /// The URLs of the routes.
        routes: Arc<[Url]>,
    },
}

/// The most routes that a message lists.
const MAX_LISTED: usize = 10;

fn listed(routes: &[Url]) -> String {
    let listed: Vec<&str> = routes.iter().take(MAX_LISTED).map(Url::as_str).collect();
    match (listed.as_slice(), routes.len().saturating_sub(MAX_LISTED)) {
        ([], _) => "there are no routes".to_owned(),
        (listed, 0) => format!("the routes are {}", listed.join(", ")),
        (listed, more) => format!("the routes are {} and {more} more", listed.join(", ")),
    }
}

impl Error {
    /// True if the same call may succeed later without a change of configuration or request, and
    /// without the decision of a person.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sts_client::{Error, RefusalCode};
    ///
    /// assert!(Error::Unavailable { retry_after: Some(Duration::from_secs(2)), outage: None }.is_retryable());
    /// assert!(!Error::Refused { code: RefusalCode::LOGIN_REQUIRED }.is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. }
            | Self::ApprovalRequired(_)
            | Self::Misconfigured { .. }
            | Self::WrongAudience { .. }
            | Self::NoRoute { .. } => false,
        }
    }

    /// Makes [`Error::Misconfigured`] from a sentence without secrets.
    pub(crate) fn misconfigured(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Misconfigured { what: what.into() }
    }
}

impl From<MissingContext> for Error {
    fn from(missing: MissingContext) -> Self {
        Self::misconfigured(missing.to_string())
    }
}

impl From<ExchangeError> for Error {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused { code } => Self::Refused { code },
            ExchangeError::ApprovalRequired(required) => Self::ApprovalRequired(required),
            ExchangeError::WrongAudience { issued } => Self::WrongAudience { issued },
            ExchangeError::Overloaded { retry_after } => Self::Unavailable { retry_after, outage: None },
            ExchangeError::Outage(outage) => {
                Self::Unavailable { retry_after: outage.retry_after(), outage: Some(outage) }
            }
            ExchangeError::Misconfigured { what } => Self::misconfigured(what),
        }
    }
}
