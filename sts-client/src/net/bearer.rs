//! Tokens in headers (RFC 6750 §2.1, RFC 9449 §7.1).

use std::time::Duration;

use http::HeaderValue;

/// The minimum time between two replacements of a token that its target refused. A target that
/// refuses every token must not cause an exchange for each call.
pub(crate) const REPLACEMENT_PAUSE: Duration = Duration::from_secs(5);

/// Returns true if a text can be a token: one or more visible ASCII characters.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the `Authorization` value for a token under a scheme, marked as sensitive; `None` if the
/// text cannot be a token.
pub(crate) fn authorization(scheme: &str, token: &str) -> Option<HeaderValue> {
    let mut value = is_token(token).then(|| HeaderValue::try_from(format!("{scheme} {token}")))?.ok()?;
    value.set_sensitive(true);
    Some(value)
}
