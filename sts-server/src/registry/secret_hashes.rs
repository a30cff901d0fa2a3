//! The stored hashes of an agent's secret.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The hash of an agent's secret, or two hashes while a secret is being replaced. Debug output
/// contains no hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SecretHashes {
    /// The hash of one secret.
    One(String),
    /// The hashes of the new and the previous secret. Both secrets authenticate.
    Several(Vec<String>),
}

impl SecretHashes {
    /// The maximum number of hashes.
    pub const MAX: usize = 2;

    /// Returns the hashes, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(hash) => std::slice::from_ref(hash),
            Self::Several(hashes) => hashes,
        }
    }
}

impl std::fmt::Debug for SecretHashes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretHashes({})", self.as_slice().len())
    }
}
