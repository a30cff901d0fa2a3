//! What travels with a call besides the credential: correlation id, idempotency key, trace context, and the headers that a route
//! forwards.

use std::fmt;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use sts_jose::Entropy;
use url::{Position, Url};

use crate::calls::Calls;
use crate::header_values;
pub use crate::idempotency_key::{IDEMPOTENCY_KEY, IdempotencyKey, MalformedKey};

/// Names the tenant of a request.
pub const X_TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
/// Joins the events of one user request across hops.
pub const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// Says that a service account stands in for a delegated token.
pub const X_DELEGATION_FALLBACK: HeaderName = HeaderName::from_static("x-delegation-fallback");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest correlation id, in characters.
const MAX_ID_CHARS: usize = 128;

/// Never forwarded, whatever a route says: credentials, what belongs to one connection, and what this crate sets itself.
const NEVER_FORWARDED: [HeaderName; 22] = [
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
    IDEMPOTENCY_KEY,
];

/// Taken off every outbound call before anything is put on: other credentials, and claims that only this crate may make.
const STRIPPED: [HeaderName; 10] = [
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
];

/// Whether a route may forward a header of that name.
pub(crate) fn may_be_forwarded(name: &HeaderName) -> bool {
    !NEVER_FORWARDED.contains(name)
}

/// What `Connection` may name without taking something off the call (RFC 9110 §7.6.1).
const OF_THE_CONNECTION: [&str; 5] = ["close", "keep-alive", "upgrade", "te", "http2-settings"];

/// Takes everything off an outbound call that could speak for somebody, or would have the next proxy take off what is put on.
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in STRIPPED {
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

/// A `Host` that names another place than the URL would lead the call, and its token, there by way of a shared gateway.
pub(crate) fn lead_to(url: &Url, headers: &mut HeaderMap) {
    if headers.remove(HOST).is_some()
        && let Ok(host) = HeaderValue::from_str(&url[Position::BeforeHost..Position::AfterPort])
    {
        headers.insert(HOST, host);
    }
}

/// A correlation id: 1 to 128 visible ASCII characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CorrelationId(HeaderValue);

impl CorrelationId {
    /// Makes a fresh one: a random UUID.
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        let text = uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string();
        Self(HeaderValue::from_maybe_shared(text).unwrap_or_else(|_never| HeaderValue::from_static("-")))
    }

    /// Takes over one; `None` unless it is 1 to 128 visible ASCII characters.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        HeaderValue::from_str(text).ok().and_then(Self::from_header)
    }

    fn from_header(value: HeaderValue) -> Option<Self> {
        is_visible(&value, MAX_ID_CHARS).then_some(Self(value))
    }

    /// The identifier.
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

/// What an inbound request carries on. Holds no credential.
#[derive(Clone)]
pub struct Carried {
    correlation_id: CorrelationId,
    key: CarriedKey,
    /// The calls so far, shared by all contexts of the request.
    calls: Arc<Calls>,
    /// Everything that a route may forward; a route picks by name.
    headers: HeaderMap,
}

/// The idempotency key of a context.
#[derive(Debug, Clone)]
enum CarriedKey {
    /// There is none.
    Absent,
    /// The key of the request. Each call has a child of it.
    OfRequest(IdempotencyKey),
    /// The key that the agent has given to one call.
    OfCall(IdempotencyKey),
}

impl Carried {
    /// Starts anew, for work that no request asked for.
    pub(crate) fn fresh(entropy: &dyn Entropy) -> Self {
        Self {
            correlation_id: CorrelationId::random(entropy),
            key: CarriedKey::Absent,
            calls: Arc::default(),
            headers: HeaderMap::new(),
        }
    }

    /// Reads what a request carries. A correlation id that is absent, repeated or malformed is made anew; an idempotency key that is
    /// repeated or malformed counts as absent.
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
            key: key.map_or(CarriedKey::Absent, CarriedKey::OfRequest),
            calls: Arc::default(),
            headers: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }

    /// The correlation id.
    #[must_use]
    pub fn correlation_id(&self) -> &CorrelationId {
        &self.correlation_id
    }

    /// The idempotency key.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        match &self.key {
            CarriedKey::Absent => None,
            CarriedKey::OfRequest(key) | CarriedKey::OfCall(key) => Some(key),
        }
    }

    /// The key of the next call of that operation: the one that the agent has given to it, or else a child of the request's, which differs
    /// from those of earlier calls of the operation.
    pub(crate) fn key_of_call(&self, operation: impl FnOnce() -> String) -> Option<IdempotencyKey> {
        match &self.key {
            CarriedKey::Absent => None,
            CarriedKey::OfRequest(key) => Some(self.next_child(key, &operation())),
            CarriedKey::OfCall(key) => Some(key.clone()),
        }
    }

    /// The key of the next message of that operation, for protocols that send all messages to one path: a child of the context's key.
    pub(crate) fn key_of_message(&self, operation: &str) -> Option<IdempotencyKey> {
        self.idempotency_key().map(|key| self.next_child(key, operation))
    }

    fn next_child(&self, key: &IdempotencyKey, operation: &str) -> IdempotencyKey {
        let number = self.calls.number(key.child(operation).as_str());
        key.child(&format!("{operation}:{number}"))
    }

    /// The `X-Request-ID` of the request: 1 to 128 visible ASCII characters.
    pub(crate) fn request_id(&self) -> Option<&str> {
        let mut values = self.headers.get_all("x-request-id").iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        value.to_str().ok().filter(|_| is_visible(value, MAX_ID_CHARS))
    }

    /// With another correlation id.
    pub(crate) fn with_correlation_id(mut self, correlation_id: CorrelationId) -> Self {
        self.correlation_id = correlation_id;
        self
    }

    /// With another idempotency key.
    pub(crate) fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.key = CarriedKey::OfCall(key);
        self
    }

    #[cfg(feature = "rmcp")]
    pub(crate) fn without_idempotency_key(mut self) -> Self {
        self.key = CarriedKey::Absent;
        self
    }

    /// Puts on an outbound call what it carries on, but for the key. The correlation id replaces any other. A trace context that the caller
    /// has set for this very call stays; `forward` names further headers, which replace any other.
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

/// Without the headers, some of which may be credentials that this crate knows nothing of.
impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("correlation_id", &self.correlation_id).finish_non_exhaustive()
    }
}

/// The value of a header that is there exactly once.
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
        Carried::from_headers(&headers, &SystemEntropy).apply(&mut outbound, &forward);
        assert_eq!(outbound.keys().collect::<Vec<_>>(), [X_CORRELATION_ID]);
    }

    #[test]
    fn debug_shows_no_header_that_might_be_a_credential() {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_static("hunter2"));
        let carried = Carried::from_headers(&headers, &SystemEntropy);
        assert!(!format!("{carried:?}").contains("hunter2"), "{carried:?}");
    }
}
