//! The kinds of error, by which every step says whose fault a refusal is.
//!
//! The status and the text of each kind are made in `http::answer`.

use sts_protocol::ErrorCode;

/// The kinds of error that the token endpoint answers with: one code, one status and one fixed text each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request itself is malformed.
    Request,
    /// The subject or actor token is bad, or refused by policy.
    Token,
    /// The target.
    Target,
    /// The scope.
    Scope,
    /// The agent may not use this grant.
    Grant,
    /// The grant is not served.
    UnsupportedGrant,
    /// Client authentication.
    Client,
    /// The token would be too large.
    TokenSize,
    /// Too many failed attempts.
    TooMany,
    /// A database, a key set or a deadline keeps the service from answering.
    Unavailable,
}

impl ErrorKind {
    /// The error code.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Request | Self::Token | Self::TokenSize => ErrorCode::InvalidRequest,
            Self::Target => ErrorCode::InvalidTarget,
            Self::Scope => ErrorCode::InvalidScope,
            Self::Grant => ErrorCode::UnauthorizedClient,
            Self::UnsupportedGrant => ErrorCode::UnsupportedGrantType,
            Self::Client => ErrorCode::InvalidClient,
            Self::TooMany => ErrorCode::SlowDown,
            Self::Unavailable => ErrorCode::TemporarilyUnavailable,
        }
    }
}
