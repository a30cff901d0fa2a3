//! `GET /healthz` and `GET /metrics`.

use axum::extract::State;
use axum::response::Response;

use super::{Api, answer};

/// Answers that the process serves. The file is loaded, or the process would not listen.
pub(super) async fn healthz() -> Response {
    answer::text("text/plain; charset=utf-8", "serving\n".to_owned())
}

/// Answers with all metrics, in the text format of Prometheus.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    api.metrics.run_upkeep();
    answer::text("text/plain; version=0.0.4; charset=utf-8", api.metrics.render())
}
