//! The terminals of a reader: one for commands, and one for each program that keeps running.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::process::command;

/// The longest that one command may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The line after the output of a command begins with this character.
const END: char = '\u{1e}';

/// A folder, with `sts-server` on the path of its terminals.
pub(super) struct Reader {
    folder: TempDir,
    terminal: Terminal,
    serving: Vec<Serving>,
}

/// A shell that keeps its variables from one command to the next.
struct Terminal {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A program in a terminal of its own. Dropping it kills it and its children.
struct Serving {
    command: String,
    child: Child,
}

impl Reader {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).expect("the folder is ours");
        let program = command(folder.path()).await.as_std().get_program().to_owned();
        std::os::unix::fs::symlink(program, bin.join("sts-server")).expect("the folder is ours");
        let mut child = bash(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(b"exec 2>&1\n").await.expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { terminal: Terminal { _child: child, stdin, lines }, folder, serving: Vec::new() }
    }

    /// The folder in which the terminals open.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts another program on the path.
    pub(super) fn install(&self, name: &str, script: &str) {
        let path = self.folder.path().join("bin").join(name);
        std::fs::write(&path, script).expect("the folder is ours");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, executable).expect("the file is ours");
    }

    /// Runs a command; what it printed, and its exit code.
    pub(super) async fn run(&mut self, command: &str) -> (String, i32) {
        let script = format!("{{\n{command}\n}} </dev/null\nprintf '\\n\\036%s\\n' \"$?\"\n");
        self.terminal.stdin.write_all(script.as_bytes()).await.expect("bash runs");
        let mut printed = String::new();
        let code = async {
            while let Some(line) = self.terminal.lines.next_line().await.expect("text") {
                if let Some(code) = line.strip_prefix(END) {
                    return code.parse().expect("an exit code");
                }
                printed.push_str(&line);
                printed.push('\n');
            }
            panic!("bash ended at: {command}");
        };
        let code = tokio::time::timeout(PATIENCE, code).await.unwrap_or_else(|_| panic!("it does not end: {command}"));
        (printed.trim_end().to_owned(), code)
    }

    /// Runs a command in a terminal of its own, up to the line that says that it serves; what it printed so far. A command that is
    /// served already is ended first.
    pub(super) async fn serve(&mut self, command: &str) -> String {
        if let Some(former) = self.serving.iter().position(|serving| serving.command == command) {
            let mut former = self.serving.swap_remove(former);
            former.kill();
            former.child.wait().await.expect("it ends");
        }
        let mut bash = bash(self.folder.path());
        bash.args(["-c", &format!("exec 2>&1\nexec {command}")]).stdin(Stdio::null()).process_group(0);
        let mut child = bash.stdout(Stdio::piped()).spawn().expect("bash");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        self.serving.push(Serving { command: command.to_owned(), child });
        let mut printed = String::new();
        let started = async {
            while let Some(line) = lines.next_line().await.expect("text") {
                printed.push_str(&line);
                printed.push('\n');
                let starts = ["listening on ", "Serving on "].iter().any(|start| line.starts_with(start));
                if starts || line.contains(" admin=127.") || line.contains(" serving place=") {
                    return;
                }
            }
            panic!("it ended: {command}\n{printed}");
        };
        tokio::time::timeout(PATIENCE, started).await.unwrap_or_else(|_| panic!("it does not start: {command}"));
        // What it prints from now on must not fill the pipe.
        tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
        printed.trim_end().to_owned()
    }
}

fn bash(folder: &Path) -> Command {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let bin = std::iter::once(folder.join("bin")).chain(std::env::split_paths(&paths));
    let path = std::env::join_paths(bin.collect::<Vec<PathBuf>>()).expect("a path");
    let mut bash = Command::new("bash");
    bash.current_dir(folder).env_clear().env("PATH", path).env("HOME", folder).env("NO_PROXY", "*");
    bash.kill_on_drop(true);
    bash
}

impl Serving {
    fn kill(&self) {
        if let Some(id) = self.child.id() {
            let killed = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).status();
            drop(killed);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill();
    }
}
