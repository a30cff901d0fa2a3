//! Authorization server metadata (RFC 8414).

use serde::{Deserialize, Serialize};

/// Authorization server metadata (RFC 8414 §2) for the endpoints of this service. Empty lists are
/// omitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The issuer identifier: exactly the `iss` of every token.
    pub issuer: String,
    /// An endpoint that refuses every response type. It exists because parsers require the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_endpoint: Option<String>,
    /// The endpoint that exchanges tokens.
    pub token_endpoint: String,
    /// The URL of the public keys.
    pub jwks_uri: String,
    /// The supported grants.
    pub grant_types_supported: Vec<String>,
    /// The value `none`, because parsers require the member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_types_supported: Vec<String>,
    /// In the OpenID document: the only kind of `sub` (OpenID Connect Discovery 1.0 §3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_types_supported: Vec<String>,
    /// In the OpenID document: the algorithms that sign tokens. Verifiers that discover an issuer
    /// accept only these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_token_signing_alg_values_supported: Vec<String>,
    /// The methods of client authentication at the token endpoint.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// The algorithms of client assertions at the token endpoint.
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// True if tokens can be bound to client certificates (RFC 8705 §3.3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls_client_certificate_bound_access_tokens: bool,
    /// The algorithms of DPoP proofs (RFC 9449 §5.1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dpop_signing_alg_values_supported: Vec<String>,
    /// The types of `authorization_details` that delegations list (RFC 9396 §10).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details_types_supported: Vec<String>,
    /// True if an exchange can be answered later (draft-ietf-oauth-deferred-token-response).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deferred_token_response_supported: bool,
    /// The endpoint that introspects tokens (RFC 7662).
    pub introspection_endpoint: String,
    /// The methods of client authentication at the introspection endpoint.
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    /// The algorithms of client assertions at the introspection endpoint.
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// The endpoint that revokes tokens (RFC 7009).
    pub revocation_endpoint: String,
    /// The methods of client authentication at the revocation endpoint.
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
    /// The algorithms of client assertions at the revocation endpoint.
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<String>,
}
