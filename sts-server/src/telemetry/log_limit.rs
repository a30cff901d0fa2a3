//! A bound on log lines that repeat.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Stopwatch;

/// The time for which a line is held back after one of its kind.
const PERIOD: Duration = Duration::from_secs(10);

/// Lets one of many lines of a kind into the log in ten seconds: an outage would write one for every request.
#[derive(Debug)]
pub struct LogLimit(Mutex<Held>);

#[derive(Debug)]
struct Held {
    last: Option<Stopwatch>,
    lines: u64,
}

impl LogLimit {
    /// A limit that lets the first line pass.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Held { last: None, lines: 0 }))
    }

    /// Counts a line. If it may be written, how many of its kind were held back since the last one.
    #[must_use]
    pub fn pass(&self) -> Option<u64> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.last.as_ref().is_some_and(|last| last.elapsed() < PERIOD) {
            held.lines = held.lines.saturating_add(1);
            return None;
        }
        held.last = Some(Stopwatch::start());
        Some(std::mem::take(&mut held.lines))
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
    fn of_many_lines_the_first_is_written() {
        let limit = LogLimit::new();
        let passed: Vec<Option<u64>> = (0..3).map(|_| limit.pass()).collect();
        assert_eq!(passed, [Some(0), None, None]);
    }
}
