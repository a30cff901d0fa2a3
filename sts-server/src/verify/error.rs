//! Why a subject token is refused.

use sts_jose::{ClaimError, ParseError, TimeError};
use sts_protocol::{ActError, ScopeError, TenantError};
use thiserror::Error;

use crate::error_kind::ErrorKind;
use crate::keys::{JtiError, TrustError};
use crate::record::revoked_reason;
use crate::registry::IssuerNameError;
use crate::storage::RevocationKind;

/// A subject token is not accepted. The requester's fault, save where [`SubjectError::is_outage`].
#[derive(Debug, Error)]
pub enum SubjectError {
    /// It is no JWT that is read here.
    #[error("the subject token does not parse")]
    Parse(#[source] ParseError),
    /// A claim is malformed.
    #[error("a claim of the subject token is malformed")]
    Claim(#[from] ClaimError),
    /// It is of an outside issuer and not believed, or cannot be checked now.
    #[error("the subject token is not believed")]
    Trust(#[source] TrustError),
    /// It claims to be ours, and no key of ours signed it.
    #[error("no key of this service signed the subject token")]
    NotOurs,
    /// It is ours, and not alive now.
    #[error("the subject token is not alive now")]
    Time(#[source] TimeError),
    /// It is ours, and its claims are not those that we write.
    #[error("the claims of the subject token are not those that this service writes")]
    Claims(#[source] serde_json::Error),
    /// `typ` does not fit the declared type.
    #[error("typ of the subject token does not fit its declared type")]
    Typ,
    /// It is bound to a key, which is not honoured.
    #[error("the subject token is bound to a key (cnf), which is not honoured")]
    Bound,
    /// It is a service account's own token.
    #[error("the token of a service account is no subject token")]
    ServiceAccount,
    /// It is not addressed to the agent that presents it.
    #[error("the subject token is not addressed to {0:?}")]
    NotAddressed(String),
    /// `sub` is absent, empty, too long, or has control characters.
    #[error("sub of the subject token is absent, empty, too long or holds control characters")]
    Sub,
    /// `sub` is the id or the workload of an agent.
    #[error("sub of the subject token is the id or the workload of an agent")]
    SubIsAnAgent,
    /// `jti` is empty, too long, or has control characters.
    #[error("jti of the subject token is empty, too long or holds control characters")]
    Jti(#[from] JtiError),
    /// The tenant claim of the issuer is absent.
    #[error("the subject token has no value where the issuer's tenant_claim says")]
    TenantMissing,
    /// The tenant claim of the issuer is not one value.
    #[error("the tenant claim of the subject token cannot be used")]
    TenantClaim(#[source] ClaimError),
    /// The tenant is not a tenant.
    #[error("the tenant of the subject token is malformed")]
    Tenant(#[source] TenantError),
    /// The issuer may not assert this tenant, or no tenant.
    #[error("the tenant of the subject token is outside of the tenants of its issuer")]
    TenantOutside,
    /// The scope claim holds what is no scope.
    #[error("the scope claim of the subject token is malformed")]
    Scope(#[source] ScopeError),
    /// The scope claim is of another type.
    #[error("the scope claim of the subject token cannot be used")]
    ScopeClaim(#[source] ClaimError),
    /// `act` is malformed.
    #[error("act of the subject token is malformed")]
    Act(#[source] ActError),
    /// An outside issuer wrote an actor in our namespace.
    #[error("act of the subject token claims an actor of this service")]
    ActClaimsUs,
    /// `may_act` is malformed.
    #[error("may_act of the subject token is malformed")]
    MayAct,
    /// The issuer that first named the user is registered no more, or disabled.
    #[error("the issuer of the user is not registered, or disabled")]
    PrincipalIssuer,
    /// The agent that the token was issued to is registered no more, or disabled.
    #[error("the current actor of the subject token is not registered, or disabled")]
    CurrentActor,
    /// No delegation that is enabled would still allow it.
    #[error("the delegation that allowed the subject token is registered no more, disabled, or covers it no longer")]
    Delegation,
    /// Its issuer names workloads, and no delegation lists the issuer as one of users.
    #[error("the issuer of the subject token names workloads, and no delegation lists it in issuers")]
    WorkloadIssuer,
    /// `sub` begins with the prefix of another issuer.
    #[error("sub of the subject token begins with the subject_prefix of another issuer")]
    SubOfAnotherIssuer,
    /// It has been revoked.
    #[error("the subject token is revoked, by {0:?}")]
    Revoked(RevocationKind),
}

impl SubjectError {
    /// Whether the token may be good, and only cannot be checked now.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Trust(trust) if trust.is_outage())
    }

    /// The kind of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        if self.is_outage() { ErrorKind::Unavailable } else { ErrorKind::Token }
    }

    /// The stable name, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Parse(_) => "subject_malformed",
            Self::Claim(_) | Self::Claims(_) => "subject_claim_malformed",
            Self::Trust(trust) => trust.subject_reason(),
            Self::NotOurs => "subject_signature",
            Self::Time(time) => time_reason(time),
            Self::Typ => "subject_typ",
            Self::Bound => "subject_bound",
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
