//! Reading of texts without types: the variables of the environment, flags, and defaults.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Node, NodeTable, NodeValue, Reader, Shape, read_json};

impl Reader<'_> {
    /// Reads a text without a type. The elements of an array have commas between them. An array of
    /// tables is a JSON array of objects. `name` is the text's name in faults.
    pub(crate) fn untyped(&mut self, shape: Shape, name: &str, text: &str) -> Option<Value> {
        let value = match shape {
            Shape::Integer { .. } => NodeValue::Integer { value: text.parse().ok(), text: Cow::Borrowed(text) },
            Shape::Boolean => match text.parse() {
                Ok(boolean) => NodeValue::Boolean(boolean),
                Err(_) => {
                    self.fault(None, format!("{name} = {text:?}: must be true or false"));
                    return None;
                }
            },
            Shape::Texts(_) | Shape::TextsTogether(..) => {
                let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
                NodeValue::Array(texts.map(text_node).collect())
            }
            Shape::Tables(schema) => {
                let Ok(elements) = serde_json::from_str::<Vec<Map<String, Value>>>(text) else {
                    self.fault(None, format!("{name}: must be a JSON array of objects"));
                    return None;
                };
                let tables: Vec<NodeTable<'_>> = elements.iter().map(|element| read_json(element).0).collect();
                let before = self.faults.len();
                let entries = self.entries(schema, tables.iter().map(|table| (0, table)).collect());
                for fault in self.faults.iter_mut().skip(before) {
                    fault.message = format!("{name}: {}", fault.message);
                }
                return Some(entries);
            }
            _ => return self.value(shape, name, &text_node(text)),
        };
        self.value(shape, name, &Node { line: 0, value })
    }
}

fn text_node(text: &str) -> Node<'_> {
    Node { line: 0, value: NodeValue::Text(Cow::Borrowed(text)) }
}
