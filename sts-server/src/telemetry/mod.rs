//! The telemetry of a running server for its operator: logs, metrics and traces.
//!
//! What lives here: the list of the metrics (`catalog`) and their counters (`metrics`), the clock
//! of a request (`trail`) and the export of traces (`traces`). Also the format of the logs (`logs`)
//! and the limit on repeated lines (`log_limit`). What must never: a subject, a token, a tenant, or
//! any text that a client chose, as the label of a metric. Another metric is a static of
//! [`catalog`](METRICS) and a row of `docs/metrics.md`.

pub(crate) mod catalog;
mod log_limit;
mod logs;
mod metrics;
#[cfg(target_os = "linux")]
mod process;
mod traces;
mod trail;

pub use catalog::{METRICS, Metric, MetricKind};
pub use log_limit::LogLimit;
pub(crate) use logs::REFUSED;
pub use logs::{LogFormat, LoggedRefusal, choose_format, divert_refusals, start_logs};
pub use metrics::{Decision, Endpoint, Listener, Metrics, NoticeOutcome, OpenConnection, RequestOutcome};
pub use traces::{ObservedRequest, Traces, TracesError, check_otlp_endpoint};
pub use trail::{GrantKind, Step, StepTime, Stopwatch, Trail};
