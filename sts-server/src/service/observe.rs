//! The gauges of the service, updated when the metrics are read.

use jiff::Timestamp;
use sts_jose::KeySetHealth;

use super::Sts;
use crate::registry::SOON;
use crate::storage::{ApprovalState, EntryKind};
use crate::telemetry::catalog;

/// The silence after which the database counts as unreachable, in milliseconds.
const UP_MILLISECONDS: i64 = 5_000;

impl Sts {
    /// Sets the gauges to the present values. Costs no I/O.
    pub fn observe(&self) {
        let (snapshot, metrics, now) = (self.snapshot(), &self.metrics, self.now());
        metrics.set(&catalog::SNAPSHOT_AGE, &[], seconds(self.snapshot_age().max(0)));
        metrics.set(
            &catalog::DATABASE_UP,
            &[],
            f64::from(u8::from(self.database_clock.silence(now) < UP_MILLISECONDS)),
        );
        metrics.set(&catalog::DATABASE_CLOCK_OFFSET, &[], seconds(self.database_clock.ahead()));
        let versions = [
            ("registry", snapshot.registry.version()),
            ("keys", snapshot.ring.version()),
            ("revocations", snapshot.revocations.version()),
        ];
        for (part, version) in versions {
            metrics.set(&catalog::SNAPSHOT_VERSION, &[part], version.counter as f64);
        }
        metrics.set(&catalog::REVOCATIONS, &[], snapshot.revocations.count() as f64);
        metrics.set(&catalog::RECORDER_QUEUE, &[], self.recorder.waiting() as f64);
        metrics.set(&catalog::RECORDER_QUEUE_LIMIT, &[], self.recorder.limit() as f64);
        metrics.set(&catalog::CONNECTIONS_LIMIT, &["public"], self.limits.connections as f64);
        metrics.set(&catalog::CONNECTIONS_LIMIT, &["admin"], self.limits.admin_connections() as f64);
        metrics.set(&catalog::ROTATE_EVERY, &[], self.rotate_every.as_seconds() as f64);
        self.observe_expiries(now);
        self.observe_approvals(now);
        self.observe_signing_keys(now);
        self.observe_issuers(now);
    }

    fn observe_expiries(&self, now: Timestamp) {
        let snapshot = self.snapshot();
        let left = |(kind, at): (EntryKind, Timestamp)| (kind, at.duration_since(now));
        let expiries = || snapshot.registry.expiries().map(left).filter(|(_, left)| left.is_positive());
        if let Some(next) = expiries().map(|(_, left)| left).min() {
            self.metrics.set(&catalog::REGISTRY_NEXT_EXPIRY, &[], next.as_secs_f64());
        }
        for kind in [EntryKind::Agent, EntryKind::Delegation] {
            let count = expiries().filter(|(of, left)| *of == kind && *left <= SOON).count();
            self.metrics.set(&catalog::REGISTRY_EXPIRING, &[kind.as_str()], count as f64);
        }
    }

    fn observe_approvals(&self, now: Timestamp) {
        let snapshot = self.snapshot();
        let states: Vec<ApprovalState> = snapshot.approvals.iter().map(|approval| approval.state_at(now)).collect();
        for state in ApprovalState::ALL {
            let count = states.iter().filter(|known| **known == state).count();
            self.metrics.set(&catalog::APPROVALS, &[state.as_str()], count as f64);
        }
        let pending = snapshot.approvals.iter().filter(|approval| approval.state_at(now) == ApprovalState::Pending);
        let oldest = pending.map(|approval| approval.row().requested_at).min().unwrap_or(now);
        let waited = now.as_millisecond() - oldest.as_millisecond();
        self.metrics.set(&catalog::APPROVALS_OLDEST, &[], seconds(waited.max(0)));
    }

    fn observe_signing_keys(&self, now: Timestamp) {
        let snapshot = self.snapshot();
        for life in snapshot.ring.lives() {
            let algorithm = life.algorithm.to_string();
            let labels = [algorithm.as_str(), life.state.as_str()];
            self.metrics.set(&catalog::SIGNING_KEYS, &labels, life.keys as f64);
            let age = now.as_millisecond() - life.oldest_since.as_millisecond();
            self.metrics.set(&catalog::SIGNING_KEY_AGE, &labels, seconds(age.max(0)));
        }
    }

    fn observe_issuers(&self, now: Timestamp) {
        let snapshot = self.snapshot();
        for (issuer, KeySetHealth { fetched_at, failing, forced_refetches, fetches, lost_keys }) in
            snapshot.trusted.issuer_health()
        {
            if let Some(fetched_at) = fetched_at {
                let age = now.as_millisecond() - fetched_at.as_millisecond();
                self.metrics.set(&catalog::ISSUER_KEYS_AGE, &[issuer], seconds(age.max(0)));
            }
            self.metrics.set(&catalog::ISSUER_KEYS_FAILING, &[issuer], f64::from(u8::from(failing)));
            self.metrics.total(&catalog::ISSUER_KEYS_FETCHES, &[issuer], fetches);
            self.metrics.total(&catalog::ISSUER_KEYS_FORCED, &[issuer], forced_refetches);
            self.metrics.set(&catalog::ISSUER_KEYS_LOST, &[issuer], lost_keys as f64);
        }
        self.metrics.set(&catalog::AGENT_KEYS_FAILING, &[], snapshot.trusted.failing_agents() as f64);
    }
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
