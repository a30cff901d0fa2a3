//! The caller, for the share of a store that it may use.

use super::DedupKey;

/// A caller for a store that bounds each caller's share. It is a digest: it distinguishes callers
/// and names none.
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
    /// Makes the key of these parts. Use verified names only, never unverified values of a request.
    pub fn new<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self(DedupKey::new("caller", parts))
    }
}
