//! The bound on the lines of the log that refused requests leave.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Sts;
use crate::rate_limits::{Rate, SourceNetwork};

/// The most lines that the requests of one source leave in a minute.
const LINES_OF_A_SOURCE: u32 = 60;
/// The most lines that all refused requests leave in a minute: sources are cheap.
const LINES: u32 = 1200;

/// Counts the lines of refused requests.
#[derive(Debug)]
pub(super) struct RefusalLog {
    sources: Rate<SourceNetwork>,
    all: Rate<()>,
    left_out: AtomicU64,
}

impl RefusalLog {
    pub(super) fn new() -> Self {
        let per_minute = |lines| NonZeroU32::new(lines).unwrap_or(NonZeroU32::MIN);
        let sources = Rate::per_minute(per_minute(LINES_OF_A_SOURCE));
        let all = Rate::per_minute(per_minute(LINES));
        Self { sources, all, left_out: AtomicU64::new(0) }
    }
}

impl Sts {
    /// Counts a refused request of `source`. If it may leave a line in the log, the number of those that left none since the last line.
    #[must_use]
    pub fn logs_refusal_of(&self, source: IpAddr) -> Option<u64> {
        let RefusalLog { sources, all, left_out } = &self.refusal_log;
        if sources.count(&source.into()).is_some() || all.count(&()).is_some() {
            left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(left_out.swap(0, Ordering::Relaxed))
    }
}
