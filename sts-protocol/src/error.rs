//! OAuth error codes and bodies.

use serde::{Deserialize, Serialize};

/// An OAuth error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request, its subject token or its actor token is bad or refused by policy (RFC 6749 §5.2, RFC 8693 §2.2.2).
    InvalidRequest,
    /// Client authentication failed or is absent (RFC 6749 §5.2).
    InvalidClient,
    /// The target is missing, unknown, forbidden or malformed, or there are several (RFC 8693 §2.2.2, RFC 8707 §2).
    InvalidTarget,
    /// More scope than is allowed, malformed scope, or none left (RFC 6749 §5.2).
    InvalidScope,
    /// The agent may not use this grant (RFC 6749 §5.2).
    UnauthorizedClient,
    /// Another grant than those served (RFC 6749 §5.2).
    UnsupportedGrantType,
    /// No response type is served: there is no authorization endpoint (RFC 6749 §4.1.2.1).
    UnsupportedResponseType,
    /// Too many failed attempts; `Retry-After` says when to come back.
    SlowDown,
    /// The service, or an issuer's key set, is out of reach; `Retry-After` says when to come back.
    TemporarilyUnavailable,
}

impl ErrorCode {
    /// The code on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidScope => "invalid_scope",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::SlowDown => "slow_down",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// The body of an error answer (RFC 6749 §5.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The code.
    pub error: ErrorCode,
    /// A fixed ASCII text per kind of error; never a cause, a token or an internal name.
    pub error_description: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_what_serde_writes() {
        for code in [
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidClient,
            ErrorCode::InvalidTarget,
            ErrorCode::InvalidScope,
            ErrorCode::UnauthorizedClient,
            ErrorCode::UnsupportedGrantType,
            ErrorCode::SlowDown,
            ErrorCode::TemporarilyUnavailable,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
