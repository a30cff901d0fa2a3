//! Tenant identifiers.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// The maximum length of a tenant, in characters.
const MAX_TENANT_CHARS: usize = 128;

/// A tenant identifier: 1 to 128 characters of `[A-Za-z0-9._:-]`, compared byte for byte.
///
/// ```
/// use sts_protocol::Tenant;
///
/// assert_eq!(Tenant::new("acme").unwrap().as_str(), "acme");
/// assert!(Tenant::new("acme/../other").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

/// The text is not a tenant identifier.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a tenant is 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'")]
pub struct TenantError;

impl Tenant {
    /// Reads a tenant identifier.
    ///
    /// # Errors
    /// [`TenantError`] if `text` is empty, too long, or has any other character.
    pub fn new(text: &str) -> Result<Self, TenantError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        if text.is_empty() || text.len() > MAX_TENANT_CHARS || !text.bytes().all(allowed) {
            return Err(TenantError);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Tenant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tenant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_of_128_allowed_characters_is_the_longest() {
        assert!(Tenant::new(&"a".repeat(128)).is_ok());
        assert_eq!(Tenant::new(&"a".repeat(129)), Err(TenantError));
    }

    #[test]
    fn other_characters_are_refused() {
        for text in ["", " ", "a b", "a/b", "ä", "a\n", "*"] {
            assert_eq!(Tenant::new(text), Err(TenantError), "{text:?}");
        }
        assert!(Tenant::new("Acme.eu_1:x-2").is_ok());
    }
}
