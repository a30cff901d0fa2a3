//! The limit on the log lines of refused requests.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Sts;
use crate::rate_limits::{Rate, SourceNetwork};

/// The maximum number of lines that the requests of one source write in a minute.
const LINES_OF_A_SOURCE: u32 = 60;
/// The maximum number of lines that all refused requests write in a minute. A client can use many
/// sources.
const LINES: u32 = 1200;

/// The counters of log lines of refused requests.
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
    /// Counts a refused request of `source`. If its log line may be written, returns the number of
    /// lines omitted since the last one.
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
