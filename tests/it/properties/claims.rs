//! How claims and parameters read, by the words of the specification alone.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sts_tests::model::OUR_ISSUER;

/// A second.
pub(super) const NANOS: i128 = 1_000_000_000;

/// The SHA-256 of a certificate, as tokens name it (RFC 8705 §3.1).
pub(super) fn thumbprint(certificate: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate))
}

/// The actors of a chain, as (`iss`, `sub`), the current one first.
pub(super) fn actors(act: &Value) -> Vec<(Option<String>, String)> {
    let mut actors = Vec::new();
    let mut next = Some(act);
    while let Some(level) = next {
        actors.push((text(&level["iss"]), text(&level["sub"]).unwrap_or_default()));
        next = level.get("act");
    }
    actors
}

/// A moment in nanoseconds; the numbers of these tests are quarters of a second.
pub(super) fn moment(value: &Value) -> Option<i128> {
    match value.as_i64() {
        Some(seconds) => Some(i128::from(seconds) * NANOS),
        #[expect(clippy::cast_possible_truncation, reason = "a time of this century in quarters of a second")]
        None => value.as_f64().map(|seconds| (seconds * 4.0).round() as i128 * (NANOS / 4)),
    }
}

pub(super) fn typ_fits(typ: Option<&str>, declared: &str) -> bool {
    let typ = typ.map(str::to_ascii_lowercase);
    let typ = typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
    match typ {
        None | Some("jwt") => true,
        Some("at+jwt") => !declared.ends_with(":id_token"),
        Some(_) => false,
    }
}

pub(super) fn is_outside_act(act: &Value) -> bool {
    let own_members = act["sub"].is_string() && act.get("iss").is_none_or(|iss| iss.is_string() && iss != OUR_ISSUER);
    act.is_object() && own_members && act.get("act").is_none_or(is_outside_act)
}

pub(super) fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

pub(super) fn is_tenant(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

pub(super) fn is_scope(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace().peekable();
    words.peek().is_some()
        && words.all(|word| word.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)))
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(super) fn split(text: &str) -> BTreeSet<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// A string, a number, or an array of one string.
pub(super) fn single(value: &Value) -> Option<String> {
    match value {
        Value::Array(values) => match values.as_slice() {
            [value] => text(value),
            _ => None,
        },
        Value::Number(number) => Some(number.to_string()),
        value => text(value),
    }
}

/// A string, or an array of strings.
pub(super) fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => Some(vec![text(value)?]),
    }
}

/// A scope, as string or array; absent and empty, it is none at all.
pub(super) fn words(value: &Value) -> Option<BTreeSet<String>> {
    match value {
        Value::Null => Some(BTreeSet::new()),
        Value::String(text) if text.is_empty() => Some(BTreeSet::new()),
        Value::String(text) => is_scope(text).then(|| split(text)),
        Value::Array(_) => Some(strings(value)?.into_iter().collect()),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}
