//! The refusals of policy, and the error kind of each.

use thiserror::Error;

use crate::error_kind::ErrorKind;
use crate::registry::Decider;

/// A refusal by a rule. The requester is at fault, and a retry fails until the registry or the
/// request changes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// The chain already has the maximum number of actors.
    #[error("the chain would have {depth} actors; {limit} are allowed")]
    ChainTooDeep {
        /// The number of actors that it would have.
        depth: usize,
        /// The maximum.
        limit: usize,
    },
    /// `may_act` names another actor (RFC 8693 §4.4).
    #[error("may_act of the subject token does not name this actor")]
    MayActMismatch,
    /// The actor is already in the chain, and its delegation is not reentrant.
    #[error("{actor:?} is already in the chain, and its delegation to {target:?} is not reentrant")]
    Loop {
        /// The id of the actor.
        actor: String,
        /// The id of the target.
        target: String,
    },
    /// The target is disabled or on hold.
    #[error("the target {0:?} is disabled")]
    TargetDisabled(String),
    /// No delegation covers this actor, target and issuer.
    #[error("no delegation lets {actor:?} call {target:?} for users of {issuer:?}")]
    NoDelegation {
        /// The id of the actor.
        actor: String,
        /// The id of the target.
        target: String,
        /// The issuer of the user.
        issuer: String,
    },
    /// An agent or the delegation does not allow the tenant.
    #[error("{tenant} is not among the tenants of {of}")]
    TenantOutside {
        /// The tenant, or a text for a token without a tenant.
        tenant: String,
        /// The entry that does not allow the tenant.
        of: String,
    },
    /// `X-Tenant-ID` names another tenant than the subject token.
    #[error("X-Tenant-ID is not the tenant of the subject token")]
    TenantHeaderMismatch,
    /// The requested scope exceeds what the subject and the delegation allow.
    #[error("the scope {0:?} is beyond what the subject token and the delegation allow")]
    ScopeBeyond(String),
    /// The subject and the delegation allow no scope.
    #[error("the subject token and the delegation allow no scope")]
    ScopeEmpty,
    /// No element of the delegation, or of the subject token, covers a requested authorization detail.
    #[error("a detail of type {0:?} is beyond what the subject token and the delegation allow")]
    DetailsBeyond(String),
    /// The person who decides has denied the token.
    #[error("the {} has denied this token", .0.as_str())]
    ApprovalDenied(Decider),
    /// The token needs an approval, and has no user.
    #[error("a token that {0:?} requests on its own behalf needs an approval, which only a token with a user can get")]
    ApprovalWithoutUser(String),
    /// The subject token expires within this second.
    #[error("the subject token expires within this second")]
    NoLifetime,
    /// The target takes bearer tokens alone, and the tokens of the actor must be bound.
    #[error("{target:?} takes bearer tokens alone (bearer_only), and the tokens of {actor:?} must be bound")]
    BearerOnly {
        /// The id of the actor.
        actor: String,
        /// The id of the target.
        target: String,
    },
    /// An agent demands a DPoP proof, and the request has none.
    #[error("{key} of {agent:?} demands a DPoP proof, and the request has none")]
    ProofRequired {
        /// The id of the agent whose entry demands it: the actor or the target.
        agent: String,
        /// The registry key that demands it.
        key: &'static str,
    },
    /// The tokens of the actor must be bound to its client certificate, and it has presented none.
    #[error(
        "tls_client_certificate_bound_access_tokens of {0:?} demands a client certificate, and the request has none"
    )]
    CertificateRequired(String),
    /// The subject token is bound to a key, and the actor has proven no key.
    #[error("the subject token is bound to a key, and {0:?} has proven no key")]
    BindingDowngrade(String),
    /// No delegation between the two lets the actor call on its own behalf.
    #[error("no delegation lets {actor:?} call {target:?} on its own behalf")]
    NotAServiceAccount {
        /// The id of the actor.
        actor: String,
        /// The id of the target.
        target: String,
    },
    /// Several delegations match. They are never combined.
    #[error("several delegations let {actor:?} call {target:?} on its own behalf; X-Tenant-ID must select one")]
    SeveralDelegations {
        /// The id of the actor.
        actor: String,
        /// The id of the target.
        target: String,
    },
}

impl PolicyError {
    /// Returns the stable name of the rule, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ChainTooDeep { .. } => "chain_too_deep",
            Self::MayActMismatch => "may_act_mismatch",
            Self::Loop { .. } => "actor_loop",
            Self::TargetDisabled(_) => "target_disabled",
            Self::NoDelegation { .. } => "no_delegation",
            Self::TenantOutside { .. } => "tenant_outside",
            Self::TenantHeaderMismatch => "tenant_header_mismatch",
            Self::ScopeBeyond(_) => "scope_beyond",
            Self::ScopeEmpty => "scope_empty",
            Self::DetailsBeyond(_) => "details_beyond",
            Self::ApprovalDenied(_) => "approval_denied",
            Self::ApprovalWithoutUser(_) => "approval_without_user",
            Self::NoLifetime => "subject_expired",
            Self::BearerOnly { .. } => "target_bearer_only",
            Self::ProofRequired { .. } => "proof_required",
            Self::CertificateRequired(_) => "certificate_required",
            Self::BindingDowngrade(_) => "binding_downgrade",
            Self::NotAServiceAccount { .. } => "not_a_service_account",
            Self::SeveralDelegations { .. } => "several_delegations",
        }
    }

    /// Returns the kind of error that the token endpoint answers with.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ChainTooDeep { .. }
            | Self::MayActMismatch
            | Self::Loop { .. }
            | Self::TenantOutside { .. }
            | Self::TenantHeaderMismatch
            | Self::NoLifetime => ErrorKind::Token,
            Self::TargetDisabled(_)
            | Self::NoDelegation { .. }
            | Self::SeveralDelegations { .. }
            | Self::BearerOnly { .. } => ErrorKind::Target,
            Self::ProofRequired { .. } | Self::CertificateRequired(_) | Self::BindingDowngrade(_) => ErrorKind::Binding,
            Self::ScopeBeyond(_) | Self::ScopeEmpty => ErrorKind::Scope,
            Self::DetailsBeyond(_) => ErrorKind::Details,
            Self::ApprovalDenied(_) => ErrorKind::Denied,
            Self::NotAServiceAccount { .. } | Self::ApprovalWithoutUser(_) => ErrorKind::Grant,
        }
    }
}
