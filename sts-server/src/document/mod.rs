//! Reading of TOML files and JSON bodies. One pass finds every fault, each with its line.
//!
//! This module walks a parsed document against a [`Schema`]. It reports unknown keys, missing keys,
//! wrong types and values that break their grammar, and returns the valid values as JSON. It must
//! never know the meaning of a key. A new kind of value is a variant of [`Shape`].

mod json;
mod node;
mod untyped;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use serde_json::{Map, Value};
use sts_jose::read_text_file;
use toml::de::DeTable;

pub use json::FieldFault;
pub(crate) use json::{BODY, fault_at, read_json, read_object};
pub(crate) use node::{Member, Node, NodeTable, NodeValue, Pointers};

use crate::fault::{Fault, Severity};
use node::Lines;

/// The permitted content of a table.
#[derive(Debug)]
pub(crate) struct Schema {
    /// The table, as a fault names it.
    pub(crate) label: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    /// The permitted form of the value.
    pub(crate) shape: Shape,
}

/// A check of a text, which returns the reason if the text is not valid.
pub(crate) type Grammar = fn(&str) -> Result<(), String>;

/// The permitted form of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// A string.
    Text(Grammar),
    /// A string that no fault quotes.
    SecretText(Grammar),
    /// An array of strings.
    Texts(Grammar),
    /// A string, or an array of strings.
    TextOrTexts(Grammar),
    /// An array of strings, with a second check of the whole array.
    TextsTogether(Grammar, fn(&Value) -> Result<(), String>),
    /// A string with a path, which is relative to the directory of the document.
    Path,
    /// True or false.
    Boolean,
    /// An integer within bounds.
    Integer { least: i64, most: i64 },
    /// A table of any content, or a string that holds such a JSON object.
    Object,
    /// A table.
    Table(&'static Schema),
    /// An array of tables.
    Tables(&'static Schema),
    /// An array of strings and tables.
    TextsOrTables(Grammar, &'static Schema),
}

/// The result of reading a table: its valid values, and the line of every key.
#[derive(Debug)]
pub(crate) struct ReadTable {
    /// The valid values, by their keys.
    pub(crate) values: Map<String, Value>,
    /// The line of each key, by its path: `auth.workload[0].issuer`.
    pub(crate) lines: BTreeMap<String, usize>,
    /// The known top-level keys with a value that could not be read. Includes a known key if an
    /// unknown key is probably a misspelling of it.
    pub(crate) unread: BTreeSet<&'static str>,
    /// True if the table had no fault.
    pub(crate) whole: bool,
}

/// The reader of one file.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    file: &'a Path,
    /// The lines of the current table.
    lines: BTreeMap<String, usize>,
    /// The unread keys of the current table.
    unread: BTreeSet<&'static str>,
    faults: Vec<Fault>,
}

/// The advice for keys that are no misspelling of another.
const ADVICE: &[(&str, &str)] = &[(
    "client_secret",
    "the registry has only hashes of secrets: `sts-server agent secret ID` makes a secret and its line",
)];

/// The longest configuration or registry, in bytes.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// Reads a file as text. Returns a fault if the file cannot be read.
pub(crate) fn read_text(file: &Path) -> Result<String, Fault> {
    read_text_file(file, MAX_DOCUMENT_BYTES)
        .map_err(|error| Fault::new(file, Severity::Error, format!("cannot be read: {error}")))
}

/// Checks a text against the grammar of a type.
pub(crate) fn reads<T: DeserializeOwned>(text: &str) -> Result<(), String> {
    let text: StrDeserializer<'_, ValueError> = text.into_deserializer();
    T::deserialize(text).map(drop).map_err(|error| error.to_string())
}

/// Returns the known name that `name` is probably a misspelling of.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance =
        |candidate: &&str| strsim::damerau_levenshtein(&name.to_ascii_lowercase(), &candidate.to_ascii_lowercase());
    known.min_by_key(distance).filter(|candidate| distance(candidate) <= (candidate.chars().count() / 3).max(1))
}

impl<'a> Reader<'a> {
    /// Returns a reader of a document that is already parsed.
    pub(crate) fn new(file: &'a Path) -> Self {
        Self { file, lines: BTreeMap::new(), unread: BTreeSet::new(), faults: Vec::new() }
    }

