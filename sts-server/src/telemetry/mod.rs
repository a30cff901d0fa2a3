//! What an operator sees of a running server: logs, metrics and traces.
//!
//! What lives here: the list of the metrics (`catalog`) and what counts them (`metrics`), the clock of one request (`trail`), the
//! export of traces (`traces`), the form of the logs (`logs`) and a bound on lines that repeat (`log_limit`). What must never: a subject, a token, a tenant, or any text that a
//! requester chose, as the label of a metric. Another metric is a static of [`catalog`](METRICS) and a row of `docs/metrics.md`.

pub(crate) mod catalog;
mod log_limit;
mod logs;
mod metrics;
mod traces;
mod trail;

pub use catalog::{METRICS, Metric, MetricKind};
pub use log_limit::LogLimit;
pub use logs::{LogFormat, choose_format, start_logs};
pub use metrics::{Decision, Endpoint, Listener, Metrics, OpenConnection, RequestOutcome};
pub use traces::{ObservedRequest, Traces, TracesError, check_otlp_endpoint};
pub use trail::{GrantKind, Step, StepTime, Stopwatch, Trail};
