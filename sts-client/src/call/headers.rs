//! The headers that travel with a call, except the credential: correlation id, idempotency key,
//! trace context, and the headers that a route forwards.

use std::fmt;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use sts_jose::Entropy;
use url::{Position, Url};

use super::call_counts::Calls;
use super::idempotency_key::{IDEMPOTENCY_KEY, IdempotencyKey};
use crate::header_values;

/// The header that names the tenant of a request.
///
/// ```
/// use sts_client::{X_TENANT_ID, http::Request};
///
/// // A service account names the tenant for which it asks.
/// let request = Request::get("https://inventory.shop.example/stock").header(X_TENANT_ID, "acme").body(())?;
/// # Ok::<(), sts_client::http::Error>(())
/// ```
pub const X_TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
/// The header that joins the events of one user request across hops.
///
/// ```
/// use sts_client::{X_CORRELATION_ID, http::HeaderMap};
///
/// /// The id under which `sts-server audit list --correlation` tells the story of a request.
/// fn correlation_id(answer: &HeaderMap) -> Option<&str> {
///     answer.get(X_CORRELATION_ID)?.to_str().ok()
/// }
/// ```
pub const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// The header that marks a service account's token in place of a delegated token.
///
/// ```
/// use sts_client::{X_DELEGATION_FALLBACK, http::HeaderMap};
///
/// /// This agent answers questions during an outage of the STS, and changes nothing.
/// fn may_write(request: &HeaderMap) -> bool {
///     !request.contains_key(X_DELEGATION_FALLBACK)
/// }
/// ```
pub const X_DELEGATION_FALLBACK: HeaderName = HeaderName::from_static("x-delegation-fallback");

/// The header that marks a request which this process has verified. It stays within the process.
pub(crate) const X_STS_VERIFIED: HeaderName = HeaderName::from_static("x-sts-verified");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The maximum length of a correlation id, in characters.
const MAX_ID_CHARS: usize = 128;

/// Headers that no route can forward: credentials, headers of one connection, and headers that this
/// crate sets itself.
const NEVER_FORWARDED: [HeaderName; 23] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    PROXY_AUTHENTICATE,
    COOKIE,
    SET_COOKIE,
    HeaderName::from_static("client-cert"),
    HeaderName::from_static("client-cert-chain"),
    HeaderName::from_static("x-forwarded-client-cert"),
    HeaderName::from_static("dpop"),
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HOST,
    CONTENT_LENGTH,
    X_TENANT_ID,
    X_CORRELATION_ID,
    X_DELEGATION_FALLBACK,
    X_STS_VERIFIED,
    IDEMPOTENCY_KEY,
];

/// Headers that are removed from every outbound call first: other credentials, and claims that only
/// this crate may make.
///
/// ```
/// use sts_client::{STRIPPED_HEADERS, http::HeaderMap};
///
/// /// A proxy removes them too, so that no caller can set what this crate sets.
/// fn strip(headers: &mut HeaderMap) {
///     for name in &STRIPPED_HEADERS {
///         headers.remove(name);
///     }
/// }
/// # let mut headers = HeaderMap::new();
/// # headers.insert("x-tenant-id", "acme".parse()?);
/// # strip(&mut headers);
/// # assert!(headers.is_empty());
/// # Ok::<(), sts_client::http::header::InvalidHeaderValue>(())
/// ```
pub static STRIPPED_HEADERS: [HeaderName; 11] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("client-cert"),
    HeaderName::from_static("client-cert-chain"),
    HeaderName::from_static("x-forwarded-client-cert"),
    HeaderName::from_static("dpop"),
    X_TENANT_ID,
    X_CORRELATION_ID,
    X_DELEGATION_FALLBACK,
    X_STS_VERIFIED,
];

/// Returns true if a route may forward a header of that name.
pub(crate) fn may_be_forwarded(name: &HeaderName) -> bool {
    !NEVER_FORWARDED.contains(name)
}

/// Names in `Connection` that do not cause the removal of a header (RFC 9110 §7.6.1).
const OF_THE_CONNECTION: [&str; 5] = ["close", "keep-alive", "upgrade", "te", "http2-settings"];

/// Removes every header that could name another party, or would make the next proxy remove a header
/// that this crate sets.
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in &STRIPPED_HEADERS {
        headers.remove(name);
    }
    let is_harmless = |value: &HeaderValue| {
        let of_the_connection = |name: &str| OF_THE_CONNECTION.iter().any(|own| own.eq_ignore_ascii_case(name.trim()));
        value.to_str().is_ok_and(|names| names.split(',').all(of_the_connection))
    };
    if !headers.get_all(CONNECTION).iter().all(is_harmless) {
        headers.remove(CONNECTION);
    }
}

