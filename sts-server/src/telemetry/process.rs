//! The metrics of the process, under the names that Prometheus reserves for them.

use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, WithCurrentSystemInfo as _, boot_time_secs, ticks_per_second};

use super::Metrics;
use super::catalog;

/// Sets the metrics of this process. Without `/proc` they are absent.
pub(super) fn observe(metrics: &Metrics) {
    if let Err(error) = set(metrics) {
        tracing::debug!(%error, "failed to read the state of this process from /proc");
    }
}

fn set(metrics: &Metrics) -> ProcResult<()> {
    let process = Process::myself()?;
    let (stat, ticks) = (process.stat()?, ticks_per_second().max(1));
    let used = stat.utime.saturating_add(stat.stime).checked_div(ticks).unwrap_or_default();
    metrics.total(&catalog::PROCESS_CPU, &[], used);
    metrics.set(&catalog::PROCESS_RESIDENT_MEMORY, &[], stat.rss_bytes().get() as f64);
    let started = stat.starttime as f64 / ticks as f64;
    metrics.set(&catalog::PROCESS_START_TIME, &[], boot_time_secs()? as f64 + started);
    metrics.set(&catalog::PROCESS_OPEN_FDS, &[], process.fd_count()? as f64);
    if let LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
        metrics.set(&catalog::PROCESS_MAX_FDS, &[], most as f64);
    }
    Ok(())
}
