//! What the system accounts to a process: CPU time and memory.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// The CPU time that a process has used so far, its own and the system's for it.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let process = Pid::from_raw(pid.try_into()?);
    let clock = clock_getcpuclockid(process).with_context(|| format!("process {pid}"))?;
    Ok(clock.now().with_context(|| format!("process {pid}"))?.into())
}

/// The memory of a process that is in RAM, in MiB.
///
/// # Errors
/// When there is no such process.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc/PID/status")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
    Ok(kib / 1024.0)
}

/// The CPU time that the calling thread has used so far.
///
/// # Errors
/// When the system does not account for threads.
pub fn thread_cpu_time() -> anyhow::Result<Duration> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_its_thread_cpu_time() {
        let pid = std::process::id();
        assert!(resident_mib(pid).unwrap() > 0.5);
        let before = thread_cpu_time().unwrap();
        while thread_cpu_time().unwrap() <= before {
            std::hint::spin_loop();
        }
        assert!(cpu_time(pid).unwrap() >= thread_cpu_time().unwrap());
    }
}
