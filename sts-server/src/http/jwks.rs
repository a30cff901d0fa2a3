//! `GET /oauth2/jwks` (RFC 7517 §5).

use axum::extract::State;
use axum::response::Response;

use super::{App, answer};

/// Answers with our public keys.
pub(super) async fn jwks(State(app): State<App>) -> Response {
    answer::document(app.sts.snapshot().ring.jwks())
}
