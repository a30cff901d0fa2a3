//! What the requests of a scenario came to, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// The counts of a scenario that runs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that were sent.
    pub sent: AtomicU64,
    /// Refusals that were owed.
    pub refused: AtomicU64,
    /// 503.
    pub outages: AtomicU64,
    /// 429.
    pub limited: AtomicU64,
    /// Requests to which no answer began.
    pub unanswered: AtomicU64,
    /// Answers that ended before their end.
    pub truncated: AtomicU64,
    /// Requests that were sent again to another server, and answered there.
    pub elsewhere: AtomicU64,
}

/// The counts of a scenario that is over.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counts {
    /// Requests that were sent.
    pub sent: u64,
    /// Refusals that were owed.
    pub refused: u64,
    /// 503.
    pub outages: u64,
    /// 429.
    pub limited: u64,
    /// Requests to which no answer began.
    pub unanswered: u64,
    /// Answers that ended before their end.
    pub truncated: u64,
    /// Requests that were sent again to another server, and answered there.
    pub elsewhere: u64,
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            sent: read(&self.sent),
            refused: read(&self.refused),
            outages: read(&self.outages),
            limited: read(&self.limited),
            unanswered: read(&self.unanswered),
            truncated: read(&self.truncated),
            elsewhere: read(&self.elsewhere),
        }
    }
}
