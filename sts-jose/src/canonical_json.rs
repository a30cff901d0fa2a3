//! One text for each JSON value: the canonical form of RFC 8785, for values whose member names are ASCII.

use serde_json::Value;

/// Returns the canonical text of a value: no white space, and the members of each object in the order of their names.
///
/// Numbers are written as `serde_json` writes them, which RFC 8785 does for integers alone.
///
/// ```
/// let value = serde_json::json!({ "b": [1, null], "a": "x" });
/// assert_eq!(sts_jose::canonical_json(&value), r#"{"a":"x","b":[1,null]}"#);
/// ```
#[must_use]
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, &mut text);
    text
}

/// Returns the canonical text of an object that has these members.
///
/// ```
/// let value = serde_json::json!({ "b": 2, "a": 1, "signature": "x" });
/// let signed = value.as_object().unwrap().iter().filter(|(name, _)| *name != "signature");
/// assert_eq!(sts_jose::canonical_object(signed), r#"{"a":1,"b":2}"#);
/// ```
pub fn canonical_object<'a>(members: impl IntoIterator<Item = (&'a String, &'a Value)>) -> String {
    let mut text = String::new();
    write_object(members.into_iter().collect(), &mut text);
    text
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => write_object(members.iter().collect(), text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

fn write_object(mut members: Vec<(&String, &Value)>, text: &mut String) {
    members.sort_by_key(|(name, _)| *name);
    text.push('{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(name.as_str()).to_string());
        text.push(':');
        write_value(value, text);
    }
    text.push('}');
}
