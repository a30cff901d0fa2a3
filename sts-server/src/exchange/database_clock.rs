//! Whether this server and its database agree about the time.
//!
//! Replicas share what the database holds: when a value may be spent again, when a revocation ends, since when a key signs. One whose
//! clock lies far from the database's would decide by another time than all others.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};

/// How far the two clocks may lie apart.
const MOST_APART: SignedDuration = SignedDuration::from_secs(60);

/// What is known of the database's clock.
#[derive(Debug, Default)]
pub(super) struct DatabaseClock {
    is_far_apart: AtomicBool,
}

impl DatabaseClock {
    /// Compares the database's time with ours before and after it was asked, and logs when that changes anything.
    pub(super) fn compare(&self, database: Timestamp, [before, after]: [Timestamp; 2]) {
        let apart = apart(database, [before, after]);
        let is_far = apart.abs() > MOST_APART;
        if self.is_far_apart.swap(is_far, Ordering::AcqRel) == is_far {
            return;
        }
        let seconds_ahead = apart.as_secs();
        if is_far {
            tracing::error!(
                seconds_ahead,
                "the clock of this server and that of the database lie more than 60 s apart: not ready"
            );
        } else {
            tracing::info!(seconds_ahead, "the clock of this server and that of the database agree again");
        }
    }

    /// Whether the two lie too far apart to go on.
    pub(super) fn is_far_apart(&self) -> bool {
        self.is_far_apart.load(Ordering::Acquire)
    }
}

/// How far ours is ahead, at the least: the database read its clock at some moment between our two.
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
        let clock = DatabaseClock::default();
        for (database, is_far_apart) in
            [(1000, false), (940, false), (939, true), (1000, false), (1065, false), (1066, true), (1003, false)]
        {
            clock.compare(at(database), [at(1000), at(1005)]);
            assert_eq!(clock.is_far_apart(), is_far_apart, "{database}");
        }
    }
}
