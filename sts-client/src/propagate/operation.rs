//! The idempotency key of one outbound call.

use http::{HeaderMap, HeaderValue, Method};
use url::{Position, Url};

use crate::call::{IDEMPOTENCY_KEY, OutboundKey, PropagatedHeaders};
use crate::dedup::DedupKey;

/// The parts of an outbound call that determine its idempotency key. [`crate::Route::idempotency`]
/// can override them.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sts_client::propagate::OutboundOperation;
/// use sts_client::test_util::MockSts;
/// use sts_client::{CallContext, Caller, Propagator, Route, http::{HeaderMap, Method}};
///
/// let url: sts_client::url::Url = "https://orders.shop.example/".parse()?;
/// let route = Route::to(url.clone()).audience("orders");
/// let propagator = Propagator::builder().sts(MockSts::new().sts("coordinator")).route(route).build().await?;
/// let request = CallContext::from(Caller::for_test().idempotency_key("basket-7").build());
///
/// let (mut pens, mut ink) = (HeaderMap::new(), HeaderMap::new());
/// for (headers, body) in [(&mut pens, "3 pens"), (&mut ink, "1 ink")] {
///     let operation = OutboundOperation::Request { method: &Method::POST, body: Some(body.as_bytes()) };
///     propagator.apply_as(&request, &url, headers, operation).await?;
/// }
/// assert_ne!(pens["idempotency-key"], ink["idempotency-key"]);
/// # Ok(()) }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum OutboundOperation<'a> {
    /// A call with an unknown method and body. Its key depends on the URL.
    Unknown,
    /// A request. Its key depends on the method, the URL and the body.
    Request {
        /// The HTTP method.
        method: &'a Method,
        /// The body; `None` if it is a stream.
        body: Option<&'a [u8]>,
    },
    /// A message of a protocol that sends all messages to one path. Its key depends on the name of
    /// the operation.
    Message(&'a str),
    /// A call that gets no key, because it is no operation or already has a key.
    Keyless,
}

impl OutboundOperation<'_> {
    /// Returns the HTTP method, if the operation names it.
    pub(super) fn method(&self) -> Option<&Method> {
        match *self {
            Self::Request { method, .. } => Some(method),
            Self::Unknown | Self::Message(_) | Self::Keyless => None,
        }
    }

    /// Adds the key of this call to its headers, unless they already have a key.
    pub(super) fn put_key(
        self,
        url: &Url,
        route: OutboundKey,
        propagated: &PropagatedHeaders,
        headers: &mut HeaderMap,
    ) {
        if !headers.contains_key(IDEMPOTENCY_KEY)
            && let Some(key) = self.key(url, route, propagated)
        {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
    }

    fn key(self, url: &Url, route: OutboundKey, propagated: &PropagatedHeaders) -> Option<HeaderValue> {
        let key = match (self, route) {
            (Self::Keyless, _) => None,
            (Self::Unknown | Self::Request { .. } | Self::Message(_), OutboundKey::Same) => {
                propagated.idempotency_key().cloned()
            }
            (Self::Unknown, OutboundKey::Child) => propagated.key_of_call(|| named("call", url, None)),
            (Self::Request { method, body }, OutboundKey::Child) => {
                propagated.key_of_call(|| named(method.as_str(), url, body))
            }
            (Self::Message(operation), OutboundKey::Child) => propagated.key_of_message(operation),
        };
        key.map(|key| key.header)
    }
}

/// Returns the method, or `call` if it is unknown, and a digest of the URL and the body.
fn named(method: &str, url: &Url, body: Option<&[u8]>) -> String {
    let url = &url[..Position::AfterQuery];
    let parts = std::iter::once(url.as_bytes()).chain(body);
    format!("{method}:{}", DedupKey::new("call", parts).to_hex())
}
