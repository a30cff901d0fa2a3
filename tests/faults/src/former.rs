//! The program of the former release, built from the history of the repository.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::Command;

/// The repository.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Builds the former sts-server, and keeps it in the target folder under the name of its commit.
///
/// The former one is that of the latest tag. Before the first tag it is that of the last commit of this line before the latest migration,
/// because a server must work with a schema that is one release newer.
///
/// # Errors
/// When the repository has no such commit, or the commit does not build.
pub async fn program() -> anyhow::Result<PathBuf> {
    let commit = commit().await?;
    let running = std::env::current_exe()?;
    let target = running.parent().and_then(Path::parent).context("a target folder")?.join("former");
    let (profile, folder) = if cfg!(debug_assertions) { ("dev", "debug") } else { ("release", "release") };
    let program = target.join(format!("{commit}-{profile}"));
    if program.exists() {
        return Ok(program);
    }
    eprintln!("building the sts-server of {commit}, once");
    let source = target.join("source");
    if source.exists() {
        std::fs::remove_dir_all(&source)?;
    }
    std::fs::create_dir_all(&source)?;
    let archive = target.join("source.tar");
    run(git().arg("archive").arg("--output").arg(&archive).arg(&commit)).await?;
    run(Command::new("tar").arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(&source)).await?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "sts-server",
        "--bin",
        "sts-server",
        "--profile",
        profile,
    ]);
    run(cargo.arg("--target-dir").arg(&target).current_dir(&source)).await?;
    std::fs::rename(target.join(folder).join("sts-server"), &program)?;
    std::fs::remove_dir_all(&source)?;
    std::fs::remove_file(&archive)?;
    Ok(program)
}

async fn commit() -> anyhow::Result<String> {
    if let Ok(tag) = run(git().args(["describe", "--tags", "--abbrev=0"])).await {
        return run(git().args(["rev-list", "--max-count=1", &tag])).await;
    }
    let line = ["log", "--max-count=1", "--no-patch", "--first-parent", "--diff-merges=first-parent"];
    let latest = run(git().args(line).args(["--diff-filter=A", "--format=%H", "--", "migrations"])).await?;
    run(git().args(["rev-parse", "--verify", &format!("{latest}^")])).await
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.arg("-C").arg(REPOSITORY);
    git
}

/// Runs a command to its end, and returns what it printed.
async fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let text = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{:?}: {text}", command.as_std());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
