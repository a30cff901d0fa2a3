//! The authority under which an operation was done.

use serde_json::Value;

use crate::delegation::Delegation;
use crate::once::OnceKey;

/// The claims on which handlers base decisions, besides the scope: the claims of RFC 9068 §2.2.3.1
/// and RFC 9396, and the authentication method of the user.
const CLAIMS: [&str; 6] = ["roles", "groups", "entitlements", "authorization_details", "acr", "amr"];

/// A digest of everything that a token allows. An outcome is returned only under the same
/// authority, because a retry skips the handler's own checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority([u8; Self::BYTES]);

impl Authority {
    pub(super) const BYTES: usize = 32;

    /// Returns the authority of a caller: the scope, and the claims that grant or restrict. The
    /// order of values is ignored.
    pub(crate) fn of(caller: &Delegation) -> Self {
        let verified = caller.verified();
        let mut roles: Vec<&str> = caller.roles().collect();
        roles.sort_unstable();
        // The roles may come from a claim other than `roles`.
        let mut parts = vec![verified.scope.to_string(), OnceKey::new("roles", roles).to_hex()];
        parts.extend(CLAIMS.iter().map(|name| caller.claim(name).map(canonical).unwrap_or_default()));
        Self(*OnceKey::new("authority", parts).as_bytes())
    }

    /// Returns this authority, narrowed to the scopes that a single message uses.
    #[cfg(feature = "envelope")]
    pub(crate) fn narrowed(self, scopes: &sts_protocol::Scope) -> Self {
        Self(*OnceKey::new("authority of a message", [&self.0[..], scopes.to_string().as_bytes()]).as_bytes())
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// Returns the value of a claim as text. The values of a list are sorted.
fn canonical(value: &Value) -> String {
    let Value::Array(values) = value else { return OnceKey::of_json("claim", value).to_hex() };
    let mut values: Vec<String> = values.iter().map(|value| OnceKey::of_json("claim", value).to_hex()).collect();
    values.sort_unstable();
    format!("[{}]", values.concat())
}
