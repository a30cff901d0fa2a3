//! `POST /oauth2/introspect` (RFC 7662 §2).

use axum::extract::{Request, State};
use axum::response::Response;

use super::{App, answer, post};
use crate::exchange::{Call, Sts};
use crate::telemetry::Endpoint;

/// Answers an introspection request.
pub(super) async fn introspect(State(app): State<App>, request: Request) -> Response {
    let decide = async |sts: &Sts, call: &Call<'_>| sts.introspect(call).await.map(|token| answer::json(&token));
    post::answer(&app, request, Endpoint::Introspect, decide).await
}
