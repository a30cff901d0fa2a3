//! `GET /healthz` and `GET /readyz`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::{App, answer};

/// The process is alive.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Tokens can be issued, by what is known of the database and the keys; new connections of agents find a place, and the server is not
/// about to end. It costs no I/O: any client may ask.
pub(super) async fn readyz(State(app): State<App>) -> Response {
    let is_ready = !app.is_withdrawn() && !app.full.is_lasting() && app.sts.readiness();
    if is_ready { "ready\n".into_response() } else { answer::not_ready() }
}
