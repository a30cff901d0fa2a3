//! Keys of one length, whatever they are made of.

use std::fmt;

use aws_lc_rs::digest;

/// The key of a one-time value or of an operation: SHA-256 over a namespace and parts, each with its length before it.
///
/// So no two lists of parts share a key, no text is too long for a store, and no store holds names of users or tenants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OnceKey([u8; 32]);

impl OnceKey {
    /// The key of these parts in a namespace, which names the kind of thing: values of two kinds never meet.
    ///
    /// ```
    /// use sts_client::once::OnceKey;
    ///
    /// assert_ne!(OnceKey::new("message", ["a", "bc"]), OnceKey::new("message", ["ab", "c"]));
    /// assert_ne!(OnceKey::new("message", ["a"]), OnceKey::new("operation", ["a"]));
    /// ```
    pub fn new<P: AsRef<[u8]>>(namespace: &str, parts: impl IntoIterator<Item = P>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        feed(&mut context, namespace.as_bytes());
        for part in parts {
            feed(&mut context, part.as_ref());
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn feed(context: &mut digest::Context, part: &[u8]) {
    context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(part);
}

/// Its first bytes, enough to find it again in a log.
impl fmt::Debug for OnceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnceKey(")?;
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}
