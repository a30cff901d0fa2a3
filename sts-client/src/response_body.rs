//! The body of a response of the layers: that of the service below, or one that a layer wrote.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response behind one of the layers of this crate.
    ///
    /// It is either the body `B` of the service below, frame by frame, or a body in memory that the layer wrote: a refusal, or an answer
    /// that was stored. So a layer asks nothing of `B` but that it is a body of [`Bytes`]: the bodies of axum, tonic, hyper and tower-http
    /// all are.
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
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = Projected]
    enum Kind<B> {
        Service { #[pin] body: B },
        Memory { bytes: Bytes, trailers: Option<HeaderMap> },
    }
}

impl<B> ResponseBody<B> {
    /// The body of the service below, unchanged.
    pub(crate) fn of_service(body: B) -> Self {
        Self { kind: Kind::Service { body } }
    }

    /// A body in memory, with its trailers.
    pub(crate) fn in_memory(bytes: impl Into<Bytes>, trailers: Option<HeaderMap>) -> Self {
        Self { kind: Kind::Memory { bytes: bytes.into(), trailers } }
    }
}

/// A body in memory, without trailers.
impl<B> From<Vec<u8>> for ResponseBody<B> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::in_memory(bytes, None)
    }
}

/// An empty body.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::in_memory(Bytes::new(), None)
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            Projected::Service { body } => body.poll_frame(context),
            Projected::Memory { bytes, .. } if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Projected::Memory { trailers, .. } => Poll::Ready(trailers.take().map(|map| Ok(Frame::trailers(map)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Service { body } => body.is_end_stream(),
            Kind::Memory { bytes, trailers } => bytes.is_empty() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Service { body } => body.size_hint(),
            Kind::Memory { bytes, .. } => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
        }
    }
}

/// Names the source of the body and shows nothing of it.
impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Service { .. } => "ResponseBody(service)",
            Kind::Memory { .. } => "ResponseBody(memory)",
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
    }
}
