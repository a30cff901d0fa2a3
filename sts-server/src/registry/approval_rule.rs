//! The rule of a delegation that a person must approve some of its tokens.

use serde::{Deserialize, Serialize};
use sts_protocol::{AuthorizationDetail, DetailText, Scope, ScopeToken};
use utoipa::ToSchema;

use crate::ttl::Ttl;

/// The approval that some tokens of a delegation need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// The scopes that need an approval.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<ScopeToken>,
    /// The actions of authorization details that need an approval.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub actions: Vec<DetailText>,
    /// The person who decides.
    pub by: Decider,
    /// The time for which a granted approval is remembered.
    #[serde(default = "default_remember")]
    #[schema(value_type = String)]
    pub remember: Ttl,
    /// The time for which a request waits for a decision.
    #[serde(default = "default_wait")]
    #[schema(value_type = String)]
    pub wait: Ttl,
}

/// The person who decides on an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decider {
    /// The user on whose behalf the agent acts.
    User,
    /// An operator of this service.
    Operator,
}

impl Decider {
    /// Returns the name in the registry.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
        }
    }
}

impl ApprovalRule {
    /// The longest `wait`. It bounds the number of approvals that wait.
    pub const MAX_WAIT: Ttl = Ttl::from_minutes(24 * 60);
    /// The longest `remember`. A grant for longer is a delegation.
    pub const MAX_REMEMBER: Ttl = Ttl::from_minutes(24 * 60);

    /// Returns true if a token with this scope and these details needs an approval. A detail that
    /// names no action permits every action.
    #[must_use]
    pub fn covers(&self, scope: &Scope, details: &[AuthorizationDetail]) -> bool {
        let permits = |action: &DetailText| {
            let names = |detail: &AuthorizationDetail| {
                detail.actions.as_ref().is_none_or(|actions| actions.contains(action.as_str()))
            };
            details.iter().any(names)
        };
        self.covers_scope(scope) || self.actions.iter().any(permits)
    }

    fn covers_scope(&self, scope: &Scope) -> bool {
        self.scopes.iter().any(|token| scope.contains(token))
    }
}

fn default_remember() -> Ttl {
    Ttl::from_minutes(15)
}

fn default_wait() -> Ttl {
    Ttl::from_minutes(5)
}
