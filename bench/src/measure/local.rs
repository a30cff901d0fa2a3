//! The cost of a call of an agent in another language: a question to `sts-agent` over its socket, with a token that is cached.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Uri};
use serde_json::{Value, json};
use sts_jose::Algorithm;
use tempfile::TempDir;
use tokio::io::BufReader;
use tokio::process::{Child, Command};

use crate::arguments::Plan;
use crate::load::{Endpoint, Load};
use crate::process;
use crate::server::{CLIENT, SECRET, Server, audience, serving};
use crate::statistics::{Rounds, percentile_us};

/// The number of calls that are due each second.
pub const PER_SECOND: u32 = 2_000;
/// The number of calls between the two looks at its memory.
pub const CALLS: usize = 1_000_000;
/// The number of connections of the agent.
const CONNECTIONS: usize = 8;
/// The number of calls before the first look at its memory.
const WARM: usize = 50_000;

/// The calls of an agent in another language, measured.
#[derive(Debug, Clone, Default)]
pub struct LocalCalls {
    /// The latency that half of the calls did not exceed, in microseconds.
    pub p50_us: Rounds,
    /// The latency that 99 of 100 calls did not exceed, in microseconds.
    pub p99_us: Rounds,
    /// The memory of the process before and after [`CALLS`], in MiB.
    pub resident_mib: [f64; 2],
}

/// Measures `program` beside a server.
///
/// # Errors
/// A call that gets no token.
pub async fn measure(plan: &Plan, server: &Server, program: &Path) -> anyhow::Result<LocalCalls> {
    let agent = LocalAgent::beside(server, program).await?;
    let token = server.users().tokens(Algorithm::Es256, 1).remove(0);
    let verified = json!({ "headers": [["authorization", format!("Bearer {token}")]] });
    let answer = agent.load("/v1/verify", 1).await?.one(verified.to_string().into()).await?;
    let inbound = serde_json::from_slice::<Value>(&answer)?["inbound"].take();
    let call = json!({ "method": "GET", "url": "https://inventory.example/stock", "inbound": inbound });
    let call = Bytes::from(call.to_string());
    let mut load = agent.load("/v1/headers", CONNECTIONS).await?;
    let mut measured = LocalCalls::default();
    load.run(vec![call.clone(); WARM]).await?;
    for _ in 0..plan.rounds {
        let mut outcome = load.run_at(vec![call.clone(); plan.requests], f64::from(PER_SECOND)).await?;
        measured.p50_us.push(percentile_us(&mut outcome.latencies, 50.0));
        measured.p99_us.push(percentile_us(&mut outcome.latencies, 99.0));
    }
    let before = agent.resident_mib()?;
    load.run(vec![call; CALLS]).await?;
    measured.resident_mib = [before, agent.resident_mib()?];
    Ok(measured)
}

/// A process that serves. Dropping it kills it.
struct LocalAgent {
    child: Child,
    folder: TempDir,
}

impl LocalAgent {
    async fn beside(server: &Server, program: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sts-bench-").tempdir()?;
        let file = format!(
            "[inbound]\naudience = [\"web-app\"]\nissuers = [{{ issuer = \"{}\", tenant_claim = \"org_id\" }}]\n\n\
             [sts]\nissuer = \"{}\"\nclient_id = \"{CLIENT}\"\nclient_secret_file = \"secret\"\n\n\
             [[routes]]\nurl = \"https://inventory.example/\"\naudience = \"{}\"\n",
            server.users().issuer,
            server.issuer(),
            audience(Algorithm::Es256),
        );
        std::fs::write(folder.path().join("agent.toml"), file)?;
        std::fs::write(folder.path().join("secret"), SECRET)?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "./agent.sock"]).current_dir(folder.path()).env_clear();
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        serving(BufReader::new(stderr), "sts-agent").await?;
        Ok(Self { child, folder })
    }

    async fn load(&self, path: &'static str, connections: usize) -> anyhow::Result<Load> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let endpoint = Endpoint { address, method: Method::POST, path: Uri::from_static(path), authorization: None };
        Load::connect_to_socket(&self.folder.path().join("agent.sock"), &endpoint, connections).await
    }

    fn resident_mib(&self) -> anyhow::Result<f64> {
        process::resident_mib(self.child.id().context("the process has ended")?)
    }
}
