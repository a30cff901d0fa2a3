//! The errors of requests to the STS.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{RefusalCode, RequiredApproval};
use crate::net::TransportError;

/// The error of a request to the STS for a token. Cheap to clone.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sts_client::exchange::{ExchangeError, ExchangeRequest};
/// use sts_client::test_util::{MockAnswer, MockSts};
/// use sts_client::{Caller, Route};
///
/// let mock = MockSts::new();
/// mock.answer_with(MockAnswer::Refuse("invalid_target"));
/// let alice = Caller::for_test().build();
/// let route = Route::to("https://payroll.shop.example/".parse()?).audience("payroll");
/// let request = ExchangeRequest { subject: &alice, route: &route, correlation_id: alice.correlation_id() };
/// match mock.sts("coordinator").exchange(request).await {
///     Err(ExchangeError::Refused { code }) => assert_eq!(code.as_str(), "invalid_target"),
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The STS refused, sent an unreadable answer, or issued a token that does not match the
    /// request.
    #[error("the sts refused: {code}")]
    Refused {
        /// The code of the answer, or [`RefusalCode::INVALID_RESPONSE`].
        code: RefusalCode,
    },
    /// A person must approve the exchange first. The same exchange passes once the approval is
    /// granted.
    #[error("a person must approve the request first, at {}", .0.interaction_uri)]
    ApprovalRequired(Arc<RequiredApproval>),
    /// The STS issued a token whose audience the route does not name: it knows the target by
    /// another name.
    #[error(
        "the sts issued a token for {issued:?}, which the route does not name: set issued_audience = {issued:?} in the route"
    )]
    WrongAudience {
        /// The `aud` of the token.
        issued: Arc<str>,
    },
    /// The STS rejects requests under load (429), after bounded retries.
    #[error("the sts is under load")]
    Overloaded {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The STS is unreachable, after bounded retries.
    #[error("the sts cannot be reached")]
    Outage(#[source] Arc<Outage>),
    /// The agent is at fault: for example an unreadable credential, or an issuer whose metadata
    /// names another issuer.
    #[error("{what}")]
    Misconfigured {
        /// The fault to correct, without secrets.
        what: String,
    },
}

/// The reason why the STS counts as unreachable.
///
/// ```
/// use std::time::Duration;
/// use sts_client::exchange::Outage;
///
/// let outage = Outage::Status { status: 503, retry_after: Some(Duration::from_secs(2)) };
/// assert_eq!(outage.retry_after(), Some(Duration::from_secs(2)));
/// assert_eq!(Outage::BreakerOpen.retry_after(), None);
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Outage {
    /// The STS did not answer.
    #[error("no answer")]
    Transport(#[source] TransportError),
    /// The STS reports `temporarily_unavailable`: its database, or the keys of the subject token's
    /// issuer, are unreachable. The report concerns this request only, so the breaker does not
    /// count it. Otherwise the outage of one issuer would give the users of all issuers a weaker
    /// credential.
    #[error("no decision is possible now")]
    Reported {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The STS answered with a status of 500 to 599.
    #[error("answered with status {status}")]
    Status {
        /// The status code of the answer.
        status: u16,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The latest attempts all failed, so the STS is not called for a while.
    #[error("not asked again so soon after failing")]
    BreakerOpen,
    /// The keys of the STS are unreachable, so its token cannot be verified.
    #[error("its keys cannot be fetched")]
    Keys(#[source] sts_jose::KeyLookupError),
    /// The STS required the approval of a person, and became unreachable before it decided. No other
    /// credential replaces the token.
    #[error("not decided yet, and unreachable now")]
    Undecided(#[source] Arc<Outage>),
    /// The token source is unreachable.
    #[error("the token source cannot be reached")]
    TokenSource(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl Outage {
    /// Returns the time after which the STS accepts a retry, if it named one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Reported { retry_after } | Self::Status { retry_after, .. } => *retry_after,
            Self::Undecided(outage) => outage.retry_after(),
            Self::Transport(_) | Self::BreakerOpen | Self::Keys(_) | Self::TokenSource(_) => None,
        }
    }
}

impl ExchangeError {
    pub(super) fn outage(outage: Outage) -> Self {
        Self::Outage(Arc::new(outage))
    }

    /// Returns the time after which the STS accepts a retry, if it named one.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } => *retry_after,
            Self::Outage(outage) => outage.retry_after(),
            Self::Refused { .. }
            | Self::ApprovalRequired(_)
            | Self::WrongAudience { .. }
            | Self::Misconfigured { .. } => None,
        }
    }

    /// Returns the class of the error, for metrics and traces.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } | Self::WrongAudience { .. } => "refused",
            Self::ApprovalRequired(_) => "approval_required",
            Self::Overloaded { .. } => "overloaded",
            Self::Outage(_) => "outage",
            Self::Misconfigured { .. } => "misconfigured",
        }
    }
}

impl From<Outage> for ExchangeError {
    fn from(outage: Outage) -> Self {
        Self::outage(outage)
    }
}
