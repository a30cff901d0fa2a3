//! The state of the process, for the metrics that Prometheus names for every program.

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo as _, boot_time_secs, ticks_per_second};

/// The state of this process, from `/proc`.
pub(super) struct ProcessState {
    pub(super) cpu_seconds: u64,
    pub(super) resident_bytes: u64,
    /// The start, in seconds since 1970.
    pub(super) started: f64,
    pub(super) open_fds: usize,
    pub(super) max_fds: Option<u64>,
}

impl ProcessState {
    /// Reads the state. Fails where `/proc` is hidden.
    pub(super) fn read() -> ProcResult<Self> {
        let process = Process::myself()?;
        let (stat, ticks) = (process.stat()?, ticks_per_second().max(1));
        let started = stat.starttime as f64 / ticks as f64;
        Ok(Self {
            cpu_seconds: stat.utime.saturating_add(stat.stime).checked_div(ticks).unwrap_or_default(),
            resident_bytes: stat.rss_bytes().get(),
            started: boot_time_secs()? as f64 + started,
            open_fds: process.fd_count()?,
            max_fds: match process.limits()?.max_open_files.soft_limit {
                LimitValue::Value(most) => Some(most),
                LimitValue::Unlimited => None,
            },
        })
    }
}
