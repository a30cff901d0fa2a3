//! Scripts of this directory, by a Python with the packages of `requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/interop/requirements.txt");
/// The longest that a script may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a script of this directory; what it printed, as JSON.
pub(crate) async fn run(script: &str, arguments: &[&str]) -> Result<Value, String> {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    let mut command = Command::new(PYTHON.get_or_init(python).await);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("it/interop").join(script)).args(arguments);
    // Another machine's proxy settings are not for a server on loopback.
    command.env("NO_PROXY", "*").env("no_proxy", "*").kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.stdin(Stdio::null()).output()).await;
    let output = output.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{script}: {}", text(&output)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{script}: {error}: {}", text(&output)))
}

async fn python() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
    sts_tests::python(
        &directory,
        Path::new(REQUIREMENTS),
        "a2a, agentsts.core, authlib, fastmcp, google.oauth2.sts, jwt, requests, yaagents_client, yaagents_fastapi",
    )
    .await
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
