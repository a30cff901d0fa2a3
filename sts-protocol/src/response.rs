//! Bodies of successful answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AccessTokenClaims, Scope, TokenType};

/// A successful answer of the token endpoint (RFC 8693 §2.2.1). Never with a refresh token. Debug does not show the token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The token.
    pub access_token: String,
    /// What the token is.
    pub issued_token_type: TokenType,
    /// How it is used: always `Bearer`.
    pub token_type: String,
    /// Seconds until the token dies.
    pub expires_in: i64,
    /// What the token allows; always said, asked for or not.
    pub scope: Scope,
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("issued_token_type", &self.issued_token_type)
            .field("token_type", &self.token_type)
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// An answer of the introspection endpoint (RFC 7662 §2.2).
///
/// Of an inactive token exactly `{"active":false}`, so that nothing tells an expired token from one that is none of the caller's.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct IntrospectionResponse {
    /// Whether the token may be used now.
    pub active: bool,
    /// What an active token says.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub token: Option<IntrospectedToken>,
}

/// What an active token says; the members are those of the token itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IntrospectedToken {
    /// How the token is used: always `Bearer`.
    pub token_type: String,
    /// The claims of the token.
    #[serde(flatten)]
    pub claims: AccessTokenClaims,
}
