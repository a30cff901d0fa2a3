//! Sets of tenants.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sts_protocol::Tenant;

/// The tenants within which an entry counts: all of them (`["*"]`), or those listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tenants {
    /// Every tenant, and tokens without one.
    #[default]
    Any,
    /// These alone; a token without a tenant is outside.
    Only(BTreeSet<Tenant>),
}

/// Stands alone and for every tenant.
pub(super) const ANY: &str = "*";

impl Tenants {
    /// Whether a token of this tenant, or of none, is within.
    #[must_use]
    pub fn contain(&self, tenant: Option<&Tenant>) -> bool {
        match (self, tenant) {
            (Self::Any, _) => true,
            (Self::Only(tenants), Some(tenant)) => tenants.contains(tenant),
            (Self::Only(_), None) => false,
        }
    }

    /// Whether some tenant, or the absence of one, is within both.
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
                return Err(de::Error::custom("\"*\" means every tenant and stands alone"));
            }
            return Ok(Self::Any);
        }
        let tenants = names.iter().map(|name| Tenant::new(name)).collect::<Result<_, _>>();
        tenants.map(Self::Only).map_err(de::Error::custom)
    }
}
