//! The idempotency key of one outbound call.

use http::{HeaderMap, HeaderValue, Method};
use url::{Position, Url};

use crate::call::{IDEMPOTENCY_KEY, OutboundKey, PropagatedHeaders};
use crate::dedup::DedupKey;

/// An outbound call, as far as its idempotency key depends on it. [`crate::Route::idempotency`] can say otherwise.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum OutboundOperation<'a> {
    /// A call whose method and body are not known: its key depends on the URL.
    Unknown,
    /// A request: its key depends on method, URL and body.
    Request {
        /// The method.
        method: &'a Method,
        /// The body; `None` where it is a stream.
        body: Option<&'a [u8]>,
    },
    /// A message of a protocol that sends all messages to one path: its key depends on the name of the operation.
    Message(&'a str),
    /// No operation, or one that has its key already: it gets none.
    Keyless,
}

impl OutboundOperation<'_> {
    /// Puts the key of this call on its headers. One that is there already stays.
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

/// `POST:` and a digest of what is asked for.
fn named(method: &str, url: &Url, body: Option<&[u8]>) -> String {
    let url = &url[..Position::AfterQuery];
    let parts = std::iter::once(url.as_bytes()).chain(body);
    format!("{method}:{}", DedupKey::new("call", parts).to_hex())
}
