//! The claims of a token that this service mints.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Act, AuthorizationDetail, Scope, Tenant};

/// The principal of a chain: a subject in the namespace of its issuer. On the wire, it is a subject
/// identifier of the format `iss_sub` (RFC 9493 §3.2.4).
///
/// ```
/// use sts_protocol::SubjectId;
///
/// let alice = SubjectId { iss: "https://login.example.com".to_owned(), sub: "alice".to_owned() };
/// let json = r#"{"format":"iss_sub","iss":"https://login.example.com","sub":"alice"}"#;
/// assert_eq!(serde_json::from_str::<SubjectId>(json)?, alice);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "IssSub", into = "IssSub")]
pub struct SubjectId {
    /// The issuer that first named the subject.
    pub iss: String,
    /// The subject, as that issuer names it.
    pub sub: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssSub {
    format: SubjectIdFormat,
    iss: String,
    sub: String,
}

#[derive(Clone, Serialize, Deserialize)]
enum SubjectIdFormat {
    #[serde(rename = "iss_sub")]
    IssSub,
}

impl From<IssSub> for SubjectId {
    fn from(IssSub { format: SubjectIdFormat::IssSub, iss, sub }: IssSub) -> Self {
        Self { iss, sub }
    }
}

impl From<SubjectId> for IssSub {
    fn from(SubjectId { iss, sub }: SubjectId) -> Self {
        Self { format: SubjectIdFormat::IssSub, iss, sub }
    }
}

/// The keys that a token is bound to (RFC 7800 §3.1). Only the party that proves to hold them may use the token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The thumbprint of a DPoP key (RFC 9449 §6.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<String>,
    /// The SHA-256 of a client certificate, in base64url (RFC 8705 §3.1).
    #[serde(default, rename = "x5t#S256", skip_serializing_if = "Option::is_none")]
    pub x5t_s256: Option<String>,
}

impl Confirmation {
    /// Returns true if it names no key.
    ///
    /// ```
    /// use sts_protocol::Confirmation;
    ///
    /// assert!(Confirmation::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jkt.is_none() && self.x5t_s256.is_none()
    }

    /// Returns the `token_type` of a token with this binding (RFC 9449 §5, RFC 8705 §3).
    ///
    /// ```
    /// use sts_protocol::{Confirmation, TOKEN_TYPE_BEARER, TOKEN_TYPE_DPOP};
    ///
    /// let bound = Confirmation { jkt: Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".to_owned()), x5t_s256: None };
    /// assert_eq!(Confirmation::token_type(Some(&bound)), TOKEN_TYPE_DPOP);
    /// assert_eq!(Confirmation::token_type(None), TOKEN_TYPE_BEARER);
    /// ```
    #[must_use]
    pub fn token_type(binding: Option<&Self>) -> &'static str {
        match binding {
            Some(Self { jkt: Some(_), .. }) => TOKEN_TYPE_DPOP,
            Some(Self { jkt: None, .. }) | None => TOKEN_TYPE_BEARER,
        }
    }
}

/// The `token_type` of a token that its holder sends alone, or with a client certificate.
pub const TOKEN_TYPE_BEARER: &str = "Bearer";
/// The `token_type` of a token that its holder sends with a DPoP proof (RFC 9449 §5).
pub const TOKEN_TYPE_DPOP: &str = "DPoP";

/// The claims of an access token (RFC 9068 §2.2) of this service. All times are in seconds since
/// the epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessTokenClaims {
    /// The issuer that minted the token.
    pub iss: String,
    /// The end user in a delegated token. The agent's id in a service account's token.
    pub sub: String,
    /// The only party that the token is for: the first `audience` of the target, byte for byte.
    pub aud: String,
    /// The agent that requested the token (RFC 8693 §4.3).
    pub client_id: String,
    /// The time at which the token was minted.
    pub iat: i64,
    /// The time at which the token expires.
    pub exp: i64,
    /// The identifier of the token.
    pub jti: String,
    /// The scope that the token grants (RFC 8693 §4.2).
    pub scope: Scope,
    /// The current actor, and the earlier actors. Absent only in a service account's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Act>,
    /// The principal, by issuer and subject. Absent in a service account's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_id: Option<SubjectId>,
    /// The tenant of a delegated token. A token without a tenant is accepted only for all tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<Tenant>,
    /// The tenants that a service account may name in `X-Tenant-ID`. Absent in a delegated token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_ids: Option<Vec<Tenant>>,
    /// The transaction. Each first hop starts one, which is copied to all tokens below it (RFC 8417
    /// §2.2).
    pub txn: String,
    /// The keys that the token is bound to. Absent in a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// The roles that the delegations passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The permissions that are finer than the scope (RFC 9396 §9.1). Absent if the request named none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The time at which the user authenticated, from the first subject token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Value>,
    /// The assurance level of the user's authentication, from the first subject token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<Value>,
    /// The methods of the user's authentication, from the first subject token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amr: Option<Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rfc_9493_a_subject_identifier_reads_back_and_no_other_format_does() {
        let wire = json!({ "format": "iss_sub", "iss": "https://idp", "sub": "alice" });
        let subject: SubjectId = serde_json::from_value(wire.clone()).unwrap();
        assert_eq!(serde_json::to_value(&subject).unwrap(), wire);
        let other = json!({ "format": "opaque", "iss": "https://idp", "sub": "alice" });
        assert!(serde_json::from_value::<SubjectId>(other).is_err());
    }
}
