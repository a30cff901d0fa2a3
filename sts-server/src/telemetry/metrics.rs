//! The metrics and their output at `/metrics`.
//!
//! Each server has a separate recorder, so that two servers in a process do not share counts. The
//! metrics of the hot path are registered in advance, at startup. Gauges are set when `/metrics` is
//! read. A gauge that is no longer set is dropped, for example the gauge of a removed issuer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder as _, SharedString};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_util::MetricKindMask;

use super::catalog::{self, METRICS, Metric, MetricKind};
use super::log_limit::LogLimit;
use super::trail::{GrantKind, Step, Trail};

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// The time that a gauge is shown after it was last set.
const FORGET_GAUGES_AFTER: Duration = Duration::from_secs(60);

/// The metrics of a server. Clones share the same counts.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    exchanged: Counter,
    service_accounts: Counter,
    introspected: Counter,
    revoked: Counter,
    requests: [Histogram; Endpoint::ALL.len()],
    steps: [Histogram; Step::ALL.len()],
    batch: Histogram,
    commit: Histogram,
    commit_failures: Counter,
    follow_failures: Counter,
    trace_failures: Counter,
    notices: [Counter; NoticeOutcome::ALL.len()],
    connections: [AtomicI64; 2],
    turned_away: [Counter; 2],
    log_limit: LogLimit,
}

/// The outcome of a notice of an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeOutcome {
    /// The receiver has taken it.
    Sent,
    /// It was not made, or the receiver did not take it.
    Failed,
    /// Too many waited to be sent, or the approval had ended.
    Dropped,
}

impl NoticeOutcome {
    const ALL: [Self; 3] = [Self::Sent, Self::Failed, Self::Dropped];

    fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// An endpoint whose requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/oauth2/token`.
    Token,
    /// `/oauth2/introspect`.
    Introspect,
    /// `/oauth2/revoke`.
    Revoke,
    /// `/admin/v1`.
    Admin,
    /// `/approvals`.
    Approvals,
}

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The request was granted.
    Ok,
    /// The request was refused.
    Refused,
    /// The request was rejected for now: too many requests or failed attempts.
    Limited,
    /// The request could not be served because of an outage.
    Unavailable,
    /// The parameters of the request were not read.
    Unreadable,
    /// The client disconnected before the response.
    Abandoned,
}

/// The decision on a request.
#[derive(Debug, Clone, Copy)]
pub struct Decision {
    /// The outcome of the request.
    pub outcome: RequestOutcome,
    /// The stable name of the reason; listed in `docs/audit.md`.
    pub reason: Option<&'static str>,
}

/// A listener of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The listener for agents.
    Public,
    /// The listener for operators.
    Admin,
}

/// An open connection. It counts as open until this value is dropped.
#[derive(Debug)]
pub struct OpenConnection {
    metrics: Metrics,
    listener: Listener,
}

impl Endpoint {
    /// All endpoints, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Token, Self::Introspect, Self::Revoke, Self::Admin];

    /// Returns the name of the endpoint in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Admin => "admin",
            Self::Approvals => "approvals",
        }
    }
}

impl RequestOutcome {
    /// Returns the name of the outcome in metrics and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Unavailable => "unavailable",
            Self::Unreadable => "unreadable",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Decision {
    /// Returns the name of the reason in metrics and traces.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason.unwrap_or("none")
    }
}

