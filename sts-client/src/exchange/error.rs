//! Why no token came of a request to the STS.

use std::sync::Arc;
use std::time::Duration;

use crate::call::RefusalCode;
use crate::net::TransportError;

/// Why no token came of a request to the STS. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The STS said no, or something that cannot be read, or gave a token for something else than what was asked for.
    #[error("the sts refused: {code}")]
    Refused {
        /// The code of the answer, or [`RefusalCode::INVALID_RESPONSE`].
        code: RefusalCode,
    },
    /// The STS issued a token whose audience the route does not name: it knows the target by another name.
    #[error(
        "the sts issued a token for {issued:?}, which the route does not name: set issued_audience = {issued:?} in the route"
    )]
    WrongAudience {
        /// The `aud` of the token.
        issued: Arc<str>,
    },
    /// The STS turns requests away under load (429), after bounded retries.
    #[error("the sts is under load")]
    Overloaded {
        /// What `Retry-After` said.
        retry_after: Option<Duration>,
    },
    /// The STS is out of reach, after bounded retries.
    #[error("the sts is out of reach")]
    Outage(#[source] Arc<Outage>),
    /// Our own side is at fault: a credential that cannot be read, an issuer whose metadata is another's.
    #[error("{what}")]
    Misconfigured {
        /// What must be put right; no secrets.
        what: String,
    },
}

/// What makes the STS count as out of reach.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Outage {
    /// No answer.
    #[error("no answer")]
    Transport(#[source] TransportError),
    /// The STS itself says `temporarily_unavailable`: its database or the keys of the subject token's issuer are out of reach. It tells of
    /// that request alone: the breaker does not count it, or one issuer's outage would earn the users of all a weaker credential.
    #[error("cannot tell now")]
    Reported {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// A status of 500 to 599.
    #[error("answered with status {status}")]
    Status {
        /// The status.
        status: u16,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The latest attempts all failed, so that none is made for a while.
    #[error("not asked again so soon after failing")]
    BreakerOpen,
    /// Its keys are out of reach, so that its token cannot be verified.
    #[error("its keys are out of reach")]
    Keys(#[source] sts_jose::KeyLookupError),
    /// The source of a token beside the STS is out of reach.
    #[error("the token source is out of reach")]
    TokenSource(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl Outage {
    /// The time after which the STS wants to be asked again, where it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Reported { retry_after } | Self::Status { retry_after, .. } => *retry_after,
            Self::Transport(_) | Self::BreakerOpen | Self::Keys(_) | Self::TokenSource(_) => None,
        }
    }
}

impl ExchangeError {
    pub(super) fn outage(outage: Outage) -> Self {
        Self::Outage(Arc::new(outage))
    }

    /// The time after which the STS wants to be asked again, where it said so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } => *retry_after,
            Self::Outage(outage) => outage.retry_after(),
            Self::Refused { .. } | Self::WrongAudience { .. } | Self::Misconfigured { .. } => None,
        }
    }

    /// The class of the error, for metrics and traces.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Refused { .. } | Self::WrongAudience { .. } => "refused",
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
