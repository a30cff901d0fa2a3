//! What is counted, and how `/metrics` shows it.
//!
//! Each server has a recorder of its own, so that two in one process do not count for each other. What the hot path counts was looked
//! up once, at the start. Gauges are set when somebody asks: one that nobody sets any more, such as that of an issuer that is gone,
//! is forgotten.

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

/// How long a gauge that nobody sets is shown.
const FORGET_GAUGES_AFTER: Duration = Duration::from_secs(60);

/// The metrics of one server. Clones count together.
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
    connections: [AtomicI64; 2],
    turned_away: [Counter; 2],
    log_limit: LogLimit,
}

/// An endpoint that decides.
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
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It got what it asked for.
    Ok,
    /// It was refused.
    Refused,
    /// It was turned away for now: too many requests or failed attempts.
    Limited,
    /// It could not be served: an outage.
    Unavailable,
    /// Nobody read its parameters.
    Unreadable,
    /// The requester went away before there was an answer.
    Abandoned,
}

/// What a request was decided to be.
#[derive(Debug, Clone, Copy)]
pub struct Decision {
    /// What became of it.
    pub outcome: RequestOutcome,
    /// The stable name of why; one of `docs/audit.md`.
    pub reason: Option<&'static str>,
}

/// A listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// That for agents.
    Public,
    /// That for operators.
    Admin,
}

/// A connection counts as open until this is dropped.
#[derive(Debug)]
pub struct OpenConnection {
    metrics: Metrics,
    listener: Listener,
}

impl Endpoint {
    /// All endpoints.
    pub const ALL: [Self; 4] = [Self::Token, Self::Introspect, Self::Revoke, Self::Admin];

    /// The endpoint as metrics and logs name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Admin => "admin",
        }
    }
}

impl RequestOutcome {
    /// The outcome as metrics and traces name it.
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
    /// The reason as metrics and traces name it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason.unwrap_or("none")
    }
}

impl Listener {
    /// The listener as metrics name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }
}

impl Metrics {
    /// Metrics of which nothing has been counted yet.
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

    /// A request has been answered, or given up.
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

    /// The recorder ran a transaction of so many decisions.
    pub fn batch(&self, decisions: usize, took: Duration) {
        self.inner.batch.record(u32::try_from(decisions).unwrap_or(u32::MAX));
        self.inner.commit.record(took);
    }

    /// A transaction of the recorder failed.
    pub fn batch_failed(&self) {
        self.inner.commit_failures.increment(1);
    }

    /// The database could not be followed.
    pub fn follow_failed(&self) {
        self.inner.follow_failures.increment(1);
    }

    /// A batch of traces was not taken.
    pub fn trace_failed(&self) {
        self.inner.trace_failures.increment(1);
    }

    /// The bound on log lines that repeat; beside the metrics, which count each request.
    #[must_use]
    pub fn log_limit(&self) -> &LogLimit {
        &self.inner.log_limit
    }

    /// A new connection was turned away, for its source has as many as it may.
    pub fn turned_away(&self, listener: Listener) {
        if let Some(turned_away) = self.inner.turned_away.get(listener as usize) {
            turned_away.increment(1);
        }
    }

    /// A connection has been accepted.
    #[must_use]
    pub fn connected(&self, listener: Listener) -> OpenConnection {
        self.change_connections(listener, 1);
        OpenConnection { metrics: self.clone(), listener }
    }

    /// Sets a gauge; `labels` are the values of its labels, in the order of [`Metric::labels`].
    pub fn set(&self, gauge: &Metric, labels: &[&str], value: f64) {
        self.inner.recorder.register_gauge(&key(gauge, owned(labels)), &METADATA).set(value);
    }

    /// Brings a counter up to a total that somebody else has counted.
    pub fn total(&self, counter: &Metric, labels: &[&str], total: u64) {
        self.inner.recorder.register_counter(&key(counter, owned(labels)), &METADATA).absolute(total);
    }

    /// All metrics as text (version 0.0.4). Gauges are as they were set last.
    #[must_use]
    pub fn render(&self) -> String {
        self.set(&catalog::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        for (listener, open) in [Listener::Public, Listener::Admin].into_iter().zip(&self.inner.connections) {
            let open = i32::try_from(open.load(Ordering::Relaxed)).unwrap_or(i32::MAX);
            self.set(&catalog::CONNECTIONS, &[listener.name()], f64::from(open));
        }
        self.inner.handle.render()
    }

    /// Sorts what was measured into buckets; to be called now and then, for until then every value is kept.
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
