//! JSON parsing that refuses input which two readers could understand differently.
//!
//! If an object has two members with one name, `serde_json::Value` silently keeps the last. Another
//! party may keep the first. Here such a name is an error at every level. All data that an outside
//! party signed or served passes through this module.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// The maximum depth of nested objects and arrays, including the outermost.
pub const MAX_DEPTH: usize = 32;

/// The reason bytes are not an accepted JSON object. No message repeats any of the input.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The bytes are not UTF-8.
    #[error("not utf-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// The text is not JSON. This includes a lone surrogate, a number out of range, and trailing
    /// bytes.
    #[error("not json")]
    Syntax(#[source] serde_json::Error),
    /// An object has two members with one name, after escapes are resolved.
    #[error("an object has two members with one name")]
    DuplicateMember,
    /// The value has more than [`MAX_DEPTH`] levels.
    #[error("nested too deeply")]
    TooDeep,
    /// The text is JSON, but not an object.
    #[error("not a json object")]
    NotAnObject,
}

/// Parses one JSON object from a document that was fetched or read from a file. Like
/// [`parse_object`], but skips a leading UTF-8 byte order mark (RFC 8259 §8.1).
///
/// # Errors
/// See [`JsonError`].
pub fn parse_document(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    parse_object(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes))
}

/// Parses one JSON object, with only white space before or after it. The caller limits the length
/// of `bytes`. The memory used stays within a small multiple of it.
///
/// # Errors
/// One variant of [`JsonError`] for each cause. All of them are the fault of the party that made
/// the bytes.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match parse_value(bytes)? {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(JsonError::NotAnObject)
        }
    }
}

/// Parses one JSON value, by the rules of [`parse_object`].
///
/// # Errors
/// See [`JsonError`]; never `NotAnObject`.
pub fn parse_value(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(JsonError::NotUtf8)?;
    let breach = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value =
        Strict { depth: 0, breach: &breach }.deserialize(&mut deserializer).map_err(|source| of(&breach, source))?;
    deserializer.end().map_err(JsonError::Syntax)?;
    Ok(value)
}

/// Finds the elements of the array in member `name` of a document, so that each is parsed alone: an
/// element that breaks a rule costs no other. Returns `None` if the member is missing or not an
/// array. Skips a byte order mark. The caller bounds the length of `bytes`.
///
/// # Errors
/// See [`JsonError`]: the document itself is no JSON object, or has two members with one name.
pub(crate) fn elements<'a>(bytes: &'a [u8], name: &str) -> Result<Option<Vec<&'a RawValue>>, JsonError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(JsonError::NotUtf8)?;
    if !text.trim_start().starts_with('{') {
        // An error of serde_json about a text that is no object quotes that text.
        return parse_object(bytes).map(|_| None);
    }
    let breach = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let member =
        Member { name, breach: &breach }.deserialize(&mut deserializer).map_err(|source| of(&breach, source))?;
    deserializer.end().map_err(JsonError::Syntax)?;
    // The text is JSON: it fails only where it is no array.
    Ok(member.and_then(|member| serde_json::from_str::<Vec<&RawValue>>(member.get()).ok()))
}

/// The error of a reader that may have broken a rule of ours.
fn of(breach: &Cell<Option<Breach>>, source: serde_json::Error) -> JsonError {
    match breach.get() {
        Some(Breach::DuplicateMember) => JsonError::DuplicateMember,
        Some(Breach::TooDeep) => JsonError::TooDeep,
        None => JsonError::Syntax(source),
    }
}

/// Finds one member of an object whose members have different names. The values are not looked at.
struct Member<'a> {
    name: &'a str,
    breach: &'a Cell<Option<Breach>>,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a json object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut names, mut found) = (HashSet::new(), None);
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value()?;
            if name == self.name {
                found = Some(value);
            }
            if !names.insert(name) {
                self.breach.set(Some(Breach::DuplicateMember));
                return Err(serde::de::Error::custom("refused"));
            }
        }
        Ok(found)
    }
}

/// The broken rule of this module, which serde's error type cannot carry.
#[derive(Debug, Clone, Copy)]
enum Breach {
    DuplicateMember,
    TooDeep,
}

/// Reads one value at nesting depth `depth`.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    breach: &'a Cell<Option<Breach>>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.break_rule(Breach::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn break_rule<E: serde::de::Error>(self, breach: Breach) -> E {
        self.breach.set(Some(breach));
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("json")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(self.break_rule(Breach::DuplicateMember));
            }
            let value = members.next_value_seed(inner)?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}
