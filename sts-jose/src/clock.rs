//! Time, passed in. Nothing else in the workspace may ask the operating system what time it is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// Tells the time.
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// The present moment. It may step backwards between two calls.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system; the only reader of the real time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the real clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock for tests that stands still until it is told otherwise. Clones share one time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<Mutex<Timestamp>>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new(now)) }
    }

    /// Moves the time forward by `by`, and no further than the latest moment that a [`Timestamp`] can hold.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.checked_add(by).unwrap_or(Timestamp::MAX);
    }

    /// Sets the time, backwards too.
    pub fn set(&self, to: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether at least `interval` has passed between `since` and `now`. A clock that was set back counts as passed:
/// otherwise one bad jump could keep a state for as long as the jump was wide. So does a `since` that never was.
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
