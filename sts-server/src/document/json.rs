//! Reading of JSON: the body of a request is checked against the same schema as a file.
//!
//! Each value of an object has a number in place of a line. The number in a fault leads to the JSON
//! pointer of the value.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::node::{NodeTable, Pointers};
use super::{Reader, Schema};
use crate::fault::Fault;

/// The name in place of a file, in faults of a body.
pub(crate) const BODY: &str = "body";

/// A fault of a request, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldFault {
    /// The place in the body, as a JSON pointer (RFC 6901). Absent if the fault is not in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The query parameter or the header. Absent if the fault is in neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// A description of the fault.
    pub message: String,
    /// A suggested correction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl FieldFault {
    /// Creates a fault at a place of the body.
    #[must_use]
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, message: message.into(), help: None }
    }

    /// Creates a fault of a query parameter or a header.
    #[must_use]
    pub fn of(parameter: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(parameter.into()), message: message.into(), help: None }
    }
}

/// Returns the nodes of an object, and the pointers that belong to their lines.
pub(crate) fn read_json(object: &Map<String, Value>) -> (NodeTable<'_>, Pointers) {
    NodeTable::of_json(object)
}

/// Returns a fault with its place in the body, if the fault is of the body.
pub(crate) fn fault_at(pointers: &Pointers, fault: &Fault) -> FieldFault {
    let line = fault.line.filter(|_| fault.file == Path::new(BODY));
    let pointer = line.and_then(|line| pointers.at(line)).map(str::to_owned);
    FieldFault { pointer, parameter: None, message: fault.message.clone(), help: fault.help.clone() }
}

/// Reads an object that `schema` describes.
///
/// # Errors
/// Returns every fault of the object.
pub(crate) fn read_object(schema: &Schema, object: &Map<String, Value>) -> Result<Map<String, Value>, Vec<FieldFault>> {
    let (table, pointers) = read_json(object);
    let mut reader = Reader::new(Path::new(BODY));
    let read = reader.entry(schema, 1, &table);
    let faults = reader.into_faults();
    if faults.is_empty() {
        Ok(read.values)
    } else {
        Err(faults.iter().map(|fault| fault_at(&pointers, fault)).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Key, Shape};
    use super::*;

    static INNER: Schema =
        Schema { label: "inner", keys: &[Key { name: "texts", required: true, shape: Shape::Texts(fits) }] };
    static OUTER: Schema = Schema {
        label: "the body",
        keys: &[
            Key { name: "flag", required: false, shape: Shape::Boolean },
            Key { name: "tables", required: false, shape: Shape::Tables(&INNER) },
            Key { name: "free", required: false, shape: Shape::Object },
        ],
    };

    fn fits(text: &str) -> Result<(), String> {
        if text.contains('!') { Err("no exclamation".to_owned()) } else { Ok(()) }
    }

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else { panic!("an object") };
        object
    }

    #[test]
    fn what_is_right_is_passed_on_as_it_was() {
        let body = object(json!({
            "flag": true, "tables": [{ "texts": ["a\u{7f}\n\"\\", "\u{e4}"] }, { "texts": [] }],
            "free": { "n": -1, "f": 0.5, "deep": { "a/b~c": [[], {}, "x"] } },
        }));
        assert_eq!(read_object(&OUTER, &body), Ok(body));
    }

    #[test]
    fn every_fault_has_its_pointer() {
        let body = object(json!({
            "flag": 1, "tables": [{ "texts": ["a", "b!"] }, { "text": [] }, 7], "free": { "x": null }, "flga": true,
        }));
        let faults = read_object(&OUTER, &body).unwrap_err();
        let mut pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.clone().unwrap()).collect();
        pointers.sort();
        assert_eq!(
            pointers,
            ["/flag", "/flga", "/free/x", "/tables/0/texts/1", "/tables/1/text", "/tables/2"],
            "{faults:#?}"
        );
        let unknown = faults.iter().find(|fault| fault.pointer.as_deref() == Some("/flga")).unwrap();
        assert_eq!(unknown.help.as_deref(), Some("did you mean \"flag\"?"));
    }
}
