//! The refusals of policy, and the error kind of each.

use thiserror::Error;

use crate::error_kind::ErrorKind;

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
    /// The subject token expires within this second.
    #[error("the subject token expires within this second")]
    NoLifetime,
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
            Self::NoLifetime => "subject_expired",
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
            Self::TargetDisabled(_) | Self::NoDelegation { .. } | Self::SeveralDelegations { .. } => ErrorKind::Target,
            Self::ScopeBeyond(_) | Self::ScopeEmpty => ErrorKind::Scope,
            Self::NotAServiceAccount { .. } => ErrorKind::Grant,
        }
    }
}
