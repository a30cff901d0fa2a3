//! OAuth error codes and response bodies.

use serde::{Deserialize, Serialize};

/// An OAuth error code of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request, its subject token or its actor token is invalid or refused by policy (RFC 6749
    /// §5.2, RFC 8693 §2.2.2).
    InvalidRequest,
    /// Client authentication failed or is absent (RFC 6749 §5.2).
    InvalidClient,
    /// The target is missing, unknown, forbidden or malformed, or there are several (RFC 8693
    /// §2.2.2, RFC 8707 §2).
    InvalidTarget,
    /// The scope is malformed, larger than allowed, or empty after narrowing (RFC 6749 §5.2).
    InvalidScope,
    /// The authorization details are malformed or beyond what is allowed (RFC 9396 §5).
    InvalidAuthorizationDetails,
    /// A person must decide at `interaction_uri` first (draft-ietf-oauth-deferred-token-response).
    InteractionRequired,
    /// A person has not decided yet (RFC 8628 §3.5).
    AuthorizationPending,
    /// The deferral code is unknown, expired, redeemed, or of another client (RFC 6749 §5.2).
    InvalidGrant,
    /// The person has denied the request (RFC 8628 §3.5).
    AccessDenied,
    /// The agent may not use this grant (RFC 6749 §5.2).
    UnauthorizedClient,
    /// The grant is not supported (RFC 6749 §5.2).
    UnsupportedGrantType,
    /// The `DPoP` header is not one valid proof for this request (RFC 9449 §5).
    InvalidDpopProof,
    /// The proof has no nonce that is accepted now. `DPoP-Nonce` holds one (RFC 9449 §8).
    UseDpopNonce,
    /// The response type is not supported, because there is no authorization endpoint (RFC 6749
    /// §4.1.2.1).
    UnsupportedResponseType,
    /// There were too many failed attempts. `Retry-After` holds the time to wait.
    SlowDown,
    /// The service, or an issuer's key set, is unavailable. `Retry-After` holds the time to wait.
    TemporarilyUnavailable,
}

impl ErrorCode {
    /// Returns the code on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::InteractionRequired => "interaction_required",
            Self::AuthorizationPending => "authorization_pending",
            Self::InvalidGrant => "invalid_grant",
            Self::AccessDenied => "access_denied",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::SlowDown => "slow_down",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
        }
    }
}

/// The body of an error response (RFC 6749 §5.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The error code.
    pub error: ErrorCode,
    /// A fixed ASCII text for each kind of error. Never a cause, a token or an internal name.
    pub error_description: String,
}

/// The body of an answer that sends a person to a page
/// (draft-ietf-oauth-deferred-token-response).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InteractionResponse {
    /// The code `interaction_required` with its text.
    #[serde(flatten)]
    pub error: ErrorResponse,
    /// The page where the person decides.
    pub interaction_uri: String,
    /// The approval that the request waits for.
    pub approval_id: String,
    /// The person who decides: `user` or `operator`.
    pub approver: String,
}

/// The body of a deferred answer (draft-ietf-oauth-deferred-token-response). Debug output does not
/// show the code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferralResponse {
    /// The code `authorization_pending` with its text.
    #[serde(flatten)]
    pub error: ErrorResponse,
    /// The code to poll with.
    pub deferral_code: String,
    /// The life of the code, in seconds.
    pub expires_in: i64,
    /// The least time between two polls, in seconds.
    pub interval: i64,
}

impl std::fmt::Debug for DeferralResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeferralResponse").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
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
            ErrorCode::InvalidAuthorizationDetails,
            ErrorCode::InteractionRequired,
            ErrorCode::AuthorizationPending,
            ErrorCode::InvalidGrant,
            ErrorCode::AccessDenied,
            ErrorCode::UnauthorizedClient,
            ErrorCode::UnsupportedGrantType,
            ErrorCode::InvalidDpopProof,
            ErrorCode::UseDpopNonce,
            ErrorCode::SlowDown,
            ErrorCode::TemporarilyUnavailable,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
