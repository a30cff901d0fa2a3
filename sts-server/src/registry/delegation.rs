//! Delegations: the permission of one agent to call another on a user's behalf.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_protocol::{AuthorizationDetail, ScopeToken};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::{ApprovalRule, Tenants};
use crate::ttl::Ttl;

/// A delegation, as its registry entry describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// The name: `actor->target`, and `actor->target#2` for the second delegation of a pair. Empty
    /// until the delegation has been applied.
    #[serde(skip)]
    pub id: String,
    /// The id of the agent that may call.
    pub actor: String,
    /// The id of the agent that may be called.
    pub target: String,
    /// The scopes that a token of this delegation can have.
    pub scopes: Vec<DelegatedScope>,
    /// The issuers whose users the delegation covers. If absent, it covers every issuer that no
    /// `workload` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// The tenants that the delegation covers.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub tenants: Tenants,
    /// The roles that are passed on to the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The authorization details that a token of this delegation can have (RFC 9396). A requested
    /// element must be within one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub details: Vec<AuthorizationDetail>,
    /// The approval that some of its tokens need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRule>,
    /// The longest lifetime of a token. If absent, the target's `token_ttl` alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub max_ttl: Option<Ttl>,
    /// True if the actor may also call on its own behalf.
    #[serde(default)]
    pub service_account: bool,
    /// True if the actor may act again in a chain that already contains it.
    #[serde(default)]
    pub reentrant: bool,
    /// The person or team that answers for the delegation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The purpose of the delegation, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// The time from which the delegation counts as disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// True if the delegation allows nothing.
    #[serde(default)]
    pub disabled: bool,
}

/// A scope that a delegation can allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DelegatedScope {
    /// The subject token must hold this scope.
    Plain(ScopeToken),
    /// The subject token must hold another scope that entitles to this scope.
    Derived(DerivedScope),
}

/// A scope that other scopes entitle to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DerivedScope {
    /// The scope that is granted.
    #[schema(value_type = String)]
    pub scope: ScopeToken,
    /// The scopes that entitle to it. The subject token must hold at least one of them.
    #[schema(value_type = Vec<String>)]
    pub from: Vec<ScopeToken>,
}

impl PartialSchema for DelegatedScope {
    fn schema() -> RefOr<Schema> {
        let plain = ObjectBuilder::new().schema_type(Type::String);
        OneOfBuilder::new().item(plain).item(Ref::from_schema_name("DerivedScope")).into()
    }
}

impl ToSchema for DelegatedScope {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("DerivedScope".to_owned(), DerivedScope::schema()));
    }
}

impl DelegatedScope {
    /// Returns the scope that is granted.
    #[must_use]
    pub fn scope(&self) -> &ScopeToken {
        match self {
            Self::Plain(scope) => scope,
            Self::Derived(derived) => &derived.scope,
        }
    }
}

impl Delegation {
    /// Returns true if both cover a common subject. Two delegations of one actor and target must
    /// not overlap.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let issuers = match (&self.issuers, &other.issuers) {
            (Some(left), Some(right)) => left.iter().any(|issuer| right.contains(issuer)),
            (None, _) | (_, None) => true,
        };
        issuers && self.tenants.overlap(&other.tenants)
    }
}
