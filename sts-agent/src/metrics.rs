//! The metrics of the process: its own, and those of sts-client.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// The metric of answered requests, by endpoint and outcome.
const REQUESTS: &str = "sts_agent_requests_total";
/// The metric of the time that a request took, by endpoint.
const SECONDS: &str = "sts_agent_request_seconds";
/// The metric of loads of the agent's file, by outcome.
const RELOADS: &str = "sts_agent_reloads_total";
/// The upper bounds of durations, in seconds.
const BUCKETS: [f64; 12] = [0.000_1, 0.000_2, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Installs the recorder of all metrics.
///
/// # Errors
/// [`BuildError`] if another recorder is installed.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?;
    let handle = builder.install_recorder()?;
    metrics::describe_counter!(REQUESTS, "Answered requests");
    metrics::describe_histogram!(SECONDS, "The time that a request took");
    metrics::describe_counter!(RELOADS, "Loads of the agent's file");
    Ok(handle)
}

pub(crate) fn count_request(endpoint: &'static str, outcome: &'static str, took: Duration) {
    metrics::counter!(REQUESTS, "endpoint" => endpoint, "outcome" => outcome).increment(1);
    metrics::histogram!(SECONDS, "endpoint" => endpoint).record(took.as_secs_f64());
}

pub(crate) fn count_reload(outcome: &'static str) {
    metrics::counter!(RELOADS, "outcome" => outcome).increment(1);
}
