//! Response bodies: collected so that they can be stored, or passed on as a stream.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::Body;
use http_body_util::BodyExt as _;

use crate::response_body::ResponseBody;

/// The media types whose bodies are streams.
const STREAMS: [&str; 4] =
    ["text/event-stream", "multipart/x-mixed-replace", "application/x-ndjson", "application/json-seq"];

/// The time limit for collecting a body of unknown length. A slower body is treated as a stream.
const MAX_COLLECTING: Duration = Duration::from_secs(10);

/// The result of collecting a body.
pub(super) enum Collected<B: Body> {
    /// A complete body.
    Whole { bytes: Bytes, trailers: Option<HeaderMap> },
    /// A stream, or a body that is too long to store. The bytes that were already read are
    /// included.
    Stream(ResponseBody<B>),
    /// The body failed before its end.
    Broken(B::Error),
}

/// Collects a body of up to `max` bytes. Treats the body as a stream in three cases: its media type
/// is a stream, it is longer than `max`, or its length is unknown and it does not end within
/// [`MAX_COLLECTING`].
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
