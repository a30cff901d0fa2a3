//! References in events to text from a message.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Serialize, Serializer};
use sts_jose::hex;
use uuid::Uuid;

/// The number of digest bytes that are kept: enough to distinguish texts and to find them.
const KEPT_BYTES: usize = 12;

/// A name that reveals nothing of the text that it refers to. It is the text itself if that is a
/// UUID in its usual form, otherwise the start of its SHA-256. [`Reference::of`] is equal for equal
/// texts, so a reader who knows an id finds its events.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reference(Shape);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    Uuid(Uuid),
    Digest([u8; KEPT_BYTES]),
}

impl Reference {
    /// Makes the reference to a text.
    ///
    /// ```
    /// use sts_client::events::Reference;
    ///
    /// let uuid = "0b8e8a4e-3f43-4d3c-9a43-6a2d52a2e6c5";
    /// assert_eq!(Reference::of(uuid).to_string(), uuid);
    /// assert_eq!(Reference::of("alice"), Reference::of("alice"));
    /// assert!(!Reference::of("alice").to_string().contains("alice"));
    /// ```
    #[must_use]
    pub fn of(text: &str) -> Self {
        match Uuid::try_parse(text) {
            Ok(uuid) if uuid.hyphenated().to_string() == text => Self(Shape::Uuid(uuid)),
            Ok(_) | Err(_) => Self::of_parts(&[text]),
        }
    }

    /// Makes the reference to several texts together.
    pub(crate) fn of_parts(parts: &[&str]) -> Self {
        let mut sha256 = Context::new(&SHA256);
        for part in parts {
            sha256.update(part.as_bytes());
            // No id holds a control character, so different lists of parts have different digests.
            sha256.update(&[0]);
        }
        let mut kept = [0; KEPT_BYTES];
        for (kept, byte) in kept.iter_mut().zip(sha256.finish().as_ref()) {
            *kept = *byte;
        }
        Self(Shape::Digest(kept))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Shape::Uuid(uuid) => write!(f, "{}", uuid.hyphenated()),
            Shape::Digest(bytes) => write!(f, "sha256:{}", hex(bytes)),
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_stays_and_all_else_becomes_a_digest() {
        let uuid = "0190a209-f46e-7534-9dd0-a8a5554e22e9";
        assert_eq!(Reference::of(uuid).to_string(), uuid);
        for text in ["", "acct-4711", "0190A209-F46E-7534-9DD0-A8A5554E22E9", "0190a209f46e75349dd0a8a5554e22e9"] {
            let shown = Reference::of(text).to_string();
            assert!(shown.starts_with("sha256:") && shown.len() == 31, "{shown}");
            assert_eq!(shown, Reference::of(text).to_string());
        }
        assert_ne!(Reference::of_parts(&["a", "bc"]), Reference::of_parts(&["ab", "c"]));
    }
}
