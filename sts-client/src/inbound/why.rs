//! The causes of refusals.

use std::sync::Arc;

use sts_jose::dpop::{ProofError, ProofUriError};
use sts_jose::{ClaimError, FetchError, ParseError, TimeError, VerifyError};
use sts_protocol::{ActError, Scope, ScopeError};

use crate::dedup::DedupError;
use crate::exchange::ExchangeError;

/// The row of the table in [`Refusal`](super::Refusal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Row {
    Absent,
    Request,
    Token,
    Proof,
    Nonce,
    Scope,
    Details,
    Tenant,
    Unavailable,
}

/// The cause of a refusal, for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Why {
    #[error("no authorization header")]
    NoToken,
    #[error("another scheme than those of tokens: DPoP is accepted once inbound.public_url is set")]
    OtherScheme,
    #[error("several authorization headers")]
    AuthorizationRepeated,
    #[error("the authorization header contains no token")]
    AuthorizationMalformed,
    #[error("the x-tenant-id header is repeated or malformed")]
    TenantHeaderMalformed,
    #[error("the token does not parse")]
    Parse(#[source] ParseError),
    #[error("a claim is malformed")]
    Claim(#[from] ClaimError),
    #[error("the claims are not those that an sts writes")]
    Claims,
    #[error("no iss")]
    IssuerMissing,
    #[error("an issuer that is not trusted")]
    IssuerUnknown,
    #[error("an algorithm that the issuer may not use")]
    Algorithm,
    #[error("the issuer has no such key")]
    KeyUnknown,
    #[error("the issuer publishes no usable key")]
    KeysUnusable,
    #[error("no key of the issuer signed the token")]
    Signature(#[source] VerifyError),
    #[error("typ is that of another kind of token")]
    Typ,
    #[error("the token is bound to a key (cnf.jkt), and was sent without a proof of it")]
    Bound,
    #[error("the token was sent with a proof, and is bound to no key")]
    NotBound,
    #[error("the token is not bound to a key, as every token must be")]
    DpopRequired,
    #[error("the token is bound (cnf) by a method that is not supported")]
    Confirmation,
    #[error("the token is bound to a client certificate that is not known to be the caller's")]
    Certificate,
    #[error("no dpop header, or one that is no text")]
    ProofMissing,
    #[error("several dpop headers")]
    ProofRepeated,
    #[error("a proof can be checked only together with its request: use Verifier::verify_request")]
    ProofWithoutRequest,
    #[error("the url of the request cannot stand in a proof")]
    ProofUrl(#[source] ProofUriError),
    #[error("the proof is refused")]
    Proof(#[source] ProofError),
    #[error("the proof has not the nonce that is accepted now")]
    ProofNonce(String),
    #[error("the proof was used before")]
    ProofReplayed,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is not valid now")]
    Time(#[source] TimeError),
    #[error("the token is older, or has a longer lifetime, than the issuer's max_token_age allows")]
    TooOld,
    #[error("sub is absent, empty, too long or contains control characters")]
    Sub,
    #[error("act is malformed")]
    Act(#[source] ActError),
    #[error("act claims an actor of the sts, which did not sign it")]
    ActClaimsSts,
    #[error("the tenant claim is absent or not one tenant")]
    TenantClaim,
    #[error("the issuer may not assert the tenant of the token")]
    TenantOutside,
    #[error("the scope claim is malformed")]
    Scope(#[source] ScopeError),
    #[error("the scope claim is neither a string nor an array of strings")]
    ScopeType,
    #[error("the token is both a user's and a service account's, or neither")]
    Contradiction,
    #[error("the sts reports that the token is inactive")]
    Inactive,
    #[error("the token lacks a scope that is required")]
    ScopeMissing(Scope),
    #[error("no authorization detail of the token permits the action {0:?} with its values")]
    ActionMissing(String),
    #[error("x-tenant-id is not the tenant of the token")]
    TenantContradicted,
    #[error("the service account may not speak for the tenant in x-tenant-id")]
    TenantForbidden,
    #[error("the token speaks for no tenant")]
    TenantMissing,
    #[error("the keys of the issuer cannot be fetched")]
    KeysUnavailable(#[source] Arc<FetchError>),
    #[error("the sts could not be asked if the token is active")]
    Introspection(#[source] ExchangeError),
    #[error("the deduplication store of proofs cannot be used")]
    ReplayStore(#[source] DedupError),
}

impl Why {
    pub(super) fn row(&self) -> Row {
        match self {
            Self::NoToken | Self::OtherScheme => Row::Absent,
            Self::AuthorizationRepeated | Self::AuthorizationMalformed | Self::TenantHeaderMalformed => Row::Request,
            Self::Parse(_)
            | Self::Claim(_)
            | Self::Claims
            | Self::IssuerMissing
            | Self::IssuerUnknown
            | Self::Algorithm
            | Self::KeyUnknown
            | Self::KeysUnusable
            | Self::Signature(_)
            | Self::Typ
            | Self::Bound
            | Self::NotBound
            | Self::DpopRequired
            | Self::Confirmation
            | Self::Certificate
            | Self::Audience
            | Self::Time(_)
            | Self::TooOld
            | Self::Sub
            | Self::Act(_)
            | Self::ActClaimsSts
            | Self::TenantClaim
            | Self::TenantOutside
            | Self::Scope(_)
            | Self::ScopeType
            | Self::Contradiction
            | Self::Inactive => Row::Token,
            Self::ProofMissing
            | Self::ProofRepeated
            | Self::ProofWithoutRequest
            | Self::ProofUrl(_)
            | Self::Proof(_)
            | Self::ProofReplayed => Row::Proof,
            Self::ProofNonce(_) => Row::Nonce,
            Self::ScopeMissing(_) => Row::Scope,
            Self::ActionMissing(_) => Row::Details,
            Self::TenantContradicted | Self::TenantForbidden | Self::TenantMissing => Row::Tenant,
            Self::KeysUnavailable(_) | Self::Introspection(_) | Self::ReplayStore(_) => Row::Unavailable,
        }
    }
}
