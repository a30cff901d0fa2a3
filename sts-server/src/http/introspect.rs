//! `POST /oauth2/introspect` (RFC 7662 §2).

use axum::body::Body;
use axum::response::Response;
use http::Request;

use super::listener::Peer;
use super::{App, answer, post};
use crate::exchange::{self, Call};
use crate::service::Sts;
use crate::telemetry::Endpoint;

/// Answers an introspection request.
pub(super) async fn introspect(app: &App, request: Request<Body>, peer: &Peer) -> Response {
    let decide =
        async |sts: &Sts, call: &Call<'_>| exchange::introspect(sts, call).await.map(|token| answer::json(&token));
    post::answer(app, (request, peer), Endpoint::Introspect, decide).await
}
