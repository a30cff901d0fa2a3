//! Installs what a test needs and the machine lacks, where that is possible and allowed: as root on Debian and its children.

use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::Command;
use tokio::sync::Mutex;

/// This variable of the environment set to `0` forbids installation.
pub const INSTALL: &str = "STS_TESTS_INSTALL";

/// apt-get runs once at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// Installs packages by `apt-get`, and says so first.
///
/// # Errors
/// When that is forbidden, or `apt-get` fails.
pub async fn install(packages: &[&str]) -> anyhow::Result<()> {
    let names = packages.join(" ");
    let forbidden = std::env::var_os(INSTALL).is_some_and(|value| value == "0");
    anyhow::ensure!(!forbidden, "{INSTALL}=0 forbids to install {names}");
    let _turn = TURN.lock().await;
    eprintln!("about to install by apt-get: {names} ({INSTALL}=0 forbids it)");
    for arguments in [&["update"][..], &[&["install", "--yes", "--no-install-recommends"], packages].concat()] {
        let mut command = Command::new("apt-get");
        let command = command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments).stdin(Stdio::null());
        let output = command.output().await.context("no apt-get on this machine")?;
        anyhow::ensure!(output.status.success(), "apt-get: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
