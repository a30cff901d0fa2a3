//! `POST /oauth2/revoke` (RFC 7009 §2).

use axum::body::Body;
use axum::response::Response;
use http::Request;

use super::listener::Peer;
use super::{App, answer, post};
use crate::exchange::{self, Call};
use crate::service::Sts;
use crate::telemetry::Endpoint;

/// Answers a revocation request.
pub(super) async fn revoke(app: &App, request: Request<Body>, peer: &Peer) -> Response {
    let decide = async |sts: &Sts, call: &Call<'_>| exchange::revoke(sts, call).await.map(|()| answer::empty());
    post::answer(app, (request, peer), Endpoint::Revoke, decide).await
}
