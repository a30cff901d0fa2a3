//! A limit on repeated log lines, so that a flood of requests or an outage does not flood the log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Stopwatch;

/// The time between two lines of the same kind.
const EVERY: Duration = Duration::from_secs(10);

/// The limiter of log lines. Passes a line of each kind every 10 seconds, and counts the suppressed
/// lines.
#[derive(Debug)]
pub struct LogLimit {
    watch: Stopwatch,
    kinds: Mutex<HashMap<&'static str, Kind>>,
}

#[derive(Debug, Default)]
struct Kind {
    next: Duration,
    left_out: u64,
}

impl LogLimit {
    /// Creates a limit that passes the first line of each kind.
    #[must_use]
    pub fn new() -> Self {
        Self { watch: Stopwatch::start(), kinds: Mutex::default() }
    }

    /// Counts a line of `kind`, a fixed name. If the line may be written, returns the number of
    /// lines of its kind suppressed since the last.
    #[must_use]
    pub fn pass(&self, kind: &'static str) -> Option<u64> {
        let now = self.watch.elapsed();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(kind).or_default();
        if now < kind.next {
            kind.left_out += 1;
            return None;
        }
        kind.next = now + EVERY;
        Some(std::mem::take(&mut kind.left_out))
    }
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_kind_passes_and_the_others_are_counted() {
        let limit = LogLimit::new();
        let passed: Vec<_> = (0..100).filter_map(|_| limit.pass("a")).collect();
        assert_eq!((passed, limit.pass("b")), (vec![0], Some(0)));
        limit.kinds.lock().unwrap().get_mut("a").unwrap().next = Duration::ZERO;
        assert_eq!(limit.pass("a"), Some(99));
    }
}
