//! Python with the packages of `requirements.txt`, in a virtual environment that is made once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/interop/requirements.txt");
/// What agentsts-core asks for: 3.11 or later, and the parts that Debian packs for themselves.
const SUITABLE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
const NAMES: [&str; 5] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11"];
/// The longest that a script may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a script of this directory; what it printed, as JSON.
pub(super) async fn run(script: &str, arguments: &[&str]) -> Result<Value, String> {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    let mut command = Command::new(PYTHON.get_or_init(python).await);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("it/interop").join(script)).args(arguments);
    // Another machine's proxy settings are not for a server on loopback.
    command.env("NO_PROXY", "*").env("no_proxy", "*").kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, output(&mut command)).await.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{script}: {}", text(&output)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{script}: {error}: {}", text(&output)))
}

/// The Python of the virtual environment, which is made when it is not there, or other packages are wanted.
async fn python() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
    std::fs::create_dir_all(&directory).expect("the target folder is ours");
    let _lock = lock(directory.join("lock")).await;
    let environment = directory.join("venv");
    let python = environment.join("bin/python");
    let made = directory.join("made");
    let wanted = std::fs::read_to_string(REQUIREMENTS).expect("the requirements");
    let is_made = std::fs::read_to_string(&made).is_ok_and(|made| made == wanted);
    if is_made && succeeds(&python, &["-c", "import agentsts.core, fastmcp, jwt"]).await {
        return python;
    }
    let system = match suitable().await {
        Some(system) => system,
        None => install().await,
    };
    eprintln!("interop: making a virtual environment with {system}");
    succeed(Command::new(system).args(["-m", "venv", "--clear"]).arg(&environment)).await;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--requirement"];
    succeed(Command::new(&python).args(pip).arg(REQUIREMENTS)).await;
    std::fs::write(made, wanted).expect("the target folder is ours");
    python
}

/// One test run makes the environment, others wait.
async fn lock(path: PathBuf) -> File {
    let lock = move || {
        let file = File::create(path).expect("the target folder is ours");
        file.lock().expect("a lock");
        file
    };
    tokio::task::spawn_blocking(lock).await.expect("a lock")
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
    // PostgreSQL may have to be installed too, and apt-get runs once at a time.
    drop(sts_tests::postgres::database().await);
    eprintln!("interop: installing the packages \"python3\" and \"python3-venv\"");
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", "python3", "python3-venv"][..]]
    {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        let output = command.stdin(Stdio::null()).output().await;
        let installed = output.as_ref().is_ok_and(|output| output.status.success());
        assert!(installed, "this test needs Python 3.11 or later with venv, and apt-get cannot install it: {output:?}");
    }
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
