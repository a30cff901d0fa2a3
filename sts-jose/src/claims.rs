//! Typed access to claims. A claim with the wrong type is an error, and never counts as absent. A
//! `null` claim is absent.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

/// The claims of one token. `Debug` shows their names, never their values.
#[derive(Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

/// A claim is present but invalid. Holds the name of the claim, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The claim has the wrong JSON type.
    #[error("claim {name:?} is not {expected}")]
    WrongType {
        /// The name of the claim.
        name: String,
        /// The expected type, in readable form.
        expected: &'static str,
    },
    /// The number is not a valid moment: it is negative, or past the year 9999.
    #[error("claim {name:?} is out of range")]
    OutOfRange {
        /// The name of the claim.
        name: String,
    },
    /// The claim has several values, but one is required.
    #[error("claim {name:?} is not one value")]
    NotOneValue {
        /// The name of the claim, or the pointer to it.
        name: String,
    },
}

impl Claims {
    /// Wraps a map from [`crate::json::parse_object`], or a map that we made.
    pub fn new(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// Returns all claims, for a reader that knows their complete shape.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Returns the claim without conversion, including `null`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Returns the names of all claims, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns a claim that must be a string, or `None` if it is absent or `null`. An empty string
    /// is a string.
    ///
    /// # Errors
    /// [`ClaimError::WrongType`] for any other type.
    pub fn string(&self, name: &str) -> Result<Option<&str>, ClaimError> {
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(name, "a string")),
        }
    }

    /// Returns a `NumericDate` (RFC 7519 §2): seconds since the epoch, possibly with a fraction.
    ///
    /// # Errors
    /// [`ClaimError::WrongType`] for a string, bool, array or object. [`ClaimError::OutOfRange`]
    /// for a negative number, or a number past the year 9999.
    pub fn numeric_date(&self, name: &str) -> Result<Option<Timestamp>, ClaimError> {
        let number = match self.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number,
            Some(_) => return Err(wrong_type(name, "a number of seconds")),
        };
        let since_epoch = match number.as_u64() {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => number.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        };
        since_epoch
            .and_then(|duration| SignedDuration::try_from(duration).ok())
            .and_then(|duration| Timestamp::from_duration(duration).ok())
            .map(Some)
            .ok_or_else(|| ClaimError::OutOfRange { name: name.to_owned() })
    }

    /// Returns `aud`: a string or an array of strings, none of them empty. An absent `aud` yields
    /// an empty list, as an empty array does.
    ///
    /// # Errors
    /// [`ClaimError::WrongType`] for an empty string or any other type.
    pub fn audience(&self) -> Result<Vec<&str>, ClaimError> {
        let Some(values) = self.strings("aud")? else { return Ok(Vec::new()) };
        if values.iter().any(|value| value.is_empty()) {
            return Err(wrong_type("aud", "a non-empty string or an array of such strings"));
        }
        Ok(values)
    }

    /// Returns a claim that is a string or an array of strings. The array may be empty, and so may
    /// the strings.
    ///
    /// # Errors
    /// [`ClaimError::WrongType`] for any other type, including an array with other members.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<&str>>, ClaimError> {
        let expected = "a string or an array of strings";
        match self.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                texts.map(Some).ok_or_else(|| wrong_type(name, expected))
            }
            Some(_) => Err(wrong_type(name, expected)),
        }
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims")?;
        f.debug_list().entries(self.0.keys()).finish()
    }
}

fn wrong_type(name: &str, expected: &'static str) -> ClaimError {
    ClaimError::WrongType { name: name.to_owned(), expected }
}
