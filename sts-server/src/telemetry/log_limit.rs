//! A bound on log lines that repeat, so that a flood of requests or an outage is no flood of lines.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Stopwatch;

/// The time that the next line of a kind waits.
const EVERY: Duration = Duration::from_secs(10);

/// Lets a line of each kind pass every 10 seconds, and counts the others.
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
    /// A limit that lets the first line of each kind pass.
    #[must_use]
    pub fn new() -> Self {
        Self { watch: Stopwatch::start(), kinds: Mutex::default() }
    }

    /// Counts a line of `kind`, a fixed name. If it may be written, how many of its kind were left out since the last one.
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