/// Replaces a `Host` header by the host of the URL. Otherwise a shared gateway could send the call,
/// and its token, to another place.
pub(crate) fn lead_to(url: &Url, headers: &mut HeaderMap) {
    if headers.remove(HOST).is_some()
        && let Ok(host) = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
    {
        headers.insert(HOST, host);
    }
}

/// A correlation id: 1 to 128 visible ASCII characters.
///
/// ```
/// use sts_client::CorrelationId;
///
/// let id = CorrelationId::from_text("order-7").unwrap();
/// assert_eq!(id.to_string(), "order-7");
/// assert!(CorrelationId::from_text("order 7").is_none());
/// assert!(CorrelationId::from_text(&"7".repeat(129)).is_none());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CorrelationId(HeaderValue);

impl CorrelationId {
    /// Makes a new correlation id: a random UUID.
    ///
    /// ```
    /// use sts_client::{CallContext, CorrelationId, SystemEntropy};
    ///
    /// let run = CorrelationId::random(&SystemEntropy);
    /// let context = CallContext::without_user(None, &SystemEntropy).with_correlation_id(run.clone());
    /// assert_eq!(context.headers().correlation_id(), &run);
    /// ```
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        let text = uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string();
        Self(HeaderValue::from_maybe_shared(text).unwrap_or_else(|_never| HeaderValue::from_static("-")))
    }

    /// Takes an existing id; `None` unless it is 1 to 128 visible ASCII characters.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        HeaderValue::from_str(text).ok().and_then(Self::from_header)
    }

    fn from_header(value: HeaderValue) -> Option<Self> {
        is_visible(&value, MAX_ID_CHARS).then_some(Self(value))
    }

    /// Returns the identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

