//! `POST /oauth2/revoke` (RFC 7009 §2).

use axum::extract::{Request, State};
use axum::response::Response;

use super::{App, answer, post};
use crate::exchange::{Call, Sts};
use crate::telemetry::Endpoint;

/// Answers a revocation request.
pub(super) async fn revoke(State(app): State<App>, request: Request) -> Response {
    let decide = async |sts: &Sts, call: &Call<'_>| sts.revoke(call).await.map(|()| answer::empty());
    post::answer(&app, request, Endpoint::Revoke, decide).await
}
