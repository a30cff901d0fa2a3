//! Lines of the log that a requester can bring about: so that a flood of requests is no flood of lines.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Stopwatch;

/// How long the next line of a kind waits.
const EVERY: Duration = Duration::from_secs(10);

/// Lets a line of each kind pass every 10 seconds, and counts the others.
#[derive(Debug)]
pub struct Seldom {
    watch: Stopwatch,
    kinds: Mutex<HashMap<&'static str, Kind>>,
}

#[derive(Debug, Default)]
struct Kind {
    next: Duration,
    left_out: u64,
}

impl Seldom {
    /// Has let nothing pass yet.
    #[must_use]
    pub fn new() -> Self {
        Self { watch: Stopwatch::start(), kinds: Mutex::default() }
    }

    /// Whether a line of `kind`, a fixed name, is to be written now: then how many were left out since the last one.
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

impl Default for Seldom {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_kind_passes_and_the_others_are_counted() {
        let seldom = Seldom::new();
        let passed: Vec<_> = (0..100).filter_map(|_| seldom.pass("a")).collect();
        assert_eq!((passed, seldom.pass("b")), (vec![0], Some(0)));
        seldom.kinds.lock().unwrap().get_mut("a").unwrap().next = Duration::ZERO;
        assert_eq!(seldom.pass("a"), Some(99));
    }
}
