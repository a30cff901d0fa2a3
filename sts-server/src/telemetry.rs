//! Logs and metrics of the process: set up once, by `main`.

use std::io::{self, IsTerminal as _};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config;

/// What is logged when nobody says otherwise.
const DEFAULT_FILTER: &str = "info";

/// Logs go to standard error, coloured only on a terminal, and not where `NO_COLOR` is set. `STS_LOG` selects, in the syntax of `tracing_subscriber::EnvFilter`.
pub fn start_logs() {
    let chosen = config::environment().find(|(name, _)| name == "STS_LOG").map(|(_, value)| value);
    let filter = chosen.as_deref().unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_malformed| EnvFilter::new(DEFAULT_FILTER));
    let plain = config::environment().any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
    let colours = io::stderr().is_terminal() && !plain;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr).init();
}

/// Metrics are kept in memory for `/metrics`; `None` when another recorder is in place already.
#[must_use]
pub fn start_metrics() -> Option<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().ok()
}
