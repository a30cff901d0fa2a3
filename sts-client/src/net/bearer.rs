//! A bearer token as a header bears it (RFC 6750 §2.1).

use std::time::Duration;

use http::HeaderValue;

/// The least time between two replacements of a token that its target refused: a target that refuses every token must not cost an exchange
/// for each call.
pub(crate) const REPLACEMENT_PAUSE: Duration = Duration::from_secs(5);

/// Whether a text can be a token: one or more visible ASCII characters.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `Authorization` for a token, marked as sensitive; `None` for a text that can be none.
pub(crate) fn authorization(token: &str) -> Option<HeaderValue> {
    let mut value = is_token(token).then(|| HeaderValue::try_from(format!("Bearer {token}")))?.ok()?;
    value.set_sensitive(true);
    Some(value)
}
