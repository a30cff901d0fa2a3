//! Whether the database commits, by the attempts of the recorder.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::Stopwatch;

/// The time without a successful commit after which decisions are rejected at once.
pub(super) const STALLED_AFTER: Duration = Duration::from_secs(5);

/// The state of commits. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Commits(Arc<Attempts>);

#[derive(Debug)]
struct Attempts {
    clock: Stopwatch,
    /// The milliseconds of `clock`, plus one, at the first attempt since the last success. Zero if
    /// the last attempt succeeded.
    unconfirmed_since: AtomicU64,
}

impl Commits {
    pub(super) fn new() -> Self {
        Self(Arc::new(Attempts { clock: Stopwatch::start(), unconfirmed_since: AtomicU64::new(0) }))
    }

    /// Notes that an attempt begins.
    pub(super) fn attempted(&self) {
        let now = self.now().saturating_add(1);
        // An earlier attempt that failed, or still runs, keeps its time.
        let _ = self.0.unconfirmed_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that an attempt succeeded.
    pub(super) fn succeeded(&self) {
        self.0.unconfirmed_since.store(0, Ordering::Relaxed);
    }

    /// Returns true if the last attempt failed, or one is running.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.0.unconfirmed_since.load(Ordering::Relaxed) != 0
    }

    /// Returns the remaining time until decisions are rejected at once, if the present attempt does
    /// not succeed.
    pub(super) fn remaining(&self) -> Duration {
        match self.0.unconfirmed_since.load(Ordering::Relaxed) {
            0 => STALLED_AFTER,
            since => STALLED_AFTER.saturating_sub(Duration::from_millis(self.now().saturating_sub(since - 1))),
        }
    }

    /// Returns true if no commit has succeeded for [`STALLED_AFTER`], although some were attempted.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_unconfirmed() && self.remaining().is_zero()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
