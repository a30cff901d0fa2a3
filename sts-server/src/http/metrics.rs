//! `GET /metrics`, in the text format of Prometheus.

use axum::extract::State;
use axum::response::Response;

use super::tls::Tls;
use super::{App, answer};
use crate::telemetry::catalog;

/// Answers with the present values of all metrics. Asks neither the database nor the disk.
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let metrics = app.sts.metrics();
    app.sts.observe();
    if let Some(validity) = app.tls.as_ref().and_then(Tls::validity) {
        metrics.set(&catalog::CERTIFICATE_EXPIRES, &[], validity.ends.as_second() as f64);
        metrics.set(&catalog::CERTIFICATE_LIFETIME, &[], validity.lifetime_seconds() as f64);
    }
    answer::metrics(metrics.render())
}
