//! `GET /healthz` and `GET /readyz`.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::{App, answer};

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process is alive.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Tokens can be issued: the database is reachable, its clock agrees with ours, a key is active, and the server is not about to end.
pub(super) async fn readyz(State(app): State<App>) -> Response {
    if app.is_withdrawn() {
        return answer::not_ready();
    }
    match tokio::time::timeout(PATIENCE, app.sts.is_ready()).await {
        Ok(Ok(true)) => "ready\n".into_response(),
        Ok(Ok(false) | Err(_)) | Err(_) => answer::not_ready(),
    }
}
