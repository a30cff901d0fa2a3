//! `POST /oauth2/token` (RFC 6749 §3.2, RFC 8693 §2).

use axum::body::Body;
use axum::response::Response;
use http::Request;

use super::listener::Peer;
use super::{App, answer, post};
use crate::exchange::{self, Call};
use crate::service::Sts;
use crate::telemetry::Endpoint;

/// Answers a token request.
pub(super) async fn token(app: &App, request: Request<Body>, peer: &Peer) -> Response {
    let decide = async |sts: &Sts, call: &Call<'_>| exchange::token(sts, call).await.map(|token| answer::json(&token));
    post::answer(app, (request, peer), Endpoint::Token, decide).await
}
