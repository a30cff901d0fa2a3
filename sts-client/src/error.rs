//! What can go wrong for whoever makes an outbound call.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::exchange::{ExchangeError, Outage};

/// Why nothing goes out. Cheap to clone: the callers that waited for one exchange share its failure.
///
/// No message holds a token, a secret or a claim.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The answer is no, and no fallback turns it into a yes. The requester's fault: another try with the same token helps nothing.
    #[error("refused: {code}")]
    Refused {
        /// Why.
        code: RefusalCode,
    },
    /// No token can be had now, by an outage or under load. One may retry.
    #[error("no token can be had now")]
    Unavailable {
        /// When to come back, where the service said so.
        retry_after: Option<Duration>,
        /// What is out of reach; `None` under load.
        #[source]
        outage: Option<Arc<Outage>>,
    },
    /// The agent's own configuration or code is at fault.
    #[error("misconfigured: {what}")]
    Misconfigured {
        /// What must be put right.
        what: Cow<'static, str>,
    },
    /// No route leads to that place, so no token goes there.
    #[error("no route to {origin}")]
    NoRoute {
        /// Scheme, host and port of the call.
        origin: String,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. } | Self::Misconfigured { .. } | Self::NoRoute { .. } => false,
        }
    }

    /// A misconfiguration, told by a sentence without secrets.
    pub(crate) fn misconfigured(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Misconfigured { what: what.into() }
    }
}

impl From<ExchangeError> for Error {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused { code } => Self::Refused { code },
            ExchangeError::Overloaded { retry_after } => Self::Unavailable { retry_after, outage: None },
            ExchangeError::Outage(outage) => Self::Unavailable { retry_after: None, outage: Some(outage) },
            ExchangeError::Misconfigured { what } => Self::misconfigured(what),
        }
    }
}

/// Why a request was refused: an OAuth error code, at most 64 characters of RFC 6749 §5.2 without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefusalCode(Cow<'static, str>);

/// The longest code.
const MAX_CODE_CHARS: usize = 64;

impl RefusalCode {
    /// The inbound token is invalid or has expired (RFC 6750 §3.1): 401 to the caller.
    pub const INVALID_TOKEN: Self = Self(Cow::Borrowed("invalid_token"));
    /// The route wants a user and the call has none (OpenID Connect Core 1.0 §3.1.2.6).
    pub const LOGIN_REQUIRED: Self = Self(Cow::Borrowed("login_required"));
    /// The service account may not act for that tenant.
    pub const INVALID_TENANT: Self = Self(Cow::Borrowed("invalid_tenant"));
    /// What the STS sent is not a token for this request: another audience, subject, tenant or actor, or not readable at all.
    pub const INVALID_RESPONSE: Self = Self(Cow::Borrowed("invalid_response"));

    /// The code that an answer bears; [`Self::INVALID_RESPONSE`] when it is none.
    #[must_use]
    pub fn from_answer(code: &str) -> Self {
        let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if code.is_empty() || code.len() > MAX_CODE_CHARS || !code.bytes().all(allowed) {
            return Self::INVALID_RESPONSE;
        }
        Self(Cow::Owned(code.to_owned()))
    }

    /// The code on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_could_forge_a_log_line_is_not_taken_over() {
        for code in ["", "a b", "a\nb", "a\"b", "a\\b", "ä", &"x".repeat(65)] {
            assert_eq!(RefusalCode::from_answer(code), RefusalCode::INVALID_RESPONSE, "{code:?}");
        }
        assert_eq!(RefusalCode::from_answer("invalid_scope").as_str(), "invalid_scope");
    }
}
