//! `GET /metrics`, in the text format of Prometheus.

use axum::extract::State;
use axum::response::Response;

use super::{App, answer};

/// Answers with the present values of all metrics. Costs no I/O.
pub(super) async fn metrics(State(app): State<App>) -> Response {
    app.sts.observe();
    answer::metrics(app.sts.metrics().render())
}
