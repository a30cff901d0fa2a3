//! Python with the packages of a requirements file, in a virtual environment that is made once.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::lock::lock;

/// What agentsts-core asks for: 3.11 or later, and the parts that Debian packs for themselves.
const SUITABLE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
const NAMES: [&str; 5] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];

/// The Python of the virtual environment in `directory`, which is made when it is not there, or other packages are wanted. It is as wanted
/// when `imports` (`"a, b"`) can be imported.
///
/// # Panics
/// When it cannot be made.
pub async fn python(directory: &Path, requirements: &Path, imports: &str) -> PathBuf {
    let made = environment(directory, requirements, imports).await;
    made.unwrap_or_else(|failed| panic!("{failed}"))
}

/// Does the same as [`python`]. `None` where pip cannot install the packages, such as those that are not for this machine.
///
/// # Panics
/// When there is no Python.
pub async fn python_if_possible(directory: &Path, requirements: &Path, imports: &str) -> Option<PathBuf> {
    let made = environment(directory, requirements, imports).await;
    made.inspect_err(|failed| eprintln!("{failed}")).ok()
}

async fn environment(directory: &Path, requirements: &Path, imports: &str) -> Result<PathBuf, String> {
    std::fs::create_dir_all(directory).expect("the target folder is ours");
    let _lock = lock(directory.join("lock")).await;
    let environment = directory.join("venv");
    let python = environment.join("bin/python");
    let made = directory.join("made");
    let wanted = std::fs::read_to_string(requirements).expect("the requirements");
    let is_made = std::fs::read_to_string(&made).is_ok_and(|made| made == wanted);
    if is_made && succeeds(&python, &["-c", &format!("import {imports}")]).await {
        return Ok(python);
    }
    let system = match suitable().await {
        Some(system) => system,
        None => install().await,
    };
    eprintln!("python: making a virtual environment with {system}");
    succeed(Command::new(system).args(["-m", "venv", "--clear"]).arg(&environment)).await;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--requirement"];
    let output = output(Command::new(&python).args(pip).arg(requirements)).await;
    if !output.status.success() {
        return Err(format!("pip: {}", text(&output)));
    }
    std::fs::write(made, wanted).expect("the target folder is ours");
    Ok(python)
}

async fn suitable() -> Option<&'static str> {
    for name in NAMES {
        if succeeds(Path::new(name), &["-c", SUITABLE]).await {
            return Some(name);
        }
    }
    None
}

/// Installs Python where that is possible: as root on Debian and its children.
async fn install() -> &'static str {
    let installed = crate::packages::install(&["python3", "python3-venv"]).await;
    installed.expect("this test needs Python 3.11 or later with venv");
    suitable().await.expect("this test needs Python 3.11 or later with venv: the one of this machine is older")
}

async fn succeeds(program: &Path, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    output.is_ok_and(|output| output.status.success())
}

async fn succeed(command: &mut Command) {
    let output = output(command).await;
    assert!(output.status.success(), "{command:?}: {}", text(&output));
}

async fn output(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().await;
    output.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
