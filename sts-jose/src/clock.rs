//! Time, passed in. No other code in the workspace may read the time from the operating system.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// A source of the current time.
///
/// ```
/// use jiff::{SignedDuration, Timestamp};
/// use sts_jose::{Clock, SystemClock};
///
/// /// A clock that is a minute behind, to test the tolerance of a service.
/// #[derive(Debug)]
/// struct Behind;
///
/// impl Clock for Behind {
///     fn now(&self) -> Timestamp {
///         SystemClock.now() - SignedDuration::from_mins(1)
///     }
/// }
/// ```
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// Returns the current time. It may step backwards between two calls.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system. It is the only reader of the real time.
///
/// ```
/// use sts_jose::{Clock as _, SystemClock};
///
/// assert!(SystemClock.now() > jiff::Timestamp::UNIX_EPOCH);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the real clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock for tests that changes only when it is set. Clones share one time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<Mutex<Timestamp>>,
}

impl ManualClock {
    /// Returns a clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new(now)) }
    }

    /// Moves the time forward by `by`, up to the latest moment of a [`Timestamp`].
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(by).unwrap_or(Timestamp::MAX);
    }

    /// Sets the time. It may go backwards.
    pub fn set(&self, to: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns true if at least `interval` has passed between `since` and `now`. Also returns true if
/// the clock was set back: otherwise one bad jump could preserve a state for the length of the
/// jump. A `since` of `None` counts as passed.
#[must_use]
pub fn has_passed(since: Option<Timestamp>, now: Timestamp, interval: Duration) -> bool {
    let Some(since) = since else { return true };
    match Duration::try_from(since.duration_until(now)) {
        Ok(elapsed) => elapsed >= interval,
        Err(_negative) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_manual_clock_share_one_time() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let other = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!(other.now().as_second(), 5);
        other.set(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn a_clock_set_back_counts_as_passed() {
        let later = Timestamp::new(1_000, 0).unwrap();
        assert!(has_passed(Some(later), Timestamp::UNIX_EPOCH, Duration::from_secs(30)));
        assert!(!has_passed(Some(later), later, Duration::from_secs(30)));
        assert!(has_passed(None, later, Duration::from_secs(30)));
    }
}
