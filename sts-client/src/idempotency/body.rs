//! The body of an answer: collected, so that it can be kept, or passed on as a stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body;
use http_body_util::BodyExt as _;

use crate::net::ResponseBody;

/// Media types whose bodies are streams.
const STREAMS: [&str; 4] =
    ["text/event-stream", "multipart/x-mixed-replace", "application/x-ndjson", "application/json-seq"];

/// The time within which a body of unknown length must end, or else it is a stream.
const MAX_COLLECTING: Duration = Duration::from_secs(10);

/// A body as the layer found it.
pub(super) enum Collected<B: Body> {
    /// It has ended.
    Whole { bytes: Bytes, trailers: Option<HeaderMap> },
    /// A stream, or longer than what is kept. Nothing of it is lost.
    Stream(ResponseBody<B>),
    /// It broke off.
    Broken(B::Error),
}

/// Collects a body of up to `max` bytes. It is a stream if its media type says so, if it is longer, or if its length is not known and it
/// has not ended within [`MAX_COLLECTING`].
pub(super) async fn collect<B: Body<Data = Bytes>>(headers: &HeaderMap, body: B, max: usize) -> Collected<B> {
    let is_longer = |bytes: u64| usize::try_from(bytes).map_or(true, |bytes| bytes > max);
    if is_stream(headers) || is_longer(body.size_hint().lower()) {
        return Collected::Stream(ResponseBody::of_service(body));
    }
    let is_length_known = body.size_hint().exact().is_some();
    let mut body = Box::pin(body);
    let (mut start, mut trailers) = (BytesMut::new(), None);
    let mut time = std::pin::pin!(tokio::time::sleep(MAX_COLLECTING));
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = &mut time, if !is_length_known => {
                return Collected::Stream(ResponseBody::resumed(start.freeze(), body));
            }
        };
        match frame {
            None => return Collected::Whole { bytes: start.freeze(), trailers },
            Some(Err(error)) => return Collected::Broken(error),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => start.extend_from_slice(&bytes),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
        if start.len() > max {
            return Collected::Stream(ResponseBody::resumed(start.freeze(), body));
        }
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    STREAMS.iter().any(|stream| stream.eq_ignore_ascii_case(media_type))
}
