//! The nodes of a document that the reader walks, in a form common to TOML and JSON.

use std::borrow::Cow;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value with its place: the line of a file, or the number of a JSON pointer.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) line: usize,
    pub(crate) value: NodeValue<'a>,
}

/// A value of a document.
#[derive(Debug)]
pub(crate) enum NodeValue<'a> {
    Null,
    Text(Cow<'a, str>),
    /// `value` is `None` for an integer beyond 64 bits.
    Integer {
        value: Option<i64>,
        text: Cow<'a, str>,
    },
    Float(f64),
    Boolean(bool),
    Datetime,
    Array(Vec<Node<'a>>),
    Table(NodeTable<'a>),
}

/// The members of a table, in their order.
#[derive(Debug)]
pub(crate) struct NodeTable<'a>(pub(crate) Vec<Member<'a>>);

/// A key with its value.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) line: usize,
    pub(crate) name: Cow<'a, str>,
    pub(crate) node: Node<'a>,
}

/// The offsets at which the lines of a text start.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

/// The JSON pointers (RFC 6901) of a body's values, by their numbers.
#[derive(Debug, Clone)]
pub(crate) struct Pointers(Vec<String>);

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect())
    }

    /// Returns the line, from 1, of a place in the text.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

impl<'a> NodeTable<'a> {
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|member| member.name == name)
    }

    pub(super) fn of_toml(lines: &Lines, table: DeTable<'a>) -> Self {
        let member = |(name, value): (Spanned<Cow<'a, str>>, Spanned<DeValue<'a>>)| Member {
            line: lines.line(name.span().start),
            name: name.into_inner(),
            node: Node::of_toml(lines, value),
        };
        Self(table.into_iter().map(member).collect())
    }

    /// Reads an object. The object itself has the number 1.
    pub(super) fn of_json(object: &'a Map<String, Value>) -> (Self, Pointers) {
        let mut pointers = Pointers(vec![String::new()]);
        let table = Self::within(&mut pointers, "", object);
        (table, pointers)
    }

    fn within(pointers: &mut Pointers, around: &str, object: &'a Map<String, Value>) -> Self {
        let member = |(name, value): (&'a String, &'a Value)| {
            let pointer = format!("{around}/{}", name.replace('~', "~0").replace('/', "~1"));
            let node = Node::of_json(pointers, pointer, value);
            Member { line: node.line, name: name.into(), node }
        };
        Self(object.iter().map(member).collect())
    }
}

impl<'a> Node<'a> {
    fn of_toml(lines: &Lines, value: Spanned<DeValue<'a>>) -> Self {
        let line = lines.line(value.span().start);
        let value = match value.into_inner() {
            DeValue::String(text) => NodeValue::Text(text),
            DeValue::Integer(integer) => {
                let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
                NodeValue::Integer { value, text: integer.as_str().to_owned().into() }
            }
            DeValue::Float(float) => NodeValue::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(boolean) => NodeValue::Boolean(boolean),
            DeValue::Datetime(_) => NodeValue::Datetime,
            DeValue::Array(elements) => {
                NodeValue::Array(elements.into_iter().map(|element| Self::of_toml(lines, element)).collect())
            }
            DeValue::Table(table) => NodeValue::Table(NodeTable::of_toml(lines, table)),
        };
        Self { line, value }
    }

    fn of_json(pointers: &mut Pointers, pointer: String, value: &'a Value) -> Self {
        pointers.0.push(pointer.clone());
        let line = pointers.0.len();
        let value = match value {
            Value::Null => NodeValue::Null,
            Value::Bool(boolean) => NodeValue::Boolean(*boolean),
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) => NodeValue::Float(float),
                None => NodeValue::Integer { value: number.as_i64(), text: number.to_string().into() },
            },
            Value::String(text) => NodeValue::Text(text.into()),
            Value::Array(elements) => {
                let elements = elements.iter().enumerate();
                let node = |(index, element)| Self::of_json(pointers, format!("{pointer}/{index}"), element);
                NodeValue::Array(elements.map(node).collect())
            }
            Value::Object(members) => NodeValue::Table(NodeTable::within(pointers, &pointer, members)),
        };
        Self { line, value }
    }
}

impl NodeValue<'_> {
    /// Returns the name of the type for use in a fault.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => "a string",
            Self::Integer { .. } => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Datetime => "a date or time",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

impl Pointers {
    /// Returns the pointer with this number.
    pub(super) fn at(&self, number: usize) -> Option<&str> {
        self.0.get(number.checked_sub(1)?).map(String::as_str)
    }
}
