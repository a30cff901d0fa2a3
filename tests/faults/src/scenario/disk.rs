//! Disks that are full, and disks that do not keep what they were given.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use sts_tests::postgres::Cluster;
use tokio::process::{Child, Command};

use super::CLIENTS;
use crate::trial::{Home, Trial};
use crate::{Outcome, Run};

/// How many tokens come before and after a fault.
const CALM: usize = 60;
/// The longest until a fault shows, or what is told is done.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A disk of its own size, in memory. Dropping it unmounts it.
struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// Mounts one, or says why that cannot be.
    async fn mount(megabytes: u32) -> Result<Self, String> {
        let directory = std::env::temp_dir().join(format!("sts-disk-{:016x}", crate::shop::random()));
        std::fs::create_dir(&directory).map_err(|error| error.to_string())?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=1777"), "tmpfs"]).arg(&directory);
        let output = mount.output().await.map_err(|error| format!("mount: {error}"))?;
        if output.status.success() {
            return Ok(Self { directory });
        }
        let _removed = std::fs::remove_dir(&directory);
        Err(format!("a small disk cannot be mounted: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn ballast(&self) -> PathBuf {
        self.directory.join("ballast")
    }

    /// Writes until nothing more goes in.
    fn fill(&self) -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.ballast())?;
        for bytes in [vec![0; 1 << 16], vec![0; 1 << 9]] {
            while file.write_all(&bytes).is_ok() {}
        }
        Ok(())
    }

    fn free(&self) -> std::io::Result<()> {
        std::fs::remove_file(self.ballast())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still uses it keeps it until its end.
        let _unmounted = std::process::Command::new("umount").arg("--lazy").arg(&self.directory).status();
        let _removed = std::fs::remove_dir(&self.directory);
    }
}

pub(super) async fn full_sqlite(run: Run) -> anyhow::Result<Outcome> {
    let disk = match Disk::mount(24).await {
        Ok(disk) => disk,
        Err(why) => return Ok(Outcome::NotHere(why)),
    };
    let home = Home::at(&format!("sqlite://{}", disk.directory.join("sts.db").display()));
    let mut trial = Trial::prepare(&home, 1, run.program.as_ref());
    trial.begin(CLIENTS).await;
    full(&run, &disk, &mut trial).await?;
    Ok(Outcome::Held(trial.end().await?))
}

pub(super) async fn full_postgres(run: Run) -> anyhow::Result<Outcome> {
    let disk = match Disk::mount(160).await {
        Ok(disk) => disk,
        Err(why) => return Ok(Outcome::NotHere(why)),
    };
    let cluster = Cluster::start_in(&disk.directory).await;
    let database = cluster.database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 2, run.program.as_ref());
    trial.begin(CLIENTS).await;
    full(&run, &disk, &mut trial).await?;
    Ok(Outcome::Held(trial.end().await?))
}

/// Fills the disk until that shows, and frees it.
async fn full(run: &Run, disk: &Disk, trial: &mut Trial) -> anyhow::Result<()> {
    for _ in 0..run.pick(1, 3) {
        trial.tokens(CALM).await?;
        trial.load.storm();
        let before = trial.load.tally.counts().outages;
        disk.fill()?;
        outage(trial, before).await?;
        tokio::time::sleep(Duration::from_secs(run.pick(1, 5))).await;
        disk.free()?;
        trial.recover().await?;
    }
    trial.tokens(CALM).await
}

/// Returns when clients are told of an outage.
async fn outage(trial: &Trial, before: u64) -> anyhow::Result<()> {
    let shows = async {
        while trial.load.tally.counts().outages == before {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, shows).await.context("the fault shows nowhere")
}

/// `strace`, which makes the calls that a process syncs files with fail. Dropping it kills it, and what it traces goes on.
struct FailingSync {
    strace: Child,
}

impl FailingSync {
    /// From now on, or why that cannot be.
    async fn of(processes: &[u32]) -> Result<Self, String> {
        let mut strace = Command::new("strace");
        strace.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            "inject=fsync,fdatasync:error=EIO",
        ]);
        strace.args(processes.iter().flat_map(|id| ["-p".to_owned(), id.to_string()]));
        let strace =
            strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
        let mut strace = strace.map_err(|error| format!("strace: {error}"))?;
        let attached = async {
            while !processes.iter().all(|id| is_traced(*id)) {
                if strace.try_wait().ok().flatten().is_some() {
                    return false;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            true
        };
        if tokio::time::timeout(PATIENCE, attached).await == Ok(true) {
            return Ok(Self { strace });
        }
        let _killed = strace.start_kill();
        let told = strace.wait_with_output().await.map_err(|error| error.to_string())?;
        Err(format!("strace cannot attach: {}", String::from_utf8_lossy(&told.stderr).trim()))
    }

    /// Until now.
    async fn end(mut self) -> anyhow::Result<()> {
        let id = self.strace.id().context("strace has ended by itself")?;
        // It detaches at this signal.
        Command::new("kill").args(["-INT", &id.to_string()]).status().await?;
        tokio::time::timeout(PATIENCE, self.strace.wait()).await.context("strace does not end")??;
        Ok(())
    }
}

/// Whether somebody traces the process; of one that is gone, yes: it need not be waited for.
fn is_traced(id: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status"));
    status.map_or(true, |status| !status.contains("TracerPid:\t0\n"))
}

pub(super) async fn fsync_sqlite(run: Run) -> anyhow::Result<Outcome> {
    let mut trial = Trial::prepare(&Home::sqlite(), 1, run.program.as_ref());
    trial.begin(CLIENTS).await;
    for _ in 0..run.pick(1, 5) {
        trial.tokens(CALM).await?;
        trial.load.storm();
        let before = trial.load.tally.counts().outages;
        let failing = match FailingSync::of(&[trial.server(0).id()]).await {
            Ok(failing) => failing,
            Err(why) => return Ok(Outcome::NotHere(why)),
        };
        outage(&trial, before).await?;
        tokio::time::sleep(Duration::from_secs(run.pick(1, 5))).await;
        failing.end().await?;
        trial.recover().await?;
    }
    trial.tokens(CALM).await?;
    Ok(Outcome::Held(trial.end().await?))
}

/// `PostgreSQL` ends itself when a sync fails, and is started again, as after a reboot.
pub(super) async fn fsync_postgres(run: Run) -> anyhow::Result<Outcome> {
    let cluster = Cluster::start().await;
    let database = cluster.database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 2, run.program.as_ref());
    trial.begin(CLIENTS).await;
    for _ in 0..run.pick(1, 5) {
        trial.tokens(CALM).await?;
        trial.load.storm();
        let before = trial.load.tally.counts().outages;
        let failing = match FailingSync::of(&cluster.processes()).await {
            Ok(failing) => failing,
            Err(why) => return Ok(Outcome::NotHere(why)),
        };
        outage(&trial, before).await?;
        failing.end().await?;
        cluster.kill().await;
        cluster.start_again().await;
        trial.recover().await?;
    }
    trial.tokens(CALM).await?;
    Ok(Outcome::Held(trial.end().await?))
}
