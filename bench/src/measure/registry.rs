//! A large registry: what its check, its application and a start cost.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Uri};
use sts_jose::Algorithm;
use sts_server::telemetry::Stopwatch;
use sts_tests::{TestIssuer, TestKey};
use tokio::process::Command;

use crate::load::{Endpoint, Load};
use crate::server::{SECRET, free_address, secret_sha256, spawn};

/// The number of agents of the registry.
pub const AGENTS: usize = 10_000;
/// The number of delegations of each of them.
const DELEGATIONS: usize = 5;
/// A further agent, which is disabled while a server serves.
const CHANGED: &str = "changed";
/// The longest that a change may take to be followed.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The times of a registry with [`AGENTS`] agents, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct LargeRegistry {
    /// `check`.
    pub check_s: f64,
    /// `apply` on an empty database.
    pub first_apply_s: f64,
    /// `apply` of what the database has.
    pub apply_s: f64,
    /// From the start of a server that finds nothing changed until it serves.
    pub start_s: f64,
    /// From the end of a command that disables an agent until that server refuses the agent.
    pub followed_s: f64,
}

/// Measures them on a database that is empty.
///
/// # Errors
/// A command that fails.
pub async fn measure(program: &Path, database_url: &str) -> anyhow::Result<LargeRegistry> {
    let idp = TestIssuer::with_keys(vec![TestKey::new(Algorithm::Es256)]).await;
    let folder = tempfile::Builder::new().prefix("sts-bench-").tempdir()?;
    let [address, admin] = [free_address()?, free_address()?];
    let configuration = format!(
        "issuer = \"http://{address}\"\nregistry = \"registry.toml\"\n[listen]\npublic = \"{address}\"\n\
         admin = \"{admin}\"\n[database]\nurl = \"{database_url}\"\n"
    );
    let registry = registry(idp.url());
    std::fs::write(folder.path().join("sts.toml"), configuration)?;
    std::fs::write(folder.path().join("registry.toml"), &registry)?;
    std::fs::write(folder.path().join("disabled.toml"), format!("{registry}disabled = true\n"))?;
    std::fs::write(folder.path().join("master.key"), "dGhlIG1hc3RlciBrZXkgb2YgYWxsIG9mIHRoZSB0ZXM=\n")?;
    let run = async |arguments: &[&str]| run(program, folder.path(), arguments).await;
    run(&["migrate"]).await?;
    let (check_s, first_apply_s) = (run(&["check"]).await?, run(&["apply", "registry.toml"]).await?);
    let apply_s = run(&["apply", "registry.toml"]).await?;
    let watch = Stopwatch::start();
    let _server = spawn(program, folder.path()).await?;
    let start_s = watch.elapsed().as_secs_f64();
    let followed_s = followed(address, async || run(&["apply", "disabled.toml"]).await).await?;
    Ok(LargeRegistry { check_s, first_apply_s, apply_s, start_s, followed_s })
}

/// Returns the seconds from the end of a change, which disables [`CHANGED`], until the server at the address refuses that agent.
async fn followed(address: SocketAddr, change: impl AsyncFnOnce() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let credentials = STANDARD.encode(format!("{CHANGED}:{SECRET}"));
    let endpoint = Endpoint {
        address,
        method: Method::POST,
        path: Uri::from_static("/oauth2/introspect"),
        authorization: Some(HeaderValue::try_from(format!("Basic {credentials}"))?),
    };
    let question = Bytes::from_static(b"token=none");
    Load::connect(&endpoint, 1).await?.one(question.clone()).await?;
    change().await?;
    // The server has closed the former connection, which was idle during the change.
    let mut load = Load::connect(&endpoint, 1).await?;
    let watch = Stopwatch::start();
    loop {
        match load.one(question.clone()).await {
            Err(refusal) if refusal.to_string().starts_with("401") => break,
            other => drop(other?),
        }
        anyhow::ensure!(watch.elapsed() < PATIENCE, "the change is not followed");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(watch.elapsed().as_secs_f64())
}

/// Runs a command, and returns its time in seconds.
async fn run(program: &Path, folder: &Path, arguments: &[&str]) -> anyhow::Result<f64> {
    let watch = Stopwatch::start();
    let mut command = Command::new(program);
    command.args(arguments).args(["--config", "sts.toml"]).current_dir(folder).env_clear().stdin(Stdio::null());
    let output = command.output().await?;
    if !output.status.success() {
        bail!("{arguments:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(watch.elapsed().as_secs_f64())
}

/// A registry whose delegations are in another order than their names, and whose last entry is [`CHANGED`].
fn registry(issuer: &str) -> String {
    let mut registry = format!("[[issuers]]\nissuer = \"{issuer}\"\ntenant_claim = \"org_id\"\n");
    for agent in 0..AGENTS {
        let _ = write!(registry, "[[agents]]\nid = \"agent-{agent}\"\nauth.client_secret_sha256 = \"{agent:064x}\"\n");
    }
    for delegation in (0..AGENTS * DELEGATIONS).rev() {
        let (actor, hop) = (delegation % AGENTS, delegation / AGENTS + 1);
        let target = (actor + hop) % AGENTS;
        let _ = write!(
            registry,
            "[[delegations]]\nactor = \"agent-{actor}\"\ntarget = \"agent-{target}\"\nscopes = [\"stock:read\"]\n\
             tenants = [\"acme\"]\n"
        );
    }
    let _ = write!(registry, "[[agents]]\nid = \"{CHANGED}\"\nauth.client_secret_sha256 = \"{}\"\n", secret_sha256());
    registry
}
