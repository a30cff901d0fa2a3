//! The comparison of this server's clock with the database's clock.
//!
//! Replicas share times that the database holds: the expiry of single-use values and revocations,
//! and the start of a signing key. A server whose clock is far from the database's clock would
//! decide by a different time than all others.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// The maximum difference of the two clocks.
const MOST_APART: SignedDuration = SignedDuration::from_secs(60);

/// The database's clock, compared with the clock of this server.
#[derive(Debug)]
pub(super) struct DatabaseClock {
    is_far_apart: AtomicBool,
    /// The time of the database's last answer, in milliseconds since the epoch.
    read_at: AtomicI64,
    /// The time by which the database's clock was ahead at that answer, in milliseconds.
    ahead: AtomicI64,
}

impl DatabaseClock {
    /// Returns the clock of a database that answered at this time.
    pub(super) fn new(read_at: Timestamp) -> Self {
        Self {
            is_far_apart: AtomicBool::new(false),
            read_at: AtomicI64::new(read_at.as_millisecond()),
            ahead: AtomicI64::new(0),
        }
    }

    /// Returns the time since the database's last answer, in milliseconds.
    pub(super) fn silence(&self, now: Timestamp) -> i64 {
        now.as_millisecond() - self.read_at.load(Ordering::Relaxed)
    }

    /// Returns the time by which the database's clock was ahead at its last answer, in
    /// milliseconds.
    pub(super) fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Compares the database's time with our times before and after the query. Logs a change of the
    /// result.
    pub(super) fn compare(&self, database: Timestamp, [before, after]: [Timestamp; 2]) {
        self.read_at.store(after.as_millisecond(), Ordering::Relaxed);
        self.ahead.store(database.as_millisecond() - after.as_millisecond(), Ordering::Relaxed);
        let apart = apart(database, [before, after]);
        let is_far = apart.abs() > MOST_APART;
        if self.is_far_apart.swap(is_far, Ordering::AcqRel) == is_far {
            return;
        }
        let seconds_ahead = apart.as_secs();
        if is_far {
            tracing::error!(
                seconds_ahead,
                "the clocks of this server and of the database differ by more than 60 s: not ready"
            );
        } else {
            tracing::info!(seconds_ahead, "the clocks of this server and of the database agree again");
        }
    }

    /// Returns true if the two clocks are too far apart to serve.
    pub(super) fn is_far_apart(&self) -> bool {
        self.is_far_apart.load(Ordering::Acquire)
    }
}

/// Returns the minimum time by which our clock is ahead. The database read its clock at some moment
/// between our two readings.
fn apart(database: Timestamp, [before, after]: [Timestamp; 2]) -> SignedDuration {
    if database < before {
        before.duration_since(database)
    } else if database > after {
        after.duration_since(database)
    } else {
        SignedDuration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_apart_is_borne_and_no_more() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let clock = DatabaseClock::new(at(1000));
        for (database, is_far_apart) in
            [(1000, false), (940, false), (939, true), (1000, false), (1065, false), (1066, true), (1003, false)]
        {
            clock.compare(at(database), [at(1000), at(1005)]);
            assert_eq!(clock.is_far_apart(), is_far_apart, "{database}");
        }
    }
}
