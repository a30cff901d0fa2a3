//! The state of the process, for the metrics that Prometheus names for every program.

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo as _, boot_time_secs, ticks_per_second};

/// The state of this process, from `/proc`. A member is `None` where `/proc` hides it.
pub(super) struct ProcessState {
    pub(super) cpu_seconds: u64,
    pub(super) resident_bytes: u64,
    /// The start, in seconds since 1970. Hidden by `ProcSubset=pid` of systemd.
    pub(super) started: Option<f64>,
    pub(super) open_fds: Option<usize>,
    pub(super) max_fds: Option<u64>,
}

impl ProcessState {
    /// Reads the state. Fails where `/proc` hides the process itself.
    pub(super) fn read() -> ProcResult<Self> {
        Self::with_boot(boot_time_secs().ok())
    }

    /// As [`Self::read`]. `booted` is the start of the machine, in seconds since 1970.
    fn with_boot(booted: Option<u64>) -> ProcResult<Self> {
        let process = Process::myself()?;
        let (stat, ticks) = (process.stat()?, ticks_per_second().max(1));
        let started = stat.starttime as f64 / ticks as f64;
        let max_fds = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
        Ok(Self {
            cpu_seconds: stat.utime.saturating_add(stat.stime).checked_div(ticks).unwrap_or_default(),
            resident_bytes: stat.rss_bytes().get(),
            started: booted.map(|booted| booted as f64 + started),
            open_fds: process.fd_count().ok(),
            max_fds: max_fds.and_then(|most| match most {
                LimitValue::Value(most) => Some(most),
                LimitValue::Unlimited => None,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_boot_time_hides_the_start_of_the_process_alone() {
        let state = ProcessState::with_boot(None).unwrap();
        assert_eq!(state.started, None);
        assert!(state.open_fds.is_some_and(|open| open > 0) && state.resident_bytes > 0);
    }
}
