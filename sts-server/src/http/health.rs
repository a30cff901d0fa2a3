//! `GET /healthz` and `GET /readyz`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::{App, answer};

/// Answers 200 while the process runs.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Answers 200 if the server can issue tokens and accept new connections of agents, and is not
/// about to shut down. Costs no I/O, so any client may call it.
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let is_ready = !app.is_withdrawn() && !app.full.is_lasting() && app.sts.readiness();
    if is_ready { "ready\n".into_response() } else { answer::not_ready() }
}
