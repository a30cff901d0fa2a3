//! Request bodies in memory, which can be sent twice. Any other body is sent once and is not read.

use std::any::Any;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::{BodyExt as _, Empty, Full};

/// Clones a body; `None` for a type that cannot be sent twice.
pub(super) fn cloned<B: 'static>(body: &B) -> Option<B> {
    cloned_as::<Full<Bytes>, B>(body)
        .or_else(|| cloned_as::<Empty<Bytes>, B>(body))
        .or_else(|| cloned_as::<Bytes, B>(body))
        .or_else(|| cloned_as::<Vec<u8>, B>(body))
        .or_else(|| cloned_as::<String, B>(body))
        .or_else(|| cloned_as::<(), B>(body))
}

/// Returns the bytes of a body; `None` if the type does not expose them before sending.
pub(super) fn bytes<B: 'static>(body: &B) -> Option<Bytes> {
    let body: &dyn Any = body;
    if let Some(full) = body.downcast_ref::<Full<Bytes>>() {
        return Some(full.clone().collect().now_or_never()?.ok()?.to_bytes());
    }
    if body.is::<Empty<Bytes>>() || body.is::<()>() {
        return Some(Bytes::new());
    }
    let owned = body.downcast_ref::<Vec<u8>>().cloned().map(Bytes::from);
    owned
        .or_else(|| body.downcast_ref::<Bytes>().cloned())
        .or_else(|| body.downcast_ref::<String>().cloned().map(Bytes::from))
}

/// Returns a clone, if `B` is `T`.
fn cloned_as<T: Clone + 'static, B: 'static>(body: &B) -> Option<B> {
    let body: &dyn Any = body;
    let mut clone = Some(body.downcast_ref::<T>()?.clone());
    let clone: &mut dyn Any = &mut clone;
    clone.downcast_mut::<Option<B>>()?.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_can_be_sent_twice_and_nothing_else() {
        assert_eq!(cloned(&"a".to_owned()).as_deref(), Some("a"));
        assert_eq!(bytes(&Full::new(Bytes::from_static(b"a"))).as_deref(), Some(b"a".as_slice()));
        assert!(cloned(&Full::new(Bytes::from_static(b"a"))).is_some());
        assert_eq!(bytes(&()).as_deref(), Some([].as_slice()));
        let stream =
            http_body_util::StreamBody::new(futures_util::stream::pending::<Result<http_body::Frame<Bytes>, ()>>());
        assert!(bytes(&stream).is_none() && cloned(&stream).is_none());
    }
}
