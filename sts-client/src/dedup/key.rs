//! Keys of fixed length, independent of their input.

use std::fmt;

use aws_lc_rs::digest;
use serde_json::Value;
use sts_jose::{canonical_json, hex};

/// The key of a single-use value or of an operation: SHA-256 over a namespace and parts, each with
/// its length before it.
///
/// So different lists of parts have different keys, no text is too long for a store, and no store
/// holds names of users or tenants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupKey([u8; 32]);

impl DedupKey {
    /// Makes the key of these parts in a namespace. The namespace names the kind of value, so that
    /// values of two kinds never share a key.
    ///
    /// ```
    /// use sts_client::dedup::DedupKey;
    ///
    /// assert_ne!(DedupKey::new("message", ["a", "bc"]), DedupKey::new("message", ["ab", "c"]));
    /// assert_ne!(DedupKey::new("message", ["a"]), DedupKey::new("operation", ["a"]));
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

    /// Makes the key of a JSON value in a namespace, independent of the order of object members.
    ///
    /// ```
    /// use serde_json::json;
    /// use sts_client::dedup::DedupKey;
    ///
    /// let key = DedupKey::of_json("order", &json!({ "sku": "tea", "packets": 40 }));
    /// assert_eq!(key, DedupKey::of_json("order", &json!({ "packets": 40, "sku": "tea" })));
    /// ```
    #[must_use]
    pub fn of_json(namespace: &str, value: &Value) -> Self {
        Self::new(namespace, [canonical_json(value)])
    }

    /// Returns the key as 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Returns the bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn feed(context: &mut digest::Context, part: &[u8]) {
    context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(part);
}

/// Shows the first bytes, enough to find the key in a log.
impl fmt::Debug for DedupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DedupKey({:.12}…)", self.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_members_makes_no_other_key_and_everything_else_does() {
        let of = |text: &str| DedupKey::of_json("n", &serde_json::from_str(text).unwrap());
        let one = of(r#"{"a": {"x": [1, 2], "y": null}, "b": "c"}"#);
        assert_eq!(one, of(r#"{"b": "c", "a": {"y": null, "x": [1, 2]}}"#));
        for other in [r#"{"a": {"x": [2, 1], "y": null}, "b": "c"}"#, r#"{"a": {"x": [1, 2]}, "b": "c"}"#, "{}"] {
            assert_ne!(one, of(other), "{other}");
        }
        assert_ne!(DedupKey::of_json("n", &json!({})), DedupKey::of_json("m", &json!({})));
    }
}
