//! What the three POST endpoints have in common: how a request is read, and what every answer bears.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::body::Body;
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use sts_protocol::parameter::X_CORRELATION_ID;

use super::App;
use super::answer::{self, Unreadable, UsedHeader};
use super::body::{self, BodyFault, HeldBody};
use super::content_type::{Charset, charset_of_form, is_ascii};
use super::listener::Peer;
use super::observed::Observed;
use super::refused::{About, RefusedRequest};
use crate::error_kind::ErrorKind;
use crate::exchange::{Call, Claimed, Refusal, claimed_client};
use crate::service::Sts;
use crate::telemetry::{Endpoint, Outcome, Trail};

/// The longest correlation id that is taken over.
const MAX_CORRELATION_BYTES: usize = 128;

/// A request is answered before its parameters are read.
enum Unread {
    Unreadable(Unreadable),
    Refused(Refusal),
}

/// Reads a request, lets `decide` answer it, and gives the answer the headers that all have.
pub(super) async fn answer(
    app: &App,
    (request, peer): (Request<Body>, &Peer),
    endpoint: Endpoint,
    decide: impl AsyncFnOnce(&Sts, &Call<'_>) -> Result<Response, Refusal>,
) -> Response {
    let trail = Trail::begin();
    let (mut parts, body) = request.into_parts();
    drop_blank_headers(&mut parts.headers);
    let deadline = tokio::time::sleep(app.request_timeout);
    let correlation_id = correlation_id(&parts.headers).unwrap_or_else(|| app.sts.new_name());
    let mut observed = Observed::begin(app, endpoint, &trail, (&parts.headers, &correlation_id));
    let source = app.proxies.source(peer.address.ip(), &parts.headers);
    let (body, unread) = match read(app, (&parts, body), peer, source).await {
        Ok(body) => (body, None),
        Err(Unread::Refused(refusal)) => (HeldBody::default(), Some(refusal)),
        Err(Unread::Unreadable(unreadable)) => {
            observed.decided(Outcome::Unreadable, Some(unreadable.reason()));
            let about = || About { detail: unreadable.told().to_owned(), ..About::default() };
            RefusedRequest { endpoint, correlation_id: &correlation_id, source, reason: unreadable.reason() }
                .log(&app.sts, about);
            return answer::seal(answer::unreadable(unreadable), &correlation_id);
        }
    };
    let call = Call { headers: &parts.headers, body: &body, correlation_id: &correlation_id, source, trail: &trail };
    let decided = async {
        match unread {
            Some(refusal) => Err(refusal),
            None => decide(&app.sts, &call).await,
        }
    };
    let decided = tokio::select! {
        biased;
        decided = decided => decided,
        // What is being committed is committed all the same; nobody hears of it, as when the database's answer is lost.
        () = deadline => Err(Refusal::TooSlow),
    };
    let response = match decided {
        Ok(response) => {
            observed.decided(Outcome::Ok, None);
            response
        }
        Err(refusal) => {
            observed.decided(outcome(refusal.kind()), Some(refusal.reason()));
            refuse(app, endpoint, &refusal, &call)
        }
    };
    answer::seal(response, &correlation_id)
}

fn refuse(app: &App, endpoint: Endpoint, refusal: &Refusal, call: &Call<'_>) -> Response {
    let (correlation_id, source, reason) = (call.correlation_id, call.source, refusal.reason());
    if refusal.kind() == ErrorKind::Unavailable {
        if let Some(left_out) = app.sts.metrics().log_limit().pass(reason) {
            let (endpoint, detail) = (endpoint.name(), refusal.detail());
            tracing::warn!(endpoint, correlation_id, reason, detail, left_out, "a request could not be served");
        }
    } else {
        let about = || About {
            detail: refusal.detail(),
            claimed_client_id: claimed_client(&app.sts, call),
            claimed: Claimed::of(refusal, call.body),
        };
        RefusedRequest { endpoint, correlation_id, source, reason }.log(&app.sts, about);
    }
    let used = if call.headers.contains_key(AUTHORIZATION) { UsedHeader::Authorization } else { UsedHeader::None };
    answer::refusal(refusal, used)
}

fn outcome(kind: ErrorKind) -> Outcome {
    match kind {
        ErrorKind::TooMany => Outcome::Limited,
        ErrorKind::Unavailable => Outcome::Unavailable,
        ErrorKind::Request
        | ErrorKind::Token
        | ErrorKind::Target
        | ErrorKind::Scope
        | ErrorKind::Grant
        | ErrorKind::UnsupportedGrant
        | ErrorKind::Client
        | ErrorKind::TokenSize => Outcome::Refused,
    }
}

/// Reads the body. The rate limit of the source is checked before its first byte is read.
async fn read(app: &App, (parts, body): (&Parts, Body), peer: &Peer, source: IpAddr) -> Result<HeldBody, Unread> {
    if let Err(limited) = app.sts.rates().admit_source(source) {
        body::leave(peer);
        return Err(Unread::Refused(limited.into()));
    }
    let unreadable = |unreadable| {
        body::leave(peer);
        Err(Unread::Unreadable(unreadable))
    };
    if parts.method != Method::POST {
        return unreadable(Unreadable::Method);
    }
    // RFC 6749 §3.2: parameters stand in the body, never in the URI.
    if parts.uri.query().is_some() {
        return unreadable(Unreadable::Query);
    }
    let Some(charset) = charset_of_form(&parts.headers) else { return unreadable(Unreadable::ContentType) };
    if parts.headers.contains_key(CONTENT_ENCODING) {
        return unreadable(Unreadable::ContentEncoding);
    }
    let body = body::read(&app.memory, (parts, peer), body, app.body_timeout).await.map_err(|fault| match fault {
        BodyFault::TooLarge => Unread::Unreadable(Unreadable::TooLarge),
        BodyFault::Malformed => Unread::Unreadable(Unreadable::Body),
        BodyFault::TooSlow => Unread::Unreadable(Unreadable::TooSlow),
        BodyFault::NoMemory => Unread::Refused(Refusal::RequestMemory),
    })?;
    if charset == Charset::AsciiCompatible && !is_ascii(&body) {
        return Err(Unread::Unreadable(Unreadable::Charset));
    }
    Ok(body)
}

/// The header that claims a proof of possession, even if it is empty.
const PROOF: &str = "dpop";

/// An empty header counts as absent, as an empty parameter does. One that is refused for being there stays.
fn drop_blank_headers(headers: &mut HeaderMap) {
    let is_blank = |(name, value): &(&HeaderName, &HeaderValue)| {
        value.as_bytes().trim_ascii().is_empty() && name.as_str() != PROOF
    };
    if headers.iter().any(|header| is_blank(&header)) {
        let kept = headers.iter().filter(|header| !is_blank(header));
        *headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
}

/// The peer of a request that goes through a router.
pub(super) fn peer(parts: &Parts) -> Peer {
    let unknown = || Peer::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    parts.extensions.get().cloned().unwrap_or_else(unknown)
}

/// The one `X-Correlation-ID` of the request, if it is 1 to 128 visible ASCII characters.
pub(super) fn correlation_id(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(X_CORRELATION_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let value = value.to_str().ok().filter(|text| (1..=MAX_CORRELATION_BYTES).contains(&text.len()))?;
    value.bytes().all(|byte| byte.is_ascii_graphic()).then(|| value.to_owned())
}
