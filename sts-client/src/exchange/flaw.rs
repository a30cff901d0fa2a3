//! The checks that an answer of the STS can fail.

use std::sync::Arc;

use sts_jose::{JsonError, ParseError, TimeError, VerifyError};

/// The check that an answer failed. Messages hold no token, and no claim except `aud`.
#[derive(Debug, thiserror::Error)]
pub(super) enum Flaw {
    #[error("status {0} is neither a yes nor a no")]
    Status(u16),
    #[error("too long")]
    TooLarge,
    #[error("not an accepted json object: {0}")]
    Json(JsonError),
    #[error("{0} is absent or not what it must be")]
    Member(&'static str),
    #[error("token_type is not DPoP, and a proof was sent: the token is not bound to the key of this agent")]
    NotBound,
    #[error("token_type is DPoP, and no proof was sent")]
    Bound,
    #[error("cnf is not the key, or not the client certificate, of this agent")]
    Confirmation,
    #[error("not an accepted token: {0}")]
    Token(ParseError),
    #[error("typ is not at+jwt")]
    Typ,
    #[error("iss is not the sts")]
    Issuer,
    #[error("signed with a key that the sts does not have")]
    UnknownKey,
    #[error("signature: {0}")]
    Signature(VerifyError),
    #[error("times: {0}")]
    Times(TimeError),
    #[error("the claims are not those of an access token")]
    Claims,
    #[error("aud is not the target: set issued_audience = {0:?} in the route")]
    Audience(Arc<str>),
    #[error("client_id is another agent's")]
    ClientId,
    #[error("act is not this agent on top of the former chain")]
    Act,
    #[error("act is present in a token of a service account")]
    Delegated,
    #[error("the subject is another")]
    Subject,
    #[error("the tenant is another")]
    Tenant,
    #[error("tenant_ids is there, though a user is")]
    TenantIds,
    #[error("it outlives the subject token")]
    Outlives,
    #[error("the scope is wider than what was asked for")]
    ScopeWidened,
    #[error("the authorization details are wider than those asked for")]
    DetailsWidened,
    #[error("the scope of the answer is not that of the token")]
    ScopeMismatch,
}
