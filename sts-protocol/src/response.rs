//! The bodies of successful responses.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AccessTokenClaims, AuthorizationDetail, Confirmation, Scope, TokenType};

/// A successful response of the token endpoint (RFC 8693 §2.2.1). It never holds a refresh token.
/// Debug output does not show the token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The issued token.
    pub access_token: String,
    /// The type of the token.
    pub issued_token_type: TokenType,
    /// The way the token is used: `Bearer`, or `DPoP` if it is bound to a DPoP key.
    pub token_type: String,
    /// The time until the token expires, in seconds.
    pub expires_in: i64,
    /// The scope that the token grants. It is always present, even if the request named none.
    pub scope: Scope,
    /// The keys that the token is bound to (draft-mcguinness-oauth-token-exchange-cnf). Absent for a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// The granted permissions that are finer than the scope (RFC 9396 §7). Absent if the request named none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<AuthorizationDetail>,
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("issued_token_type", &self.issued_token_type)
            .field("token_type", &self.token_type)
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .field("cnf", &self.cnf)
            .field("authorization_details", &self.authorization_details)
            .finish_non_exhaustive()
    }
}

/// A response of the introspection endpoint (RFC 7662 §2.2).
///
/// For an inactive token it is exactly `{"active":false}`. The caller then cannot distinguish an
/// expired token from a token that is not for the caller.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct IntrospectionResponse {
    /// True if the token may be used now.
    pub active: bool,
    /// The content of an active token.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub token: Option<IntrospectedToken>,
}

/// The content of an active token. The members are those of the token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IntrospectedToken {
    /// The way the token is used: `Bearer`, or `DPoP` if it is bound to a DPoP key.
    pub token_type: String,
    /// The claims of the token.
    #[serde(flatten)]
    pub claims: AccessTokenClaims,
}
