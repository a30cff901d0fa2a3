//! The key by which a server recognises a repeated request.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::dedup::DedupKey;
use crate::header_values;

/// The header that names one operation, so that a repetition does not run it again.
///
/// ```
/// use sts_client::{IDEMPOTENCY_KEY, http::Request};
///
/// let request = Request::post("https://orders.shop.example/").header(IDEMPOTENCY_KEY, "order-7").body(())?;
/// # Ok::<(), sts_client::http::Error>(())
/// ```
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The maximum length of an idempotency key, in characters.
const MAX_KEY_CHARS: usize = 255;

/// An idempotency key (draft-ietf-httpapi-idempotency-key-header). It is 1 to 255 visible ASCII
/// characters as they are, or a string of RFC 9651 (`"…"`) of 1 to 255 printable characters. `k`
/// and `"k"` are the same key. A key is forwarded as it was written.
///
/// ```
/// use sts_client::IdempotencyKey;
///
/// let key = IdempotencyKey::from_text("order-7").unwrap();
/// assert_eq!(key, IdempotencyKey::from_text("\"order-7\"").unwrap());
/// assert!(IdempotencyKey::from_text("order 7").is_none());
/// assert_eq!(IdempotencyKey::from_text("\"order 7\"").unwrap().as_str(), "order 7");
/// ```
#[derive(Clone)]
pub struct IdempotencyKey {
    key: Arc<str>,
    pub(crate) header: HeaderValue,
}

/// An `Idempotency-Key` that is repeated or malformed.
///
/// ```
/// use sts_client::{IdempotencyKey, MalformedKey, http::HeaderMap};
///
/// let mut headers = HeaderMap::new();
/// headers.append("idempotency-key", "one".parse().unwrap());
/// headers.append("idempotency-key", "two".parse().unwrap());
/// assert_eq!(IdempotencyKey::from_headers(&headers), Err(MalformedKey));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the idempotency-key header is repeated or malformed")]
pub struct MalformedKey;

impl IdempotencyKey {
    /// Takes a key as it appears in a header; `None` if it is not a valid key.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        HeaderValue::from_str(text).ok().and_then(Self::from_header)
    }

    /// Returns the key of a request; `None` if it has none.
    ///
    /// ```
    /// use sts_client::{IdempotencyKey, http::HeaderMap};
    ///
    /// let mut headers = HeaderMap::new();
    /// assert_eq!(IdempotencyKey::from_headers(&headers), Ok(None));
    /// headers.insert("idempotency-key", "order-7".parse().unwrap());
    /// assert_eq!(IdempotencyKey::from_headers(&headers), Ok(IdempotencyKey::from_text("order-7")));
    /// ```
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

    /// Returns the key, without quotation marks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Returns the key of one of several calls under this key: `key::operation`. The same operation
    /// gets the same key, so a repetition of the whole request repeats the keys. If the result is
    /// too long, or cannot be a header value, it is a digest of both.
    ///
    /// ```
    /// use sts_client::IdempotencyKey;
    ///
    /// let order = IdempotencyKey::from_text("order-7").unwrap();
    /// assert_eq!(order.child("reserve").as_str(), "order-7::reserve");
    /// assert_ne!(order.child("reserve"), order.child("pay"));
    /// ```
    #[must_use]
    pub fn child(&self, operation: &str) -> Self {
        let is_quoted = self.header.as_bytes().starts_with(b"\"");
        let named = format!("{}::{operation}", self.key);
        let stands = |byte: u8| byte.is_ascii_graphic() || (is_quoted && byte == b' ');
        if named.len() <= MAX_KEY_CHARS && named.bytes().all(stands) {
            let header = if is_quoted { quoted(&named) } else { named.clone() };
            // A bare key that starts with a quotation mark would be read as another key.
            if let Some(child) = Self::from_text(&header).filter(|child| child.as_str() == named) {
                return child;
            }
        }
        let digest = DedupKey::new("idempotency-key", [self.as_str(), operation]).to_hex();
        let header = HeaderValue::from_str(&digest).unwrap_or_else(|_never| HeaderValue::from_static("-"));
        Self { key: digest.into(), header }
    }
}

/// Returns the content of a string of RFC 9651 §4.2.5, given the text after its first quotation
/// mark.
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
