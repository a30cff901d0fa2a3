//! The same reading of JSON: what somebody sends is checked by the schema that a file is checked by.
//!
//! An object becomes the text of a TOML document with one value a line, so that the line of a fault says which value it is about.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};
use toml::de::DeValue;
use utoipa::ToSchema;

use super::{Reader, Schema};
use crate::fault::Fault;

/// The file that faults of a body name.
pub(crate) const BODY: &str = "body";

/// One thing that is wrong with a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldFault {
    /// The place in the body, as a JSON pointer (RFC 6901); absent where it stands in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The query parameter or the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What would mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// A JSON object as the text of a TOML document.
#[derive(Debug, Clone)]
pub(crate) struct JsonText {
    /// The document.
    pub(crate) text: String,
    /// The pointer of each line.
    pointers: Vec<String>,
    /// What TOML has no word for.
    pub(crate) faults: Vec<FieldFault>,
}

impl FieldFault {
    /// A fault at a place of the body.
    #[must_use]
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, message: message.into(), help: None }
    }

    /// A fault of a query parameter or a header.
    #[must_use]
    pub fn of(parameter: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(parameter.into()), message: message.into(), help: None }
    }
}

impl JsonText {
    /// Writes `object` as a table under `head`: a header such as `[[agents]]`, or nothing.
    pub(crate) fn write(head: &str, object: &Map<String, Value>) -> Self {
        let mut written = Self { text: String::new(), pointers: Vec::new(), faults: Vec::new() };
        written.line("", head);
        for (name, value) in object {
            written.member("", name, value, "");
        }
        written
    }

    /// Where a fault is about: in the body, or in none.
    pub(crate) fn fault(&self, fault: &Fault) -> FieldFault {
        let line = fault.line.filter(|_| fault.file == Path::new(BODY));
        let pointer = line.and_then(|line| self.pointers.get(line.saturating_sub(1)).cloned());
        FieldFault { pointer, parameter: None, message: fault.message.clone(), help: fault.help.clone() }
    }

    fn line(&mut self, pointer: &str, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
        self.pointers.push(pointer.to_owned());
    }

    fn member(&mut self, around: &str, name: &str, value: &Value, end: &str) {
        let pointer = format!("{around}/{}", name.replace('~', "~0").replace('/', "~1"));
        self.value(&pointer, &format!("{} = ", quoted(name)), value, end);
    }

    fn value(&mut self, pointer: &str, begin: &str, value: &Value, end: &str) {
        match value {
            Value::Null => self.faults.push(FieldFault::at(pointer, "null is no value; leave the key out")),
            Value::Bool(_) | Value::Number(_) => self.line(pointer, &format!("{begin}{value}{end}")),
            Value::String(text) => self.line(pointer, &format!("{begin}{}{end}", quoted(text))),
            Value::Array(elements) => {
                self.line(pointer, &format!("{begin}["));
                for (index, element) in elements.iter().enumerate() {
                    self.value(&format!("{pointer}/{index}"), "", element, ",");
                }
                self.line(pointer, &format!("]{end}"));
            }
            Value::Object(members) => {
                self.line(pointer, &format!("{begin}{{"));
                for (name, member) in members {
                    self.member(pointer, name, member, ",");
                }
                self.line(pointer, &format!("}}{end}"));
            }
        }
    }
}

/// What is right of an object that `schema` describes.
///
/// # Errors
/// Every fault, if there is one.
pub(crate) fn read_object(schema: &Schema, object: &Map<String, Value>) -> Result<Map<String, Value>, Vec<FieldFault>> {
    let written = JsonText::write("", object);
    let (mut reader, table) = Reader::parse(Path::new(BODY), &written.text);
    let read = table.map(|table| reader.entry(schema, 1, &table));
    let mut faults = written.faults.clone();
    faults.extend(reader.into_faults().iter().map(|fault| written.fault(fault)));
    match read {
        Some(read) if faults.is_empty() => Ok(read.values),
        Some(_) | None => Err(faults),
    }
}

/// What is right of a text that holds a JSON array of tables, as the environment writes what a file has as an array of tables.
///
/// # Errors
/// The reason.
pub(crate) fn read_tables(schema: &Schema, text: &str) -> Result<Vec<Map<String, Value>>, String> {
    const WANTED: &str = "must be a JSON array of objects";
    let elements: Vec<Map<String, Value>> = serde_json::from_str(text).ok().ok_or(WANTED)?;
    let tables = elements.iter().map(|element| {
        read_object(schema, element).map_err(|faults| {
            let told = |fault: &FieldFault| match &fault.help {
                Some(help) => format!("{}; {help}", fault.message),
                None => fault.message.clone(),
            };
            faults.iter().map(told).collect::<Vec<_>>().join("; ")
        })
    });
    tables.collect()
}

/// A text as a basic string of TOML: JSON's escapes are TOML's too, which wants one more.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007f")
}

/// The tables of an array in a file, each with its line; what is no table is a fault.
pub(crate) fn tables<'a, 't>(
    reader: &mut Reader<'_>,
    name: &str,
    value: &'a toml::Spanned<DeValue<'t>>,
) -> Vec<(usize, &'a toml::de::DeTable<'t>)> {
    let DeValue::Array(elements) = value.get_ref() else {
        reader.wrong_type(name, "an array of tables", value);
        return Vec::new();
    };
    let mut tables = Vec::with_capacity(elements.len());
    for element in elements {
        match element.get_ref() {
            DeValue::Table(table) => tables.push((reader.line(element.span().start), table)),
            _ => reader.wrong_type(name, "an array of tables", element),
        }
    }
    tables
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
            ["/flag", "/flga", "/free/x", "/tables/0/texts/1", "/tables/1", "/tables/1/text", "/tables/2"],
            "{faults:#?}"
        );
        let unknown = faults.iter().find(|fault| fault.pointer.as_deref() == Some("/flga")).unwrap();
        assert_eq!(unknown.help.as_deref(), Some("did you mean \"flag\"?"));
    }
}
