//! The caller, as a store counts its share.

use super::DedupKey;

/// A caller, as a store knows it that bounds each caller's share: a digest, which tells callers apart and names none.
///
/// ```
/// use sts_client::dedup::CallerKey;
///
/// assert_eq!(CallerKey::new(["acme", "alice"]), CallerKey::new(["acme", "alice"]));
/// assert_ne!(CallerKey::new(["acme", "alice"]), CallerKey::new(["acme", "bob"]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallerKey(DedupKey);

impl CallerKey {
    /// The caller of these parts: verified names alone, never what a request says of itself.
    pub fn new<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self(DedupKey::new("caller", parts))
    }
}
