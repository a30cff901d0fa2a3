//! The members of a body, read within bounds.

use serde_json::{Map, Value};

pub(super) const MAX_CODE_CHARS: usize = 128;
pub(super) const MAX_MESSAGE_CHARS: usize = 4_096;
const MAX_TEXT_CHARS: usize = 8_192;
const MAX_ITEMS: usize = 256;

/// The reason why an answer is not an outcome. Holds no part of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not an outcome: {0}")]
pub(super) struct Unreadable(pub(super) &'static str);

/// Returns the items of an array; empty if the array is absent.
pub(super) fn items<T>(
    body: &Map<String, Value>,
    member: &str,
    read: impl Fn(&Value) -> Result<T, Unreadable>,
) -> Result<Vec<T>, Unreadable> {
    match body.get(member) {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) if items.len() <= MAX_ITEMS => items.iter().map(read).collect(),
        Some(_) => Err(Unreadable("a member is not an array, or has too many items")),
    }
}

pub(super) fn text(body: &Map<String, Value>, member: &str) -> Result<String, Unreadable> {
    optional(body, member)?.ok_or(Unreadable("a member is absent"))
}

/// Returns the message, which may be empty.
pub(super) fn message(body: &Map<String, Value>) -> Result<String, Unreadable> {
    let message = body.get("message").and_then(Value::as_str).ok_or(Unreadable("message is absent"))?;
    if message.chars().count() > MAX_MESSAGE_CHARS || !message.chars().all(is_printable) {
        return Err(Unreadable("message is too long or has control characters"));
    }
    Ok(message.to_owned())
}

pub(super) fn optional(body: &Map<String, Value>, member: &str) -> Result<Option<String>, Unreadable> {
    match body.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if is_text(text) => Ok(Some(text.clone())),
        Some(_) => Err(Unreadable("a member is not a text, is empty, too long or has control characters")),
    }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_TEXT_CHARS && text.chars().all(is_printable)
}

/// Returns true for all characters except control characters, which could forge a log line. Tab and
/// line feed are allowed.
pub(super) fn is_printable(char: char) -> bool {
    !char.is_control() || matches!(char, '\t' | '\n')
}
