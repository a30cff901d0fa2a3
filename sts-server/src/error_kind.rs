//! The kinds of error. Each step maps its refusals to one of them, which names the party at fault.
//!
//! `http::answer` makes the status and the text of each kind.

use sts_protocol::ErrorCode;

/// A kind of error at the token endpoint: one code, one status and one fixed text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request itself is malformed.
    Request,
    /// The subject token or the actor token is invalid, or policy refuses it.
    Token,
    /// The target is missing, unknown, not allowed or ambiguous.
    Target,
    /// The scope is malformed, or exceeds what is allowed.
    Scope,
    /// The authorization details are malformed, or exceed what is allowed.
    Details,
    /// A person must approve the token first.
    Interaction,
    /// A person has not decided yet.
    Pending,
    /// The deferral code is polled faster than the interval allows (RFC 8628 §3.5).
    PollRate,
    /// The deferral code cannot be redeemed.
    Deferral,
    /// The person who decides has denied the token.
    Denied,
    /// The agent may not use this grant.
    Grant,
    /// The server does not support the grant.
    UnsupportedGrant,
    /// Client authentication failed.
    Client,
    /// The DPoP proof is invalid.
    Proof,
    /// The DPoP proof lacks a nonce that is accepted now.
    ProofNonce,
    /// The token must be bound to a key, and the client has proven none.
    Binding,
    /// The token would be too large.
    TokenSize,
    /// A rate limit is exceeded, or a resource limit is reached.
    TooMany,
    /// The server cannot answer now: a database, a key set or a deadline prevents it.
    Unavailable,
}

impl ErrorKind {
    /// Returns the OAuth error code of the kind.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Request | Self::Token | Self::Binding | Self::TokenSize => ErrorCode::InvalidRequest,
            Self::Target => ErrorCode::InvalidTarget,
            Self::Scope => ErrorCode::InvalidScope,
            Self::Details => ErrorCode::InvalidAuthorizationDetails,
            Self::Interaction => ErrorCode::InteractionRequired,
            Self::Pending => ErrorCode::AuthorizationPending,
            Self::Deferral => ErrorCode::InvalidGrant,
            Self::Denied => ErrorCode::AccessDenied,
            Self::Grant => ErrorCode::UnauthorizedClient,
            Self::UnsupportedGrant => ErrorCode::UnsupportedGrantType,
            Self::Client => ErrorCode::InvalidClient,
            Self::Proof => ErrorCode::InvalidDpopProof,
            Self::ProofNonce => ErrorCode::UseDpopNonce,
            Self::TooMany | Self::PollRate => ErrorCode::SlowDown,
            Self::Unavailable => ErrorCode::TemporarilyUnavailable,
        }
    }
}
