//! The list of all metrics. Tests check `docs/metrics.md`, and the dashboard and alerts in
//! `deploy/`, against it.

use MetricKind::{Counter, Gauge, Histogram};

/// A metric served at `/metrics`.
#[derive(Debug)]
pub struct Metric {
    /// The name with its unit, by the conventions of Prometheus.
    pub name: &'static str,
    /// The kind of the metric.
    pub kind: MetricKind,
    /// The names of the labels; every label has a bounded set of values.
    pub labels: &'static [&'static str],
    /// The description for operators.
    pub doc: &'static str,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// A value that only grows, from zero at the start of the process.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// A distribution, in buckets with these upper bounds.
    Histogram(&'static [f64]),
}

impl MetricKind {
    /// Returns the Prometheus name of the kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Buckets from the time of a request served from memory to the longest time that a client waits.
const REQUEST_SECONDS: &[f64] =
    &[0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets for a step, which may take a hundredth of its request.
const STEP_SECONDS: &[f64] = &[
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5, 5.0,
];
/// Buckets for a batch, which holds at most 256 decisions.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

pub(crate) static BUILD_INFO: Metric =
    metric("sts_build_info", Gauge, &["version"], "Always 1. The label is the version of the program.");
pub(crate) static REQUESTS: Metric = metric(
    "sts_requests_total",
    Counter,
    &["endpoint", "grant", "outcome", "reason"],
    "Answered requests. `endpoint` is `token`, `introspect`, `revoke`, `admin` or `approvals`; `grant` is `token_exchange`, `client_credentials`, `other`, or `none` where none is known; `outcome` is `ok`, `refused`, `limited` (429), `unavailable` (503), `unreadable` (the parameters were not read) or `abandoned` (the client disconnected); `reason` is one of docs/audit.md, or `none`.",
);
pub(crate) static REQUEST_DURATION: Metric = metric(
    "sts_request_duration_seconds",
    Histogram(REQUEST_SECONDS),
    &["endpoint"],
    "Duration of requests, from the head to the answer.",
);
pub(crate) static STEP_DURATION: Metric = metric(
    "sts_step_duration_seconds",
    Histogram(STEP_SECONDS),
    &["step"],
    "Duration of each step of the token endpoint. A refused request counts for the steps that it reached. `step` is `form`, `client_auth`, `request`, `subject`, `actor`, `policy`, `mint` or `record`.",
);
pub(crate) static RECORDER_BATCH: Metric =
    metric("sts_recorder_batch_decisions", Histogram(BATCH), &[], "Decisions in one transaction of the recorder.");
pub(crate) static RECORDER_COMMIT: Metric = metric(
    "sts_recorder_commit_duration_seconds",
    Histogram(REQUEST_SECONDS),
    &[],
    "Duration of the transactions of the recorder, including failed ones.",
);
pub(crate) static RECORDER_FAILURES: Metric = metric(
    "sts_recorder_failures_total",
    Counter,
    &[],
    "Failed transactions of the recorder. Their requests got 503, and a new audit chain began.",
);
pub(crate) static RECORDER_QUEUE: Metric =
    metric("sts_recorder_queue_decisions", Gauge, &[], "Decisions waiting for the recorder.");
pub(crate) static RECORDER_QUEUE_LIMIT: Metric = metric(
    "sts_recorder_queue_limit_decisions",
    Gauge,
    &[],
    "Maximum of waiting decisions; a request beyond it gets 429.",
);
pub(crate) static DATABASE_UP: Metric =
    metric("sts_database_up", Gauge, &[], "1 if the database answered within the last 5 seconds, else 0.");
pub(crate) static DATABASE_CLOCK_OFFSET: Metric = metric(
    "sts_database_clock_offset_seconds",
    Gauge,
    &[],
    "Time by which the database's clock was ahead of this server's at its last answer; negative if behind.",
);
pub(crate) static SNAPSHOT_AGE: Metric = metric(
    "sts_snapshot_age_seconds",
    Gauge,
    &[],
    "Time since this server last confirmed that its snapshot matches the database.",
);
pub(crate) static SNAPSHOT_VERSION: Metric = metric(
    "sts_snapshot_version",
    Gauge,
    &["part"],
    "Change counter of the snapshot of this server. It is equal on all servers that are up to date. `part` is `registry`, `keys` or `revocations`.",
);
pub(crate) static FOLLOW_FAILURES: Metric =
    metric("sts_follow_failures_total", Counter, &[], "Failed attempts to follow changes in the database.");
pub(crate) static REVOCATIONS: Metric =
    metric("sts_revocations", Gauge, &[], "Revocations in the snapshot of this server.");
pub(crate) static REGISTRY_NEXT_EXPIRY: Metric = metric(
    "sts_registry_next_expiry_seconds",
    Gauge,
    &[],
    "Time until the next enabled agent or delegation expires. Absent if none will.",
);
pub(crate) static REGISTRY_EXPIRING: Metric = metric(
    "sts_registry_expiring",
    Gauge,
    &["kind"],
    "Enabled entries that expire within 14 days. `kind` is `agent` or `delegation`.",
);
pub(crate) static APPROVALS: Metric = metric(
    "sts_approvals",
    Gauge,
    &["state"],
    "Approvals in the snapshot of this server. Closed ones are kept for a day. `state` is `pending`, `granted`, `denied`, `withdrawn`, `expired` or `ended`.",
);
pub(crate) static APPROVALS_OLDEST: Metric = metric(
    "sts_approvals_oldest_seconds",
    Gauge,
    &[],
    "Time that the oldest pending approval has waited for a decision; 0 without one.",
);
pub(crate) static APPROVAL_NOTICES: Metric = metric(
    "sts_approval_notices_total",
    Counter,
    &["outcome"],
    "Notices of waiting approvals to `approvals.notify_url`. `outcome` is `sent`, `failed` (the receiver did not take it) or `dropped` (too many waited, or the approval had ended).",
);
pub(crate) static SIGNING_KEYS: Metric = metric(
    "sts_signing_keys",
    Gauge,
    &["algorithm", "state"],
    "Signing keys of the service. `state` is `next`, `active` or `retired`.",
);
pub(crate) static SIGNING_KEY_AGE: Metric = metric(
    "sts_signing_key_age_seconds",
    Gauge,
    &["algorithm", "state"],
    "Time that the oldest of these keys has been in its state; for an active key, the time it has signed.",
);
pub(crate) static ROTATE_EVERY: Metric = metric(
    "sts_signing_key_rotation_seconds",
    Gauge,
    &[],
    "Value of `keys.rotate_every`. An active key that is much older is not rotated.",
);
pub(crate) static ISSUER_KEYS_AGE: Metric = metric(
    "sts_issuer_keys_age_seconds",
    Gauge,
    &["issuer"],
    "Time since the keys of an outside issuer were read, or their file found unchanged. Absent if they were never read, or are in the registry.",
);
pub(crate) static ISSUER_KEYS_FAILING: Metric = metric(
    "sts_issuer_keys_failing",
    Gauge,
    &["issuer"],
    "1 if the last read of the keys of an outside issuer failed, or none of them is usable, else 0.",
);
pub(crate) static ISSUER_KEYS_FETCHES: Metric =
    metric("sts_issuer_keys_fetches_total", Counter, &["issuer"], "Fetches of the keys of an outside issuer.");
pub(crate) static ISSUER_KEYS_FORCED: Metric = metric(
    "sts_issuer_keys_forced_fetches_total",
    Counter,
    &["issuer"],
    "Fetches that an unknown `kid`, or an unknown authority of an X.509-SVID, forced.",
);
pub(crate) static ISSUER_KEYS_LOST: Metric = metric(
    "sts_issuer_keys_lost",
    Gauge,
    &["issuer"],
    "Published keys of an outside issuer that are not usable. The log names each of them.",
);
pub(crate) static AGENT_KEYS_FAILING: Metric =
    metric("sts_agent_keys_failing", Gauge, &[], "Agents for which the last read of their own keys failed.");
pub(crate) static CONNECTIONS: Metric =
    metric("sts_connections", Gauge, &["listener"], "Open connections. `listener` is `public` or `admin`.");
pub(crate) static CONNECTIONS_LIMIT: Metric =
    metric("sts_connections_limit", Gauge, &["listener"], "Maximum of open connections of a listener.");
pub(crate) static CONNECTIONS_TURNED_AWAY: Metric = metric(
    "sts_connections_turned_away_total",
    Counter,
    &["listener"],
    "New connections that were closed at once, because their source has its maximum of connections and none is idle.",
);
pub(crate) static TRACE_FAILURES: Metric =
    metric("sts_trace_export_failures_total", Counter, &[], "Batches of traces that the receiver did not accept.");

pub(crate) static CERTIFICATE_EXPIRES: Metric = metric(
    "sts_certificate_expires_timestamp_seconds",
    Gauge,
    &[],
    "Time at which the served certificate expires, in seconds since 1970. Absent without TLS.",
);
pub(crate) static CERTIFICATE_LIFETIME: Metric = metric(
    "sts_certificate_lifetime_seconds",
    Gauge,
    &[],
    "Time for which that certificate is valid in all. Absent without TLS.",
);
pub(crate) static PROCESS_CPU: Metric = metric(
    "process_cpu_seconds_total",
    Counter,
    &[],
    "CPU time of the process, user and system, in whole seconds. Linux only.",
);
pub(crate) static PROCESS_RESIDENT_MEMORY: Metric =
    metric("process_resident_memory_bytes", Gauge, &[], "Resident memory of the process. Linux only.");
pub(crate) static PROCESS_START_TIME: Metric = metric(
    "process_start_time_seconds",
    Gauge,
    &[],
    "Start of the process, in seconds since 1970. Linux only, and not where `ProcSubset=pid` of systemd hides `/proc/stat`.",
);
pub(crate) static PROCESS_OPEN_FDS: Metric =
    metric("process_open_fds", Gauge, &[], "Open file descriptors of the process. Linux only.");
pub(crate) static PROCESS_MAX_FDS: Metric = metric(
    "process_max_fds",
    Gauge,
    &[],
    "Maximum of open file descriptors (`ulimit -n`). Absent if there is none. Linux only.",
);

/// All metrics, in the order of `docs/metrics.md`.
pub static METRICS: &[&Metric] = &[
    &BUILD_INFO,
    &REQUESTS,
    &REQUEST_DURATION,
    &STEP_DURATION,
    &RECORDER_BATCH,
    &RECORDER_COMMIT,
    &RECORDER_FAILURES,
    &RECORDER_QUEUE,
    &RECORDER_QUEUE_LIMIT,
    &DATABASE_UP,
    &DATABASE_CLOCK_OFFSET,
    &SNAPSHOT_AGE,
    &SNAPSHOT_VERSION,
    &FOLLOW_FAILURES,
    &REVOCATIONS,
    &REGISTRY_NEXT_EXPIRY,
    &REGISTRY_EXPIRING,
    &APPROVALS,
    &APPROVALS_OLDEST,
    &APPROVAL_NOTICES,
    &SIGNING_KEYS,
    &SIGNING_KEY_AGE,
    &ROTATE_EVERY,
    &ISSUER_KEYS_AGE,
    &ISSUER_KEYS_FAILING,
    &ISSUER_KEYS_FETCHES,
    &ISSUER_KEYS_FORCED,
    &ISSUER_KEYS_LOST,
    &AGENT_KEYS_FAILING,
    &CONNECTIONS,
    &CONNECTIONS_LIMIT,
    &CONNECTIONS_TURNED_AWAY,
    &TRACE_FAILURES,
    &CERTIFICATE_EXPIRES,
    &CERTIFICATE_LIFETIME,
    &PROCESS_CPU,
    &PROCESS_RESIDENT_MEMORY,
    &PROCESS_START_TIME,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
];

const fn metric(name: &'static str, kind: MetricKind, labels: &'static [&'static str], doc: &'static str) -> Metric {
    Metric { name, kind, labels, doc }
}
