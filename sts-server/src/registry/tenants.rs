//! Sets of tenants.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sts_protocol::Tenant;

/// The tenants that an entry applies to: all of them (`["*"]`), or those listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tenants {
    /// Every tenant, and tokens without a tenant.
    #[default]
    Any,
    /// Only these tenants. Tokens without a tenant are excluded.
    Only(BTreeSet<Tenant>),
}

/// The wildcard for every tenant. It must be the only element.
pub(super) const ANY: &str = "*";

impl Tenants {
    /// Returns true if the set contains a token of this tenant, or of none.
    #[must_use]
    pub fn contain(&self, tenant: Option<&Tenant>) -> bool {
        match (self, tenant) {
            (Self::Any, _) => true,
            (Self::Only(tenants), Some(tenant)) => tenants.contains(tenant),
            (Self::Only(_), None) => false,
        }
    }

    /// Returns true if both sets contain a common tenant, or both contain tokens without a tenant.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Any, Self::Only(tenants)) | (Self::Only(tenants), Self::Any) => !tenants.is_empty(),
            (Self::Only(left), Self::Only(right)) => !left.is_disjoint(right),
        }
    }
}

impl Serialize for Tenants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.collect_seq([ANY]),
            Self::Only(tenants) => serializer.collect_seq(tenants),
        }
    }
}

impl<'de> Deserialize<'de> for Tenants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        if names.iter().any(|name| name == ANY) {
            if names.len() > 1 {
                return Err(de::Error::custom("\"*\" means every tenant and must be the only value"));
            }
            return Ok(Self::Any);
        }
        let tenants = names.iter().map(|name| Tenant::new(name)).collect::<Result<_, _>>();
        tenants.map(Self::Only).map_err(de::Error::custom)
    }
}