    /// Parses `text`. If there are syntax faults, the reader holds all of them and there is no
    /// table.
    pub(crate) fn parse<'t>(file: &'a Path, text: &'t str) -> (Self, Option<NodeTable<'t>>) {
        let (mut reader, lines) = (Self::new(file), Lines::of(text));
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let start = error.span().map(|span| span.start);
            let before = start.and_then(|start| text.get(..start)).and_then(|before| before.rsplit('\n').next());
            let column = before.map_or_else(String::new, |before| format!(" at column {}", before.chars().count() + 1));
            reader.fault(start.map(|start| lines.line(start)), format!("not TOML{column}: {}", error.message()));
        }
        let table = errors.is_empty().then(|| NodeTable::of_toml(&lines, table.into_inner()));
        (reader, table)
    }

    /// Adds an error.
    pub(crate) fn fault(&mut self, line: Option<usize>, message: impl Into<String>) {
        self.push(Fault::new(self.file, Severity::Error, message).at(line));
    }

    /// Adds a fault.
    pub(crate) fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Adds the fault of an unknown key, and returns the known key that was probably meant. `label`
    /// names the table.
    pub(crate) fn unknown_key<'k>(
        &mut self,
        line: usize,
        key: &str,
        label: &str,
        known: impl Iterator<Item = &'k str>,
    ) -> Option<&'k str> {
        let fault = Fault::new(self.file, Severity::Error, format!("unknown key {key:?} in {label}")).at(Some(line));
        let advice = ADVICE.iter().find(|(name, _)| *name == key);
        let meant = nearest(key, known).filter(|_| advice.is_none());
        self.push(match (meant, advice) {
            (Some(near), _) => fault.with_help(format!("did you mean {near:?}?")),
            (None, Some((_, advice))) => fault.with_help(*advice),
            (None, None) => fault,
        });
        meant
    }

    /// Adds a suggestion to the last fault, unless it has one.
    pub(crate) fn advise(&mut self, help: impl Into<String>) {
        if let Some(fault) = self.faults.last_mut() {
            fault.help.get_or_insert_with(|| help.into());
        }
    }

    /// Adds the fault of a value that has the wrong type.
    pub(crate) fn wrong_type(&mut self, path: &str, wanted: &str, found: &Node<'_>) {
        let name = without_indices(path);
        self.fault(
            Some(found.line),
            match found.value {
                NodeValue::Null => "null is not a value; leave the key out".to_owned(),
                ref value => format!("{name} must be {wanted}, not {}", value.type_name()),
            },
        );
    }

    /// Reads a table that is an independent entry and starts at `line`.
    pub(crate) fn entry(&mut self, schema: &Schema, line: usize, table: &NodeTable<'_>) -> ReadTable {
        let faults_before = self.faults.len();
        let values = self.table(schema, "", line, table);
        let (lines, unread) = (std::mem::take(&mut self.lines), std::mem::take(&mut self.unread));
        ReadTable { values, lines, unread, whole: self.faults.len() == faults_before }
    }

    /// Reads an array of independent entries. The result omits the entries that have a fault.
    pub(crate) fn entries<'t>(&mut self, schema: &Schema, tables: Vec<(usize, &NodeTable<'t>)>) -> Value {
        let entries = tables.into_iter().map(|(line, table)| self.entry(schema, line, table));
        entries.filter(|read| read.whole).map(|read| Value::Object(read.values)).collect()
    }

    /// Returns all faults, in the order of their lines.
    pub(crate) fn into_faults(mut self) -> Vec<Fault> {
        self.faults.sort();
        self.faults
    }

    fn table(&mut self, schema: &Schema, path: &str, line: usize, table: &NodeTable<'_>) -> Map<String, Value> {
        let (mut read, mut misspelt) = (Map::new(), Vec::new());
        for Member { line, name, node } in &table.0 {
            let line = *line;
            let Some(key) = schema.keys.iter().find(|key| key.name == name) else {
                let meant = self.unknown_key(line, name, schema.label, schema.keys.iter().map(|key| key.name));
                misspelt.extend(meant);
                if path.is_empty() {
                    self.unread.extend(meant);
                }
                continue;
            };
            let key_path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            self.lines.insert(key_path.clone(), line);
            let faults_before = self.faults.len();
            if let Some(value) = self.value(key.shape, &key_path, node) {
                read.insert(key.name.to_owned(), value);
            }
            if path.is_empty() && self.faults.len() > faults_before {
                self.unread.insert(key.name);
            }
        }
        for key in schema.keys.iter().filter(|key| key.required && !table.contains(key.name)) {
            if misspelt.contains(&key.name) {
                continue;
            }
            self.fault(Some(line), format!("missing key {:?} in {}", key.name, schema.label));
        }
        read
    }

    /// Returns the valid part of a value, or `None` if no part is valid.
    pub(crate) fn value(&mut self, shape: Shape, path: &str, value: &Node<'_>) -> Option<Value> {
        match shape {
            Shape::Text(grammar) => self.text(grammar, path, value),
            Shape::SecretText(grammar) => self.secret_text(grammar, path, value),
            Shape::Texts(grammar) => self
                .array(path, "an array of strings", value, |reader, path, element| reader.text(grammar, path, element)),
            Shape::TextOrTexts(grammar) => match &value.value {
                NodeValue::Array(_) => self.value(Shape::Texts(grammar), path, value),
                NodeValue::Text(_) => self.text(grammar, path, value),
                _ => self.refuse(path, "a string or an array of strings", value),
            },
            Shape::TextsTogether(grammar, together) => self.texts_together(grammar, together, path, value),
            Shape::Boolean => match &value.value {
                NodeValue::Boolean(boolean) => Some(Value::Bool(*boolean)),
                _ => self.refuse(path, "true or false", value),
            },
            Shape::Path => self.file_path(path, value),
            Shape::Integer { least, most } => self.integer(least, most, path, value),
            Shape::Object => self.object(path, value),
            Shape::Table(schema) => self.nested(schema, path, "a table", value),
            Shape::Tables(schema) => self.array(path, "an array of tables", value, |reader, path, element| {
                reader.nested(schema, path, "a table", element)
            }),
            Shape::TextsOrTables(grammar, schema) => {
                self.array(path, "an array of strings and tables", value, |reader, path, element| {
                    match &element.value {
                        NodeValue::Text(_) => reader.text(grammar, path, element),
                        _ => reader.nested(schema, path, "a string or a table", element),
                    }
                })
            }
        }
    }

    fn refuse(&mut self, path: &str, wanted: &str, found: &Node<'_>) -> Option<Value> {
        self.wrong_type(path, wanted, found);
        None
    }

    fn text(&mut self, grammar: Grammar, path: &str, value: &Node<'_>) -> Option<Value> {
        let NodeValue::Text(text) = &value.value else {
            self.wrong_type(path, "a string", value);
            self.explain_number(grammar, value);
            return None;
        };
        if let Err(reason) = grammar(text) {
            self.fault(Some(value.line), format!("{} = {text:?}: {reason}", without_indices(path)));
            return None;
        }
        Some(Value::String(text.to_string()))
    }

    /// Adds to the last fault what a number lacks, such as the unit of a time.
    fn explain_number(&mut self, grammar: Grammar, value: &Node<'_>) {
        if let NodeValue::Integer { text, .. } = &value.value
            && let Err(reason) = grammar(text)
        {
            self.advise(reason);
        }
    }

    fn secret_text(&mut self, grammar: Grammar, path: &str, value: &Node<'_>) -> Option<Value> {
        let NodeValue::Text(text) = &value.value else {
            return self.refuse(path, "a string", value);
        };
        if let Err(reason) = grammar(text) {
            self.fault(Some(value.line), format!("{}: {reason}", without_indices(path)));
            return None;
        }
        Some(Value::String(text.to_string()))
    }

    fn file_path(&mut self, path: &str, value: &Node<'_>) -> Option<Value> {
        let must_be_a_path = |text: &str| if text.is_empty() { Err("must be a path".to_owned()) } else { Ok(()) };
        let text = self.text(must_be_a_path, path, value)?;
        let joined = self.file.parent().unwrap_or(self.file).join(text.as_str()?);
        let Some(joined) = joined.to_str() else {
            self.fault(Some(value.line), format!("{path}: the name of its directory is not UTF-8"));
            return None;
        };
        Some(Value::from(joined))
    }

    fn integer(&mut self, least: i64, most: i64, path: &str, value: &Node<'_>) -> Option<Value> {
        let NodeValue::Integer { value: integer, text } = &value.value else {
            return self.refuse(path, "an integer", value);
        };
        if let Some(integer) = integer.filter(|integer| (least..=most).contains(integer)) {
            return Some(Value::from(integer));
        }
        let text = integer.map_or_else(|| text.to_string(), |integer| integer.to_string());
        self.fault(Some(value.line), format!("{path} = {text:?}: must be {least} to {most}"));
        None
    }

    fn texts_together(
        &mut self,
        grammar: Grammar,
        together: fn(&Value) -> Result<(), String>,
        path: &str,
        value: &Node<'_>,
    ) -> Option<Value> {
        let faults_before = self.faults.len();
        let array = self.value(Shape::Texts(grammar), path, value)?;
        if self.faults.len() > faults_before {
            return Some(array);
        }
        if let Err(reason) = together(&array) {
            self.fault(Some(value.line), format!("{}: {reason}", without_indices(path)));
            return None;
        }
        Some(array)
    }

    fn array(
        &mut self,
        path: &str,
        wanted: &str,
        value: &Node<'_>,
        mut read: impl FnMut(&mut Self, &str, &Node<'_>) -> Option<Value>,
    ) -> Option<Value> {
        let NodeValue::Array(elements) = &value.value else {
            return self.refuse(path, wanted, value);
        };
        let mut array = Vec::with_capacity(elements.len());
        for element in elements {
            // The index refers to the returned array, which omits invalid elements.
            let path = format!("{path}[{}]", array.len());
            self.lines.insert(path.clone(), element.line);
            array.extend(read(self, &path, element));
        }
        Some(Value::Array(array))
    }

    fn nested(&mut self, schema: &Schema, path: &str, wanted: &str, value: &Node<'_>) -> Option<Value> {
        let NodeValue::Table(table) = &value.value else {
            return self.refuse(path, wanted, value);
        };
        let read = self.table(schema, path, value.line, table);
        let complete = schema.keys.iter().all(|key| !key.required || read.contains_key(key.name));
        complete.then_some(Value::Object(read))
    }

    fn object(&mut self, path: &str, value: &Node<'_>) -> Option<Value> {
        const WANTED: &str = "a table, or a string that holds a JSON object";
        match &value.value {
            NodeValue::Table(_) => self.free(path, value),
            NodeValue::Text(text) => match serde_json::from_str(text) {
                Ok(object @ Value::Object(_)) => Some(object),
                Ok(_) => self.refuse(path, WANTED, value),
                Err(error) => {
                    self.fault(Some(value.line), format!("{}: not JSON: {error}", without_indices(path)));
                    None
                }
            },
            _ => self.refuse(path, WANTED, value),
        }
    }

    /// Returns a value of any content as JSON.
    fn free(&mut self, path: &str, value: &Node<'_>) -> Option<Value> {
        match &value.value {
            NodeValue::Text(text) => Some(Value::String(text.to_string())),
            NodeValue::Boolean(boolean) => Some(Value::Bool(*boolean)),
            NodeValue::Integer { value: Some(integer), .. } => Some(Value::from(*integer)),
            NodeValue::Integer { value: None, .. } => self.refuse(path, "an integer of 64 bits", value),
            NodeValue::Float(float) => match serde_json::Number::from_f64(*float) {
                Some(number) => Some(Value::Number(number)),
                None => self.refuse(path, "a finite number", value),
            },
            NodeValue::Null | NodeValue::Datetime => self.refuse(path, "what JSON can hold", value),
            NodeValue::Array(elements) => elements.iter().map(|element| self.free(path, element)).collect(),
            NodeValue::Table(table) => {
                let member = |member: &Member<'_>| Some((member.name.to_string(), self.free(path, &member.node)?));
                table.0.iter().map(member).collect::<Option<Map<_, _>>>().map(Value::Object)
            }
        }
    }
}

/// Returns the tables of an array, each with its line. Anything else is a fault.
pub(crate) fn tables<'a, 't>(
    reader: &mut Reader<'_>,
    name: &str,
    node: &'a Node<'t>,
) -> Vec<(usize, &'a NodeTable<'t>)> {
    let NodeValue::Array(elements) = &node.value else {
        reader.wrong_type(name, "an array of tables", node);
        return Vec::new();
    };
    let mut tables = Vec::with_capacity(elements.len());
    for element in elements {
        match &element.value {
            NodeValue::Table(table) => tables.push((element.line, table)),
            _ => reader.wrong_type(name, "an array of tables", element),
        }
    }
    tables
}

/// Returns the path without indices, as a fault shows it. The line identifies the element.
fn without_indices(path: &str) -> String {
    path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["tenant_claim", "tenant", "tenants", "issuer"];
        assert_eq!(nearest("tenant_clam", known.into_iter()), Some("tenant_claim"));
        assert_eq!(nearest("Issuer", known.into_iter()), Some("issuer"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
