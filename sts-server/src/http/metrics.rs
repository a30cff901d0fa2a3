//! `GET /metrics`, in the text format of Prometheus.

use axum::extract::State;
use axum::response::Response;

use super::{App, answer};

/// Answers with all metrics as they are now. No I/O.
pub(super) async fn metrics(State(app): State<App>) -> Response {
    app.sts.observe();
    answer::metrics(app.sts.metrics().render())
}
