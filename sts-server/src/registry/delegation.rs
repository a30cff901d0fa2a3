//! Delegations: which agent may call which on a user's behalf.

use serde::{Deserialize, Serialize};
use sts_protocol::ScopeToken;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::Tenants;
use crate::ttl::Ttl;

/// A delegation, as its registry entry describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// Its name: `actor->target`, and from the second of a pair on `actor->target#2`. Empty until it has been applied.
    #[serde(skip)]
    pub id: String,
    /// The id of the agent that may call.
    pub actor: String,
    /// The id of the agent that may be called.
    pub target: String,
    /// What a token of this delegation can allow.
    pub scopes: Vec<DelegatedScope>,
    /// The issuers whose users it covers; absent, any that no `workload` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuers: Option<Vec<String>>,
    /// The tenants that it covers.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub tenants: Tenants,
    /// The roles that pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// How long a token lives at most; absent, the target's `token_ttl` alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub max_ttl: Option<Ttl>,
    /// Whether the actor may also call on its own behalf.
    #[serde(default)]
    pub service_account: bool,
    /// Whether the actor may act again in a chain in which it stands already.
    #[serde(default)]
    pub reentrant: bool,
    /// Whether it allows nothing.
    #[serde(default)]
    pub disabled: bool,
}

/// A scope that a delegation can allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DelegatedScope {
    /// The subject token must hold it.
    Plain(ScopeToken),
    /// The subject token must hold one of others.
    Derived(DerivedScope),
}

/// A scope that another scope entitles to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DerivedScope {
    /// The scope.
    #[schema(value_type = String)]
    pub scope: ScopeToken,
    /// Whoever holds one of these is entitled to it.
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
    /// The scope itself.
    #[must_use]
    pub fn scope(&self) -> &ScopeToken {
        match self {
            Self::Plain(scope) => scope,
            Self::Derived(derived) => &derived.scope,
        }
    }
}

impl Delegation {
    /// Whether some subject is covered by both; two delegations of one actor and target must not.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let issuers = match (&self.issuers, &other.issuers) {
            (Some(left), Some(right)) => left.iter().any(|issuer| right.contains(issuer)),
            (None, _) | (_, None) => true,
        };
        issuers && self.tenants.overlap(&other.tenants)
    }
}
