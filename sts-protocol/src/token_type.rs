//! Token type identifiers (RFC 8693 §3).

use serde::{Deserialize, Serialize};

/// A token type that this service accepts or issues (RFC 8693 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenType {
    /// An OAuth 2.0 access token.
    #[serde(rename = "urn:ietf:params:oauth:token-type:access_token")]
    AccessToken,
    /// A JSON Web Token, for any purpose.
    #[serde(rename = "urn:ietf:params:oauth:token-type:jwt")]
    Jwt,
    /// An OpenID Connect ID token.
    #[serde(rename = "urn:ietf:params:oauth:token-type:id_token")]
    IdToken,
}

impl TokenType {
    /// Every variant, in the order in which metadata lists them.
    pub const ALL: [Self; 3] = [Self::AccessToken, Self::Jwt, Self::IdToken];

    /// Returns the identifier on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
        }
    }

    /// Returns the type that an identifier names, or `None` if it is unknown or not supported.
    #[must_use]
    pub fn from_identifier(identifier: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|token_type| token_type.as_str() == identifier)
    }
}
