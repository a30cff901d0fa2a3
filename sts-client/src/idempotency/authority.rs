//! The authority under which an operation was done.

use serde_json::Value;

use crate::call::Caller;
use crate::dedup::DedupKey;

/// The claims by which handlers decide, besides the scope: those of RFC 9068 §2.2.3.1 and RFC 9396, and how the user signed in.
const CLAIMS: [&str; 6] = ["roles", "groups", "entitlements", "authorization_details", "acr", "amr"];

/// A digest of all that a token allows. An outcome is repeated to the same authority alone, because the handler's own checks do not run
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority([u8; Self::BYTES]);

impl Authority {
    pub(super) const BYTES: usize = 32;

    /// The authority of a caller: the scope, and the claims that grant or restrict. The order of values does not matter.
    pub(crate) fn of(caller: &Caller) -> Self {
        let verified = caller.verified();
        let mut roles: Vec<&str> = caller.roles().collect();
        roles.sort_unstable();
        // Roles may stand in another claim than `roles`.
        let mut parts = vec![verified.scope.to_string(), DedupKey::new("roles", roles).to_hex()];
        parts.extend(CLAIMS.iter().map(|name| caller.claim(name).map(canonical).unwrap_or_default()));
        Self(*DedupKey::new("authority", parts).as_bytes())
    }

    /// This authority, narrowed to the scopes that one message makes use of.
    #[cfg(feature = "envelope")]
    pub(crate) fn narrowed(self, scopes: &sts_protocol::Scope) -> Self {
        Self(*DedupKey::new("authority of a message", [&self.0[..], scopes.to_string().as_bytes()]).as_bytes())
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// The value of a claim as text, with the values of a list in order.
fn canonical(value: &Value) -> String {
    let Value::Array(values) = value else { return DedupKey::of_json("claim", value).to_hex() };
    let mut values: Vec<String> = values.iter().map(|value| DedupKey::of_json("claim", value).to_hex()).collect();
    values.sort_unstable();
    format!("[{}]", values.concat())
}
