//! The response body of the layers: the body of the inner service, or a body that a layer wrote.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// The response body behind the layers of this crate.
///
/// It is either the body `B` of the inner service, frame by frame, or a body in memory that the
/// layer wrote: a refusal, or a stored response. A layer requires only that `B` is a body of
/// [`Bytes`]. The bodies of axum, tonic, hyper and tower-http all qualify.
///
/// ```
/// use http_body_util::{BodyExt as _, Empty};
/// use sts_client::ResponseBody;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let refusal: ResponseBody<Empty<bytes::Bytes>> = ResponseBody::from(b"no".to_vec());
/// assert_eq!(refusal.collect().await.unwrap().to_bytes(), "no");
/// # });
/// ```
pub struct ResponseBody<B>(Source<B>);

enum Source<B> {
    /// The bytes that were read already, and the body that follows them.
    Service {
        start: Bytes,
        body: Pin<Box<B>>,
    },
    Memory {
        bytes: Bytes,
        trailers: Option<HeaderMap>,
    },
}

impl<B> ResponseBody<B> {
    /// Wraps the body of the inner service, unchanged.
    pub(crate) fn of_service(body: B) -> Self {
        Self::resumed(Bytes::new(), Box::pin(body))
    }

    /// Wraps the body of the inner service after its first bytes were read.
    pub(crate) fn resumed(start: Bytes, body: Pin<Box<B>>) -> Self {
        Self(Source::Service { start, body })
    }

    /// Makes a body in memory, with its trailers.
    pub(crate) fn in_memory(bytes: impl Into<Bytes>, trailers: Option<HeaderMap>) -> Self {
        Self(Source::Memory { bytes: bytes.into(), trailers })
    }
}

/// Makes a body in memory, without trailers.
impl<B> From<Vec<u8>> for ResponseBody<B> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::in_memory(bytes, None)
    }
}

/// Makes an empty body.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::in_memory(Bytes::new(), None)
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.0 {
            Source::Service { start: bytes, .. } | Source::Memory { bytes, .. } if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Source::Service { body, .. } => body.as_mut().poll_frame(context),
            Source::Memory { trailers, .. } => Poll::Ready(trailers.take().map(|fields| Ok(Frame::trailers(fields)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Service { start, body } => start.is_empty() && body.is_end_stream(),
            Source::Memory { bytes, trailers } => bytes.is_empty() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let length = |bytes: &Bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        match &self.0 {
            Source::Service { start, body } => {
                let (rest, mut hint) = (body.size_hint(), SizeHint::new());
                hint.set_lower(rest.lower().saturating_add(length(start)));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(length(start)));
                }
                hint
            }
            Source::Memory { bytes, .. } => SizeHint::with_exact(length(bytes)),
        }
    }
}

/// Shows the source of the body and none of its content.
impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::Service { .. } => "ResponseBody(service)",
            Source::Memory { .. } => "ResponseBody(memory)",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn a_body_in_memory_has_its_bytes_and_trailers_and_an_exact_length() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body: ResponseBody<Full<Bytes>> = ResponseBody::in_memory("abc", Some(trailers.clone()));
        assert_eq!(body.size_hint().exact(), Some(3));
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "abc");
    }

    #[tokio::test]
    async fn an_empty_body_ends_at_once() {
        let body: ResponseBody<Full<Bytes>> = ResponseBody::default();
        assert!(body.is_end_stream() && body.size_hint().exact() == Some(0));
    }

    #[tokio::test]
    async fn the_body_of_the_service_passes_unchanged() {
        let body = ResponseBody::of_service(Full::new(Bytes::from_static(b"abc")));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        let rest = Box::pin(Full::new(Bytes::from_static(b"def")));
        let body = ResponseBody::resumed(Bytes::from_static(b"abc"), rest);
        assert_eq!(body.size_hint().exact(), Some(6));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdef");
    }
}
