//! The key by which a repeated request is recognised.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::header_values;
use crate::once::OnceKey;

/// Names one operation, so that a repetition does it once.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest idempotency key, in characters.
const MAX_KEY_CHARS: usize = 255;

/// An idempotency key (draft-ietf-httpapi-idempotency-key-header): 1 to 255 visible ASCII characters as they are, or a string of RFC 9651
/// (`"…"`) of 1 to 255 printable ones. `k` and `"k"` are one key. On its way it stays as it is written.
#[derive(Clone)]
pub struct IdempotencyKey {
    key: Arc<str>,
    pub(crate) header: HeaderValue,
}

/// An `Idempotency-Key` that is repeated or malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the idempotency-key header is repeated or malformed")]
pub struct MalformedKey;

impl IdempotencyKey {
    /// Takes over one, as a header bears it; `None` for what is none.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        HeaderValue::from_str(text).ok().and_then(Self::from_header)
    }

    /// The key of a request; `None` where it has none.
    ///
    /// # Errors
    /// [`MalformedKey`].
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, MalformedKey> {
        let mut values = header_values::of(headers, &IDEMPOTENCY_KEY);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Self::from_header(value.clone()).map(Some).ok_or(MalformedKey),
            (Some(_), Some(_)) => Err(MalformedKey),
        }
    }

    pub(crate) fn from_header(header: HeaderValue) -> Option<Self> {
        let text = header.to_str().ok()?;
        let key = match text.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| text.to_owned())?,
        };
        (1..=MAX_KEY_CHARS).contains(&key.len()).then(|| Self { key: key.into(), header })
    }

    /// The key, without quotation marks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// The key of one of several calls that are made under this one: `key::operation`. The same for the same operation, and so stable over
    /// a repetition of the whole request. Where that would be too long, or cannot stand in a header, it is a digest of both.
    #[must_use]
    pub fn child(&self, operation: &str) -> Self {
        let is_quoted = self.header.as_bytes().starts_with(b"\"");
        let named = format!("{}::{operation}", self.key);
        let stands = |byte: u8| byte.is_ascii_graphic() || (is_quoted && byte == b' ');
        if named.len() <= MAX_KEY_CHARS && named.bytes().all(stands) {
            let header = if is_quoted { quoted(&named) } else { named.clone() };
            // A bare key that began with a quotation mark would be read as another.
            if let Some(child) = Self::from_text(&header).filter(|child| child.as_str() == named) {
                return child;
            }
        }
        let digest = OnceKey::new("idempotency-key", [self.as_str(), operation]).to_hex();
        let header = HeaderValue::from_str(&digest).unwrap_or_else(|_never| HeaderValue::from_static("-"));
        Self { key: digest.into(), header }
    }
}

/// The content of a string of RFC 9651 §4.2.5, given what follows its first quotation mark.
fn unquoted(text: &str) -> Option<String> {
    let mut content = String::with_capacity(text.len());
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(content),
            '\\' => content.push(chars.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            char if char == ' ' || char.is_ascii_graphic() => content.push(char),
            _ => return None,
        }
    }
}

fn quoted(content: &str) -> String {
    format!("\"{}\"", content.replace('\\', "\\\\").replace('"', "\\\""))
}

impl PartialEq for IdempotencyKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for IdempotencyKey {}

impl Hash for IdempotencyKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}
