//! What policy refuses, and of which kind that is.

use thiserror::Error;

use crate::error_kind::ErrorKind;

/// A rule refuses. The requester is at fault, and no retry helps until the registry or the request changes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// The chain already has as many actors as are allowed.
    #[error("the chain would have {depth} actors; {limit} are allowed")]
    ChainTooDeep {
        /// How many it would have.
        depth: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// `may_act` names another actor (RFC 8693 §4.4).
    #[error("may_act of the subject token does not name this actor")]
    MayActMismatch,
    /// The actor stands in the chain already, and its delegation is not reentrant.
    #[error("{actor:?} already stands in the chain, and its delegation to {target:?} is not reentrant")]
    Loop {
        /// The actor.
        actor: String,
        /// The target.
        target: String,
    },
    /// The target is disabled.
    #[error("the target {0:?} is disabled")]
    TargetDisabled(String),
    /// No delegation covers this actor, target and issuer.
    #[error("no delegation lets {actor:?} call {target:?} for users of {issuer:?}")]
    NoDelegation {
        /// The actor.
        actor: String,
        /// The target.
        target: String,
        /// The issuer of the user.
        issuer: String,
    },
    /// The tenant is outside of what an entry allows.
    #[error("{tenant} is outside of the tenants of {of}")]
    TenantOutside {
        /// The tenant, or the lack of one.
        tenant: String,
        /// Whose tenants.
        of: String,
    },
    /// `X-Tenant-ID` names another tenant than the subject token.
    #[error("X-Tenant-ID is not the tenant of the subject token")]
    TenantHeaderMismatch,
    /// More scope is asked for than the subject and the delegation allow.
    #[error("the scope {0:?} is beyond what the subject token and the delegation allow")]
    ScopeBeyond(String),
    /// The subject and the delegation allow nothing.
    #[error("the subject token and the delegation allow no scope")]
    ScopeEmpty,
    /// The subject token dies within this second.
    #[error("no lifetime is left")]
    NoLifetime,
    /// No delegation between the two lets the actor call on its own behalf.
    #[error("no delegation lets {actor:?} call {target:?} on its own behalf")]
    NotAServiceAccount {
        /// The actor.
        actor: String,
        /// The target.
        target: String,
    },
    /// Several delegations would do, and they are never added up.
    #[error("several delegations let {actor:?} call {target:?} on its own behalf; X-Tenant-ID must single one out")]
    SeveralDelegations {
        /// The actor.
        actor: String,
        /// The target.
        target: String,
    },
}

impl PolicyError {
    /// The stable name of the rule, for audit and metrics.
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

    /// The kind of error.
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
