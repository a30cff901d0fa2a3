//! Token type identifiers.

use serde::{Deserialize, Serialize};

/// A token type that this service accepts or issues (RFC 8693 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenType {
    /// An OAuth 2.0 access token.
    #[serde(rename = "urn:ietf:params:oauth:token-type:access_token")]
    AccessToken,
    /// A JSON Web Token, whatever it is for.
    #[serde(rename = "urn:ietf:params:oauth:token-type:jwt")]
    Jwt,
    /// An OpenID Connect ID token.
    #[serde(rename = "urn:ietf:params:oauth:token-type:id_token")]
    IdToken,
}

impl TokenType {
    /// Every variant, in the order in which metadata lists them.
    pub const ALL: [Self; 3] = [Self::AccessToken, Self::Jwt, Self::IdToken];

    /// The identifier on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
        }
    }

    /// The type that an identifier names; `None` for one that is unknown or not served here.
    #[must_use]
    pub fn from_identifier(identifier: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|token_type| token_type.as_str() == identifier)
    }

    /// The `typ` header values that a token declared as this type may bear; `""` stands for a token without one.
    ///
    /// Every other `typ` belongs to another kind of token (RFC 8725 §3.11).
    #[must_use]
    pub fn allowed_typ(self) -> &'static [&'static str] {
        match self {
            Self::AccessToken | Self::Jwt => &["", "jwt", "at+jwt"],
            Self::IdToken => &["", "jwt"],
        }
    }
}
