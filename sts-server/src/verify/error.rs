//! The reasons to refuse a subject token.

use sts_jose::{ClaimError, ParseError, TimeError};
use sts_protocol::{ActError, ScopeError, TenantError};
use thiserror::Error;

use crate::error_kind::ErrorKind;
use crate::keys::{JtiError, TrustError};
use crate::record::revoked_reason;
use crate::registry::IssuerNameError;
use crate::storage::RevocationKind;

/// A subject token that is not accepted. The client must fix it, except for an outage
/// ([`SubjectError::is_outage`]).
#[derive(Debug, Error)]
pub enum SubjectError {
    /// The token is not a JWT that this service reads.
    #[error("the subject token does not parse")]
    Parse(#[source] ParseError),
    /// A claim of the token is malformed.
    #[error("a claim of the subject token is malformed")]
    Claim(#[from] ClaimError),
    /// The token of an outside issuer is not trusted, or cannot be checked now.
    #[error("the subject token is not trusted")]
    Trust(#[source] TrustError),
    /// The token names this service as issuer, but no key of this service signed it.
    #[error("no key of this service signed the subject token")]
    NotOurs,
    /// The token of this service is expired or not yet valid.
    #[error("the subject token is not valid now")]
    Time(#[source] TimeError),
    /// The token of this service has claims that this service does not write.
    #[error("the claims of the subject token are not those that this service writes")]
    Claims(#[source] serde_json::Error),
    /// The `typ` does not fit the declared type.
    #[error("typ of the subject token does not fit its declared type")]
    Typ,
    /// The `cnf` claim is malformed.
    #[error("cnf of the subject token is not an object with members")]
    Cnf,
    /// The token is a service account's own.
    #[error("the token of a service account cannot be a subject token")]
    ServiceAccount,
    /// The token is not addressed to the agent that presents it.
    #[error("the subject token is not addressed to {0:?}")]
    NotAddressed(String),
    /// The `sub` is absent, empty, too long, or contains control characters.
    #[error("sub of the subject token is absent, empty, too long or contains control characters")]
    Sub,
    /// The `sub` is the id or the workload of an agent.
    #[error("sub of the subject token is the id or the workload of an agent")]
    SubIsAnAgent,
    /// The `jti` is empty, too long, or contains control characters.
    #[error("jti of the subject token is empty, too long or contains control characters")]
    Jti(#[from] JtiError),
    /// The token does not have the issuer's tenant claim.
    #[error("the subject token has no value in the claim that the issuer's tenant_claim names")]
    TenantMissing,
    /// The tenant claim is not a single value.
    #[error("the tenant claim of the subject token cannot be used")]
    TenantClaim(#[source] ClaimError),
    /// The value of the tenant claim is not a valid tenant.
    #[error("the tenant of the subject token is malformed")]
    Tenant(#[source] TenantError),
    /// The issuer may not assert this tenant, or must assert a tenant.
    #[error("the tenant of the subject token is not among the tenants of its issuer")]
    TenantOutside,
    /// The scope claim has a value that is not a scope.
    #[error("the scope claim of the subject token is malformed")]
    Scope(#[source] ScopeError),
    /// The scope claim has the wrong type.
    #[error("the scope claim of the subject token cannot be used")]
    ScopeClaim(#[source] ClaimError),
    /// The `act` claim is malformed.
    #[error("act of the subject token is malformed")]
    Act(#[source] ActError),
    /// An outside issuer wrote an actor in the namespace of this service.
    #[error("act of the subject token claims an actor of this service")]
    ActClaimsUs,
    /// The `may_act` claim is malformed.
    #[error("may_act of the subject token is malformed")]
    MayAct,
    /// The issuer that first named the user is no longer registered, or is disabled.
    #[error("the issuer of the user is disabled or not registered")]
    PrincipalIssuer,
    /// The agent that the token was issued to is no longer registered, or is disabled.
    #[error("the current actor of the subject token is disabled or not registered")]
    CurrentActor,
    /// No enabled delegation would still allow the token.
    #[error("the delegation that allowed the subject token was removed or disabled, or no longer covers it")]
    Delegation,
    /// The issuer names workloads, and no delegation lists it as an issuer of users.
    #[error("the issuer of the subject token names workloads, and no delegation lists it in issuers")]
    WorkloadIssuer,
    /// The `sub` starts with the prefix of another issuer.
    #[error("sub of the subject token begins with the subject_prefix of another issuer")]
    SubOfAnotherIssuer,
    /// The token has been revoked.
    #[error("the subject token is covered by the revocation of {}", .0.of_a_token())]
    Revoked(RevocationKind),
}

impl SubjectError {
    /// Returns true if the token may be valid but cannot be checked now.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Trust(trust) if trust.is_outage())
    }

    /// Returns the kind of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        if self.is_outage() { ErrorKind::Unavailable } else { ErrorKind::Token }
    }

    /// Returns the stable name, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Parse(_) => "subject_malformed",
            Self::Claim(_) | Self::Claims(_) => "subject_claim_malformed",
            Self::Trust(trust) => trust.subject_reason(),
            Self::NotOurs => "subject_signature",
            Self::Time(time) => time_reason(time),
            Self::Typ => "subject_typ",
            Self::Cnf => "subject_cnf",
            Self::ServiceAccount => "subject_service_account",
            Self::NotAddressed(_) => "subject_not_addressed",
            Self::Sub | Self::SubOfAnotherIssuer => "subject_sub",
            Self::SubIsAnAgent => "subject_sub_is_agent",
            Self::Jti(JtiError::Claim(_)) => "subject_claim_malformed",
            Self::Jti(JtiError::NoName) => "subject_jti",
            Self::TenantMissing | Self::TenantClaim(_) | Self::Tenant(_) => "subject_tenant",
            Self::TenantOutside => "tenant_outside",
            Self::Scope(_) | Self::ScopeClaim(_) => "subject_scope",
            Self::Act(_) | Self::ActClaimsUs => "subject_act",
            Self::MayAct => "subject_may_act",
            Self::PrincipalIssuer => "subject_issuer_disabled",
            Self::CurrentActor => "subject_actor_disabled",
            Self::Delegation => "subject_delegation_disabled",
            Self::WorkloadIssuer => "subject_issuer_of_workloads",
            Self::Revoked(kind) => revoked_reason(*kind),
        }
    }
}

fn time_reason(time: &TimeError) -> &'static str {
    match time {
        TimeError::Expired => "subject_expired",
        TimeError::Claim(_) => "subject_claim_malformed",
        TimeError::ExpMissing => "subject_exp_missing",
        TimeError::NotYetValid | TimeError::IssuedInFuture => "subject_not_yet_valid",
    }
}

impl TrustError {
    fn subject_reason(&self) -> &'static str {
        match self {
            Self::Issuer(IssuerNameError::Missing) => "subject_issuer_missing",
            Self::Issuer(IssuerNameError::Unknown) => "subject_issuer_unknown",
            Self::Issuer(IssuerNameError::Tenant) => "subject_tenant",
            Self::Issuer(IssuerNameError::TrustDomain) => "subject_sub",
            Self::IssuerDisabled => "subject_issuer_disabled",
            Self::Algorithm => "subject_algorithm",
            Self::UnknownKey => "subject_key_unknown",
            Self::KeysUnusable => "issuer_keys_unusable",
            Self::KeysUnavailable(_) | Self::Source(_) | Self::NotYetKnown => "keys_unavailable",
            Self::Signature(_) => "subject_signature",
            Self::Time(time) => time_reason(time),
            Self::Age => "subject_too_old",
        }
    }
}
