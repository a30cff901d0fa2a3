//! What the system accounts to a process: CPU time and memory.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// The unit of CPU times in `/proc/PID/stat`: `USER_HZ`, which is 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// The CPU time that a process has used so far, its own and the system's for it.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The name, which may hold anything, ends with the last parenthesis; `state` is the third field, `utime` the 14th, `stime` the 15th.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>();
    Ok(TICK * ticks.context("no times in /proc/PID/stat")?)
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
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").context("no /proc/thread-self/schedstat")?;
    let nanoseconds = schedule.split_whitespace().next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(nanoseconds.parse().context("schedstat holds no number")?))
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
        cpu_time(pid).unwrap();
    }
}