impl Listener {
    /// Returns the name of the listener in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

impl Metrics {
    /// Creates metrics with all counts at zero.
    #[must_use]
    pub fn new() -> Self {
        let recorder = recorder();
        let ok = |endpoint: Endpoint, grant: GrantKind| {
            let labels = request_labels(endpoint, grant, RequestOutcome::Ok, "none");
            recorder.register_counter(&key(&catalog::REQUESTS, labels), &METADATA)
        };
        let none: [&str; 0] = [];
        let counter = |metric: &Metric| recorder.register_counter(&key(metric, none), &METADATA);
        let histogram =
            |metric: &Metric, label: Option<&'static str>| recorder.register_histogram(&key(metric, label), &METADATA);
        let inner = Inner {
            handle: recorder.handle(),
            exchanged: ok(Endpoint::Token, GrantKind::TokenExchange),
            service_accounts: ok(Endpoint::Token, GrantKind::ClientCredentials),
            introspected: ok(Endpoint::Introspect, GrantKind::None),
            revoked: ok(Endpoint::Revoke, GrantKind::None),
            requests: Endpoint::ALL.map(|endpoint| histogram(&catalog::REQUEST_DURATION, Some(endpoint.name()))),
            steps: Step::ALL.map(|step| histogram(&catalog::STEP_DURATION, Some(step.name()))),
            batch: histogram(&catalog::RECORDER_BATCH, None),
            commit: histogram(&catalog::RECORDER_COMMIT, None),
            commit_failures: counter(&catalog::RECORDER_FAILURES),
            follow_failures: counter(&catalog::FOLLOW_FAILURES),
            trace_failures: counter(&catalog::TRACE_FAILURES),
            notices: NoticeOutcome::ALL.map(|outcome| {
                recorder.register_counter(&key(&catalog::APPROVAL_NOTICES, [outcome.name()]), &METADATA)
            }),
            connections: Default::default(),
            turned_away: [Listener::Public, Listener::Admin].map(|listener| {
                let key = key(&catalog::CONNECTIONS_TURNED_AWAY, [listener.name()]);
                recorder.register_counter(&key, &METADATA)
            }),
            log_limit: LogLimit::new(),
            recorder,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Counts a request that was answered or abandoned.
    pub fn request(&self, endpoint: Endpoint, decision: Decision, trail: &Trail, took: Duration) {
        let inner = &*self.inner;
        if let Some(requests) = inner.requests.get(endpoint as usize) {
            requests.record(took);
        }
        if endpoint == Endpoint::Token {
            for (time, step) in trail.steps(took).filter_map(|time| Some((time, inner.steps.get(time.step as usize)?)))
            {
                step.record(time.took);
            }
        }
        match (decision.outcome, endpoint, trail.grant()) {
            (RequestOutcome::Ok, Endpoint::Token, GrantKind::TokenExchange) => inner.exchanged.increment(1),
            (RequestOutcome::Ok, Endpoint::Token, GrantKind::ClientCredentials) => inner.service_accounts.increment(1),
            (RequestOutcome::Ok, Endpoint::Introspect, _) => inner.introspected.increment(1),
            (RequestOutcome::Ok, Endpoint::Revoke, _) => inner.revoked.increment(1),
            (outcome, endpoint, grant) => {
                let labels = request_labels(endpoint, grant, outcome, decision.reason());
                inner.recorder.register_counter(&key(&catalog::REQUESTS, labels), &METADATA).increment(1);
            }
        }
    }

    /// Counts a transaction of the recorder and its `decisions`.
    pub fn batch(&self, decisions: usize, took: Duration) {
        self.inner.batch.record(u32::try_from(decisions).unwrap_or(u32::MAX));
        self.inner.commit.record(took);
    }

    /// Counts a failed transaction of the recorder.
    pub fn batch_failed(&self) {
        self.inner.commit_failures.increment(1);
    }

    /// Counts a failure to follow the database.
    pub fn follow_failed(&self) {
        self.inner.follow_failures.increment(1);
    }

    /// Counts a batch of traces that the collector did not accept.
    pub fn trace_failed(&self) {
        self.inner.trace_failures.increment(1);
    }

    /// Counts a notice of an approval.
    pub fn notice(&self, outcome: NoticeOutcome) {
        if let Some(notices) = self.inner.notices.get(outcome as usize) {
            notices.increment(1);
        }
    }

    /// Returns the limit on repeated log lines. Suppressed requests still count in the metrics.
    #[must_use]
    pub fn log_limit(&self) -> &LogLimit {
        &self.inner.log_limit
    }

    /// Counts a new connection that was closed because its source has reached its limit.
    pub fn turned_away(&self, listener: Listener) {
        if let Some(turned_away) = self.inner.turned_away.get(listener as usize) {
            turned_away.increment(1);
        }
    }

    /// Counts an accepted connection as open until the returned value is dropped.
    #[must_use]
    pub fn connected(&self, listener: Listener) -> OpenConnection {
        self.change_connections(listener, 1);
        OpenConnection { metrics: self.clone(), listener }
    }

    /// Sets a gauge; `labels` are the values of its labels, in the order of [`Metric::labels`].
    pub fn set(&self, gauge: &Metric, labels: &[&str], value: f64) {
        self.inner.recorder.register_gauge(&key(gauge, owned(labels)), &METADATA).set(value);
    }

    /// Raises a counter to a total that was counted elsewhere.
    pub fn total(&self, counter: &Metric, labels: &[&str], total: u64) {
        self.inner.recorder.register_counter(&key(counter, owned(labels)), &METADATA).absolute(total);
    }

    /// Returns all metrics as text (version 0.0.4). Gauges have the values that were last set.
    #[must_use]
    pub fn render(&self) -> String {
        #[cfg(target_os = "linux")]
        self.observe_process();
        self.set(&catalog::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        for (listener, open) in [Listener::Public, Listener::Admin].into_iter().zip(&self.inner.connections) {
            let open = i32::try_from(open.load(Ordering::Relaxed)).unwrap_or(i32::MAX);
            self.set(&catalog::CONNECTIONS, &[listener.name()], f64::from(open));
        }
        self.inner.handle.render()
    }

    #[cfg(target_os = "linux")]
    fn observe_process(&self) {
        let Ok(process) = super::process::ProcessState::read() else { return };
        self.total(&catalog::PROCESS_CPU, &[], process.cpu_seconds);
        self.set(&catalog::PROCESS_RESIDENT_MEMORY, &[], process.resident_bytes as f64);
        for (gauge, value) in [
            (&catalog::PROCESS_START_TIME, process.started),
            (&catalog::PROCESS_OPEN_FDS, process.open_fds.map(|open| open as f64)),
            (&catalog::PROCESS_MAX_FDS, process.max_fds.map(|most| most as f64)),
        ] {
            if let Some(value) = value {
                self.set(gauge, &[], value);
            }
        }
    }

    /// Sorts recorded values into buckets. Call this periodically, because every value is kept
    /// until then.
    pub fn upkeep(&self) {
        self.inner.handle.run_upkeep();
    }

    fn change_connections(&self, listener: Listener, by: i64) {
        if let Some(open) = self.inner.connections.get(listener as usize) {
            open.fetch_add(by, Ordering::Relaxed);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.metrics.change_connections(self.listener, -1);
    }
}

fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(FORGET_GAUGES_AFTER));
    for metric in METRICS {
        if let MetricKind::Histogram(buckets) = metric.kind {
            #[expect(clippy::expect_used, reason = "it fails only without buckets, and the list of metrics has some")]
            let with_buckets = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                .expect("a histogram has buckets");
            builder = with_buckets;
        }
    }
    let recorder = builder.build_recorder();
    for metric in METRICS {
        let (name, doc) = (KeyName::from_const_str(metric.name), metric.doc.into());
        match metric.kind {
            MetricKind::Counter => recorder.describe_counter(name, None, doc),
            MetricKind::Gauge => recorder.describe_gauge(name, None, doc),
            MetricKind::Histogram(_) => recorder.describe_histogram(name, None, doc),
        }
    }
    recorder
}

fn request_labels(
    endpoint: Endpoint,
    grant: GrantKind,
    outcome: RequestOutcome,
    reason: &'static str,
) -> [&'static str; 4] {
    [endpoint.name(), grant.name(), outcome.name(), reason]
}

fn key(metric: &Metric, values: impl IntoIterator<Item = impl Into<SharedString>>) -> Key {
    let labels = metric.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

fn owned(values: &[&str]) -> impl Iterator<Item = String> {
    values.iter().map(|value| (*value).to_owned())
}
