//! The chain of actors in an `act` claim.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::is_name;

/// An `act` claim (RFC 8693 §4.1): the current actor is outermost, with the earlier actors nested
/// inside.
///
/// Every level is a JSON object with a string `sub` and an optional string `iss`. Both must be
/// [names](is_name). Levels from other issuers keep all their other members. Decisions read only
/// [`Act::current`]; the earlier actors are for audit (RFC 8693 §4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Act(Map<String, Value>);

/// An actor of a chain: its identifier, and the namespace of the identifier.
///
/// ```
/// use sts_protocol::Act;
///
/// let act: Act = serde_json::from_str(r#"{"sub": "inventory", "act": {"sub": "coordinator"}}"#)?;
/// assert_eq!(act.current().sub, "inventory");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Actor<'a> {
    /// The issuer whose namespace contains `sub`. Absent in chains from issuers that omit it.
    pub iss: Option<&'a str>,
    /// The identifier of the actor.
    pub sub: &'a str,
}

/// The value is not a chain of actors.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ActError {
    /// A level is not a JSON object.
    #[error("act is not an object")]
    NotAnObject,
    /// A level has no string `sub`.
    #[error("act has no string sub")]
    NoSubject,
    /// A level has an `iss` that is not a string.
    #[error("act has an iss that is not a string")]
    IssuerNotAString,
    /// A `sub` or `iss` is empty, too long, or has control characters.
    #[error("a sub or iss of act is empty, longer than 255 characters, or contains control characters")]
    NoName,
}

impl Act {
    /// Wraps an optional prior chain in a new current actor.
    #[must_use]
    pub fn wrap(iss: &str, sub: &str, prior: Option<Self>) -> Self {
        let mut level = Map::new();
        level.insert("sub".to_owned(), Value::from(sub));
        level.insert("iss".to_owned(), Value::from(iss));
        if let Some(prior) = prior {
            level.insert("act".to_owned(), Value::Object(prior.0));
        }
        Self(level)
    }

    /// Reads a chain and checks every level.
    ///
    /// # Errors
    /// [`ActError`] with the defect of the first bad level.
    pub fn from_value(value: &Value) -> Result<Self, ActError> {
        let mut next = Some(value);
        while let Some(level) = next {
            let level = level.as_object().ok_or(ActError::NotAnObject)?;
            let sub = level.get("sub").and_then(Value::as_str).ok_or(ActError::NoSubject)?;
            let iss = level.get("iss").map(|iss| iss.as_str().ok_or(ActError::IssuerNotAString)).transpose()?;
            if ![Some(sub), iss].into_iter().flatten().all(is_name) {
                return Err(ActError::NoName);
            }
            next = level.get("act");
        }
        match value {
            Value::Object(level) => Ok(Self(level.clone())),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(ActError::NotAnObject)
            }
        }
    }

    /// Returns the actor that acts now.
    #[must_use]
    pub fn current(&self) -> Actor<'_> {
        self.actors().next().unwrap_or(Actor { iss: None, sub: "" })
    }

    /// Returns the actors, the current one first.
    pub fn actors(&self) -> impl Iterator<Item = Actor<'_>> {
        std::iter::successors(Some(&self.0), |level| level.get("act").and_then(Value::as_object)).map(|level| Actor {
            iss: level.get("iss").and_then(Value::as_str),
            sub: level.get("sub").and_then(Value::as_str).unwrap_or_default(),
        })
    }

    /// Returns the number of actors in the chain: 1 or more.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.actors().count()
    }
}

impl<'de> Deserialize<'de> for Act {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_new_actor_is_outermost_and_the_prior_chain_unchanged() {
        let prior = json!({ "sub": "a", "iss": "https://other", "extra": [1], "act": { "sub": "first" } });
        let act = Act::wrap("https://sts", "b", Some(Act::from_value(&prior).unwrap()));
        assert_eq!(serde_json::to_value(&act).unwrap(), json!({ "sub": "b", "iss": "https://sts", "act": prior }));
        assert_eq!(act.depth(), 3);
        assert_eq!(act.current(), Actor { iss: Some("https://sts"), sub: "b" });
    }

    #[test]
    fn a_level_that_is_malformed_is_refused_however_deep() {
        for (value, error) in [
            (json!("a"), ActError::NotAnObject),
            (json!(null), ActError::NotAnObject),
            (json!({}), ActError::NoSubject),
            (json!({ "sub": 1 }), ActError::NoSubject),
            (json!({ "sub": "a", "act": [] }), ActError::NotAnObject),
            (json!({ "sub": "a", "act": null }), ActError::NotAnObject),
            (json!({ "sub": "a", "act": { "iss": "x" } }), ActError::NoSubject),
            (json!({ "sub": "a", "iss": 3 }), ActError::IssuerNotAString),
            (json!({ "sub": "" }), ActError::NoName),
            (json!({ "sub": "a\0" }), ActError::NoName),
            (json!({ "sub": "a\nb" }), ActError::NoName),
            (json!({ "sub": "a".repeat(256) }), ActError::NoName),
            (json!({ "sub": "a", "iss": "" }), ActError::NoName),
            (json!({ "sub": "a", "iss": "\u{1b}[2J" }), ActError::NoName),
            (json!({ "sub": "a", "act": { "sub": "b", "act": { "sub": "" } } }), ActError::NoName),
        ] {
            assert_eq!(Act::from_value(&value), Err(error), "{value}");
        }
    }
}
