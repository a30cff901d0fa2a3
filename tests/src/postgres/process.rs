//! Running the programs that run a server.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// Runs a program to its end; what it printed.
pub(super) async fn run(command: Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).output().await.with_context(|| shown.clone())?;
    if !output.status.success() {
        bail!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Runs a shell line when this process has ended, however it ended, or when this value is dropped.
#[derive(Debug)]
pub(super) struct Afterwards {
    shell: Child,
}

impl Afterwards {
    /// The shell waits for the end of a pipe whose other end only this process holds, out of reach of the terminal's signals. `arguments`
    /// become `$1` and so on.
    pub(super) fn run<S: AsRef<OsStr>>(mut shell: Command, line: &str, arguments: &[S]) -> anyhow::Result<Self> {
        let shell = shell
            .args(["sh", "-c", &format!("trap '' INT TERM HUP; read -r _; {line}"), "sh"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("the shell that cleans up")?;
        Ok(Self { shell })
    }
}

impl Drop for Afterwards {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The line does its best; nobody is left to tell.
        let _ = self.shell.wait();
    }
}
