//! Authorization server metadata.

use serde::{Deserialize, Serialize};

/// Authorization server metadata (RFC 8414 §2), of what this service serves. An empty list is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The issuer identifier, byte for byte the `iss` of every token.
    pub issuer: String,
    /// Where nothing is authorized: parsers insist on the member, and its endpoint refuses every response type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_endpoint: Option<String>,
    /// Where tokens are exchanged.
    pub token_endpoint: String,
    /// Where the public keys are.
    pub jwks_uri: String,
    /// The grants that are served.
    pub grant_types_supported: Vec<String>,
    /// `none`, for parsers that insist on the member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_types_supported: Vec<String>,
    /// In the OpenID document: the one kind of `sub` that there is (OpenID Connect Discovery 1.0 §3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_types_supported: Vec<String>,
    /// In the OpenID document: what tokens are signed with. Verifiers that discover an issuer accept these algorithms alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_token_signing_alg_values_supported: Vec<String>,
    /// How agents authenticate at the token endpoint.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// The algorithms of client assertions there.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// Where tokens are introspected (RFC 7662).
    pub introspection_endpoint: String,
    /// How agents authenticate there.
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    /// The algorithms of client assertions there.
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_endpoint: String,
    /// How agents authenticate there.
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
    /// The algorithms of client assertions there.
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<String>,
}
