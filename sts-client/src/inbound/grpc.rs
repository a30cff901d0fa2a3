//! Refusals for gRPC clients: HTTP status 200, with the outcome in `grpc-status` and
//! `grpc-message`.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::refusal::Refusal;
use crate::possession::DPOP_NONCE;

const GRPC: &str = "application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Returns the content type of a gRPC request: `application/grpc` with an optional suffix such as
/// `+proto` or `-web`. Returns `None` for any other request.
pub(super) fn content_type(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(CONTENT_TYPE)?;
    let start = value.as_bytes().get(..GRPC.len())?;
    start.eq_ignore_ascii_case(GRPC.as_bytes()).then(|| value.clone())
}

/// Builds a response that has only headers ("Trailers-Only" in the gRPC protocol over HTTP/2).
/// Clients receive `WWW-Authenticate` and `Retry-After` as metadata.
pub(super) fn response<B: Default>(refusal: &Refusal, content_type: HeaderValue) -> Response<B> {
    let mut response = Response::new(B::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(GRPC_STATUS, refusal.grpc_code().into());
    // The descriptions are fixed printable ASCII texts without a percent sign, so they need no
    // escapes.
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(refusal.description()));
    if let Some(challenge) = refusal.www_authenticate() {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(nonce) = refusal.dpop_nonce() {
        headers.insert(DPOP_NONCE, nonce);
    }
    if let Some(seconds) = refusal.retry_after_seconds() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_requests_are_known_by_their_content_type() {
        for (value, is_grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=utf-8", true),
            ("application/grpc-web+proto", true),
            ("application/json", false),
            ("application/grp", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(content_type(&headers).is_some(), is_grpc, "{value}");
        }
        assert!(content_type(&HeaderMap::new()).is_none());
    }
}
