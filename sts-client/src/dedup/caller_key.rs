//! The caller, as a store counts its share.

use super::OnceKey;

/// A caller, as a store knows it that bounds each caller's share: a digest, which tells callers apart and names none.
///
/// ```
/// use sts_client::dedup::Caller;
///
/// assert_eq!(Caller::new(["acme", "alice"]), Caller::new(["acme", "alice"]));
/// assert_ne!(Caller::new(["acme", "alice"]), Caller::new(["acme", "bob"]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller(OnceKey);

impl Caller {
    /// The caller of these parts: verified names alone, never what a request says of itself.
    pub fn new<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self(OnceKey::new("caller", parts))
    }
}
