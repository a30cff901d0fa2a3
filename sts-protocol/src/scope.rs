//! Scopes and scope tokens (RFC 6749 §3.3).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A scope token: one or more of `%x21 / %x23-5B / %x5D-7E` (RFC 6749 §3.3), compared byte for
/// byte.
///
/// ```
/// use sts_protocol::ScopeToken;
///
/// assert_eq!(ScopeToken::new("stock:read")?.as_str(), "stock:read");
/// assert!(ScopeToken::new("stock read").is_err());
/// # Ok::<(), sts_protocol::ScopeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeToken(String);

/// A set of scope tokens. On the wire, they are joined by single spaces in byte order.
///
/// ```
/// use sts_protocol::Scope;
///
/// let (alices, asked): (Scope, Scope) = ("profile stock:read".parse()?, "stock:read".parse()?);
/// assert!(asked.is_subset(&alices) && !alices.is_subset(&asked));
/// assert_eq!("b a b".parse::<Scope>()?.to_string(), "a b");
/// # Ok::<(), sts_protocol::ScopeError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Scope(BTreeSet<ScopeToken>);

/// The maximum length of a requested scope, in bytes.
pub const MAX_SCOPE_BYTES: usize = 4 * 1024;
/// The maximum number of values in a requested scope.
pub const MAX_SCOPE_VALUES: usize = 100;
/// The maximum length of a value in a requested scope, in characters.
pub const MAX_SCOPE_VALUE_CHARS: usize = 256;

/// The text is not a scope of RFC 6749 §3.3, or exceeds the limits of a request.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScopeError {
    /// The scope token is empty.
    #[error("a scope token is empty")]
    Empty,
    /// The scope token has a character outside the grammar.
    #[error("a scope token contains a character that RFC 6749 section 3.3 does not allow")]
    Character,
    /// The requested scope is longer than [`MAX_SCOPE_BYTES`].
    #[error("scope is longer than {MAX_SCOPE_BYTES} bytes")]
    TooLong,
    /// The requested scope has more values than [`MAX_SCOPE_VALUES`].
    #[error("scope has more than {MAX_SCOPE_VALUES} values")]
    TooMany,
    /// A value of the requested scope is longer than [`MAX_SCOPE_VALUE_CHARS`].
    #[error("a value of scope is longer than {MAX_SCOPE_VALUE_CHARS} characters")]
    ValueTooLong,
}

impl ScopeToken {
    /// Reads a single scope token.
    ///
    /// # Errors
    /// [`ScopeError`] if `text` is empty or does not match the grammar.
    pub fn new(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Err(ScopeError::Empty);
        }
        if !text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)) {
            return Err(ScopeError::Character);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the scope token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Scope {
    /// Reads the `scope` parameter of a request. It has the grammar of [`FromStr`], with limits on
    /// length and number. The claims of a token have no such limits, because the token has a length
    /// limit.
    ///
    /// # Errors
    /// [`ScopeError`] if `text` does not match the grammar or exceeds a limit. Nothing is allocated
    /// before the length is checked.
    pub fn requested(text: &str) -> Result<Self, ScopeError> {
        if text.len() > MAX_SCOPE_BYTES {
            return Err(ScopeError::TooLong);
        }
        let values = || text.split_ascii_whitespace();
        if values().count() > MAX_SCOPE_VALUES {
            return Err(ScopeError::TooMany);
        }
        if values().any(|value| value.len() > MAX_SCOPE_VALUE_CHARS) {
            return Err(ScopeError::ValueTooLong);
        }
        text.parse()
    }

    /// Returns true if `token` is in the set.
    #[must_use]
    pub fn contains(&self, token: &ScopeToken) -> bool {
        self.0.contains(token)
    }

    /// Returns true if the set has no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if every token of this set is in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Returns the tokens in byte order.
    pub fn iter(&self) -> impl Iterator<Item = &ScopeToken> {
        self.0.iter()
    }
}

impl FromIterator<ScopeToken> for Scope {
    fn from_iter<I: IntoIterator<Item = ScopeToken>>(tokens: I) -> Self {
        Self(tokens.into_iter().collect())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    /// Reads `scope-token *( SP scope-token )`. A repeated token counts once. Extra white space is
    /// dropped, because it has no meaning. A text of white space only is refused.
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let scope: Self = text.split_ascii_whitespace().map(ScopeToken::new).collect::<Result<_, _>>()?;
        if scope.is_empty() { Err(ScopeError::Empty) } else { Ok(scope) }
    }
}

impl fmt::Display for ScopeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&token.0)?;
        }
        Ok(())
    }
}

impl Serialize for ScopeToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ScopeToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_sorted_and_counted_once() {
        let scope: Scope = "b a b".parse().unwrap();
        assert_eq!(scope.to_string(), "a b");
    }

    #[test]
    fn what_leaves_the_grammar_is_refused() {
        for (text, error) in [
            ("", ScopeError::Empty),
            (" \t\n", ScopeError::Empty),
            ("a\u{b}b", ScopeError::Character),
            ("a\u{a0}b", ScopeError::Character),
            ("a\"", ScopeError::Character),
            ("a\\b", ScopeError::Character),
            ("ä", ScopeError::Character),
            ("a\0", ScopeError::Character),
        ] {
            assert_eq!(text.parse::<Scope>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn spare_white_space_is_dropped() {
        for text in ["a b", " a b", "a  b", "a\tb", "a b\r\n"] {
            let read = [text.parse::<Scope>(), Scope::requested(text)];
            assert!(read.iter().all(|scope| scope.as_ref().unwrap().to_string() == "a b"), "{text:?}");
        }
    }

    #[test]
    fn a_requested_scope_has_bounds() {
        let many = |count: usize| vec!["abc"; count].join(" ");
        let long = |chars: usize| "a".repeat(chars);
        let [fifteen, sixteen] = [15, 16].map(|count| vec![long(256); count].join(" "));
        for text in [&many(100), &long(256), &fifteen] {
            assert!(Scope::requested(text).is_ok(), "{} bytes", text.len());
        }
        for (text, error) in [
            (many(101), ScopeError::TooMany),
            (long(257), ScopeError::ValueTooLong),
            (sixteen, ScopeError::TooLong),
            ("a ".repeat(30_000), ScopeError::TooLong),
        ] {
            assert_eq!(Scope::requested(&text), Err(error), "{} bytes", text.len());
        }
    }

    #[test]
    fn case_makes_another_scope() {
        let scope: Scope = "Stock:read".parse().unwrap();
        assert!(!scope.contains(&ScopeToken::new("stock:read").unwrap()));
    }
}