fn is_visible(value: &HeaderValue, max_chars: usize) -> bool {
    (1..=max_chars).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// The headers of an inbound request that travel with its outbound calls. Holds no credential.
///
/// ```
/// use sts_client::{CallContext, SystemEntropy};
///
/// let context = CallContext::without_user(None, &SystemEntropy);
/// let headers = context.headers();
/// println!("request {}", headers.correlation_id());
/// assert!(headers.idempotency_key().is_none());
/// ```
#[derive(Clone)]
pub struct PropagatedHeaders {
    correlation_id: CorrelationId,
    key: ContextKey,
    /// The counts of calls so far, shared by all contexts of the request.
    calls: Arc<Calls>,
    /// Every header that a route may forward. A route selects by name.
    headers: HeaderMap,
}

/// The idempotency key of a context.
#[derive(Debug, Clone)]
enum ContextKey {
    /// The context has no key.
    Absent,
    /// The key of the request. Each call gets a child of it.
    OfRequest(IdempotencyKey),
    /// The key that the agent set for one call.
    OfCall(IdempotencyKey),
}

impl PropagatedHeaders {
    /// Makes new headers, for work that no request started.
    pub(crate) fn fresh(entropy: &dyn Entropy) -> Self {
        Self {
            correlation_id: CorrelationId::random(entropy),
            key: ContextKey::Absent,
            calls: Arc::default(),
            headers: HeaderMap::new(),
        }
    }

    /// Reads the headers of a request. An absent, repeated or malformed correlation id is replaced
    /// by a new one. A repeated or malformed idempotency key counts as absent.
    pub(crate) fn from_headers(headers: &HeaderMap, entropy: &dyn Entropy) -> Self {
        let correlation_id = single(headers, &X_CORRELATION_ID).and_then(CorrelationId::from_header);
        let key = IdempotencyKey::from_headers(headers).ok().flatten();
        let named_by_connection: Vec<&str> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|names| names.split(','))
            .map(str::trim)
            .collect();
        let kept = headers
            .iter()
            .filter(|(name, value)| may_be_forwarded(name) && !header_values::is_blank(value))
            .filter(|(name, _)| !named_by_connection.iter().any(|hop| hop.eq_ignore_ascii_case(name.as_str())));
        Self {
            correlation_id: correlation_id.unwrap_or_else(|| CorrelationId::random(entropy)),
            key: key.map_or(ContextKey::Absent, ContextKey::OfRequest),
            calls: Arc::default(),
            headers: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }

    /// Returns the correlation id of the request.
    #[must_use]
    pub fn correlation_id(&self) -> &CorrelationId {
        &self.correlation_id
    }

    /// Returns the idempotency key, if there is one.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        match &self.key {
            ContextKey::Absent => None,
            ContextKey::OfRequest(key) | ContextKey::OfCall(key) => Some(key),
        }
    }

    /// Returns the key of the next call of that operation. It is the key that the agent set for the
    /// call, or a child of the request's key. The child differs from those of earlier calls of the
    /// operation.
    pub(crate) fn key_of_call(&self, operation: impl FnOnce() -> String) -> Option<IdempotencyKey> {
        match &self.key {
            ContextKey::Absent => None,
            ContextKey::OfRequest(key) => Some(self.next_child(key, &operation())),
            ContextKey::OfCall(key) => Some(key.clone()),
        }
    }

    /// Returns the key of the next message of that operation: a child of the context's key. For
    /// protocols that send all messages to one path.
    pub(crate) fn key_of_message(&self, operation: &str) -> Option<IdempotencyKey> {
        self.idempotency_key().map(|key| self.next_child(key, operation))
    }

    fn next_child(&self, key: &IdempotencyKey, operation: &str) -> IdempotencyKey {
        let number = self.calls.number(key.child(operation).as_str());
        key.child(&format!("{operation}:{number}"))
    }

    /// Returns the `X-Request-ID` of the request: 1 to 128 visible ASCII characters.
    pub(crate) fn request_id(&self) -> Option<&str> {
        let mut values = self.headers.get_all("x-request-id").iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        value.to_str().ok().filter(|_| is_visible(value, MAX_ID_CHARS))
    }

    pub(crate) fn with_correlation_id(mut self, correlation_id: CorrelationId) -> Self {
        self.correlation_id = correlation_id;
        self
    }

    pub(crate) fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.key = ContextKey::OfCall(key);
        self
    }

    #[cfg(feature = "rmcp")]
    pub(crate) fn without_idempotency_key(mut self) -> Self {
        self.key = ContextKey::Absent;
        self
    }

    /// Sets the headers that travel with an outbound call, except the key. The correlation id
    /// replaces any other. A trace context that the caller set for this call stays. `forward` names
    /// further headers, which replace any others.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, forward: &[HeaderName]) {
        headers.insert(X_CORRELATION_ID, self.correlation_id.header());
        if !headers.contains_key(TRACEPARENT) {
            self.copy(&TRACEPARENT, headers);
            self.copy(&TRACESTATE, headers);
        }
        for name in forward {
            self.copy(name, headers);
        }
    }

    fn copy(&self, name: &HeaderName, headers: &mut HeaderMap) {
        if !self.headers.contains_key(name) {
            return;
        }
        headers.remove(name);
        for value in self.headers.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Omits the headers: some may be credentials that this crate does not know.
impl fmt::Debug for PropagatedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PropagatedHeaders").field("correlation_id", &self.correlation_id).finish_non_exhaustive()
    }
}

/// Returns the value of a header that is present exactly once.
pub(crate) fn single(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = header_values::of(headers, name);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use sts_jose::SystemEntropy;

    use super::*;

    #[test]
    fn nothing_that_could_forge_a_line_is_carried_on_as_an_identifier() {
        for text in ["", "a\r\nx-tenant-id: evil", "a\n", "a\0", "a b", "ä", &"x".repeat(256)] {
            assert!(CorrelationId::from_text(text).is_none() && IdempotencyKey::from_text(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn no_request_makes_a_header_go_on_that_is_a_credential_or_this_crates_own() {
        let mut headers = HeaderMap::new();
        for name in NEVER_FORWARDED {
            headers.insert(name, HeaderValue::from_static("inbound"));
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close, X-Hop"));
        headers.insert("x-hop", HeaderValue::from_static("inbound"));
        let forward: Vec<HeaderName> = headers.keys().cloned().collect();
        let mut outbound = HeaderMap::new();
        PropagatedHeaders::from_headers(&headers, &SystemEntropy).apply(&mut outbound, &forward);
        assert_eq!(outbound.keys().collect::<Vec<_>>(), [X_CORRELATION_ID]);
    }

    #[test]
    fn debug_shows_no_header_that_might_be_a_credential() {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("hunter2"));
        let carried = PropagatedHeaders::from_headers(&headers, &SystemEntropy);
        assert!(!format!("{carried:?}").contains("hunter2"), "{carried:?}");
    }
}
