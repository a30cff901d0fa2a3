//! Names and fixed values of request parameters and headers.

/// `grant_type` (RFC 6749 §4).
pub const GRANT_TYPE: &str = "grant_type";
/// `subject_token` (RFC 8693 §2.1).
pub const SUBJECT_TOKEN: &str = "subject_token";
/// `subject_token_type` (RFC 8693 §2.1).
pub const SUBJECT_TOKEN_TYPE: &str = "subject_token_type";
/// `actor_token` (RFC 8693 §2.1).
pub const ACTOR_TOKEN: &str = "actor_token";
/// `actor_token_type` (RFC 8693 §2.1).
pub const ACTOR_TOKEN_TYPE: &str = "actor_token_type";
/// `requested_token_type` (RFC 8693 §2.1).
pub const REQUESTED_TOKEN_TYPE: &str = "requested_token_type";
/// `audience` (RFC 8693 §2.1); may be repeated.
pub const AUDIENCE: &str = "audience";
/// `resource` (RFC 8707 §2); may be repeated.
pub const RESOURCE: &str = "resource";
/// `scope` (RFC 6749 §3.3).
pub const SCOPE: &str = "scope";
/// `client_id` (RFC 6749 §2.3.1).
pub const CLIENT_ID: &str = "client_id";
/// `client_secret` (RFC 6749 §2.3.1).
pub const CLIENT_SECRET: &str = "client_secret";
/// `client_assertion` (RFC 7521 §4.2).
pub const CLIENT_ASSERTION: &str = "client_assertion";
/// `client_assertion_type` (RFC 7521 §4.2).
pub const CLIENT_ASSERTION_TYPE: &str = "client_assertion_type";
/// `authorization_details` (RFC 9396 §2).
pub const AUTHORIZATION_DETAILS: &str = "authorization_details";
/// `completion_mode` (draft-ietf-oauth-deferred-token-response).
pub const COMPLETION_MODE: &str = "completion_mode";
/// `deferral_code` (draft-ietf-oauth-deferred-token-response).
pub const DEFERRAL_CODE: &str = "deferral_code";
/// `token` of introspection and revocation (RFC 7662 §2.1, RFC 7009 §2.1).
pub const TOKEN: &str = "token";

/// The parameters that the server reads.
pub const ALL: [&str; 17] = [
    GRANT_TYPE,
    SUBJECT_TOKEN,
    SUBJECT_TOKEN_TYPE,
    ACTOR_TOKEN,
    ACTOR_TOKEN_TYPE,
    REQUESTED_TOKEN_TYPE,
    AUDIENCE,
    RESOURCE,
    SCOPE,
    CLIENT_ID,
    CLIENT_SECRET,
    CLIENT_ASSERTION,
    CLIENT_ASSERTION_TYPE,
    AUTHORIZATION_DETAILS,
    COMPLETION_MODE,
    DEFERRAL_CODE,
    TOKEN,
];

/// The parameters that hold tokens, or codes like them.
pub const TOKENS: [&str; 5] = [SUBJECT_TOKEN, ACTOR_TOKEN, CLIENT_ASSERTION, DEFERRAL_CODE, TOKEN];

/// Returns the fixed text of a known parameter name, which an answer may show.
#[must_use]
pub fn known(name: &str) -> Option<&'static str> {
    ALL.into_iter().find(|known| *known == name)
}

/// The token exchange grant (RFC 8693 §2.1).
pub const GRANT_TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The client credentials grant (RFC 6749 §4.4).
pub const GRANT_CLIENT_CREDENTIALS: &str = "client_credentials";
/// The grant of a deferred answer (draft-ietf-oauth-deferred-token-response).
pub const GRANT_DEFERRED: &str = "urn:ietf:params:oauth:grant-type:deferred";
/// The JWT client assertion type (RFC 7523 §2.2).
pub const JWT_BEARER_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The client assertion type of a JWT-SVID (draft-ietf-oauth-spiffe-client-auth §3.1).
pub const JWT_SPIFFE_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The header that names the tenant of a request. It is compared with the token's tenant, and never
/// sets it.
pub const X_TENANT_ID: &str = "x-tenant-id";
/// The header with a proof of possession (RFC 9449 §4).
pub const DPOP: &str = "dpop";
/// The header with the nonce of the next proof (RFC 9449 §8).
pub const DPOP_NONCE: &str = "dpop-nonce";
/// The header that links the events of one user request across hops.
pub const X_CORRELATION_ID: &str = "x-correlation-id";
