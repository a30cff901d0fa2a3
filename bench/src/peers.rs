//! Other services that can do an exchange, under the same load from the same generator.
//!
//! Each has a folder under `bench/peers/` with a program `run`: `run install FOLDER` installs it, `run serve FOLDER` serves at
//! `PEER_PORT` and prints `ready` with what the load needs to know. What each does not do stands at the head of its program.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use sts_jose::Algorithm;
use sts_tests::TestKey;
use sts_tests::postgres;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::arguments::Plan;
use crate::load::{Endpoint, Load};
use crate::server::{CLIENT, SECRET};
use crate::statistics::{Rounds, percentile_us};
use crate::tokens::{Users, exchange_form};

/// The peers that there are.
pub const PEERS: [Peer; 2] = [
    Peer { name: "oidc-provider", stores: "nothing", lacks: "stores nothing, no audit, no revocation, no delegations" },
    Peer {
        name: "keycloak",
        stores: "sessions, in PostgreSQL",
        lacks: "one subject token of its own over and over, no act, no audit of exchanges",
    },
];
/// The audience that all of them issue for.
const AUDIENCE: &str = "inventory";
/// The issuer of the users.
const USERS: &str = "https://login.example.com";
/// How long a peer may take to start.
const START: Duration = Duration::from_secs(240);
/// How many exchanges a peer has to get warm: those that compile while they run need many.
const WARM_UP: usize = 4_000;

/// One peer.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The folder under `bench/peers/`.
    pub name: &'static str,
    /// What it stores of an exchange.
    pub stores: &'static str,
    /// What it does not do, in a few words.
    pub lacks: &'static str,
}

/// One peer, measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Which.
    pub peer: Peer,
    /// Exchanges per second, in a closed loop.
    pub per_second: Rounds,
    /// Latency of half of the requests, in microseconds, in the closed loop.
    pub p50_us: Rounds,
    /// Latency of 99 % of the requests.
    pub p99_us: Rounds,
}

/// Installs a peer in `folder`, runs it and measures it.
///
/// # Errors
/// When it cannot be had, does not start, or answers with no token.
pub async fn measure(plan: &Plan, peer: Peer, folder: &Path) -> anyhow::Result<Measured> {
    let folder = folder.join(peer.name);
    std::fs::create_dir_all(&folder)?;
    // Its programs go to that folder, and are told of files in it.
    let folder = folder.canonicalize()?;
    let installed = command(peer, "install", &folder).status().await.context("the peer's program")?;
    if !installed.success() {
        bail!("{} cannot be installed", peer.name);
    }
    let users = Users { issuer: USERS.to_owned(), keys: vec![(Algorithm::Es256, TestKey::new(Algorithm::Es256))] };
    let database = postgres::database().await;
    let mut serving = Serving::start(peer, &folder, &users, database.url()).await?;
    let rounds = serving.rounds(plan, peer, &users).await;
    serving.end().await;
    rounds
}

/// A peer that serves.
struct Serving {
    child: Child,
    endpoint: Endpoint,
    /// Its own subject token, where it takes no others.
    subject: Option<String>,
}

impl Serving {
    async fn start(peer: Peer, folder: &Path, users: &Users, database_url: &str) -> anyhow::Result<Self> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let keys: Vec<Value> = users.keys.iter().map(|(_, key)| key.jwk()).collect();
        let jwks = folder.join("subject.jwks");
        std::fs::write(&jwks, json!({ "keys": keys }).to_string())?;
        let mut command = command(peer, "serve", folder);
        command
            .env("PEER_PORT", address.port().to_string())
            .env("PEER_DATABASE_URL", database_url)
            .env("PEER_SUBJECT_ISSUER", USERS)
            .env("PEER_SUBJECT_JWKS", &jwks)
            .env("PEER_CLIENT_ID", CLIENT)
            .env("PEER_CLIENT_SECRET", SECRET)
            .env("PEER_AUDIENCE", AUDIENCE)
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().context("standard output is piped")?);
        let ready = tokio::time::timeout(START, ready(lines)).await.context("the peer does not start")??;
        let path = ready["path"].as_str().context("the peer names no path")?.parse()?;
        let subject = ready["subject"].as_str().map(str::to_owned);
        Ok(Self { child, endpoint: endpoint(address, path)?, subject })
    }

    async fn rounds(&self, plan: &Plan, peer: Peer, users: &Users) -> anyhow::Result<Measured> {
        let mut load = Load::connect(&self.endpoint, plan.connections).await?;
        load.run(self.forms(users, WARM_UP)).await?;
        let (per_second, p50_us, p99_us) = (Rounds::default(), Rounds::default(), Rounds::default());
        let mut measured = Measured { peer, per_second, p50_us, p99_us };
        for _ in 0..plan.rounds {
            let forms = self.forms(users, plan.peer_requests);
            let mut outcome = load.run(forms).await?;
            measured.per_second.push(outcome.latencies.len() as f64 / outcome.elapsed.as_secs_f64());
            measured.p50_us.push(percentile_us(&mut outcome.latencies, 50.0));
            measured.p99_us.push(percentile_us(&mut outcome.latencies, 99.0));
        }
        Ok(measured)
    }

    fn forms(&self, users: &Users, count: usize) -> Vec<Bytes> {
        match &self.subject {
            Some(subject) => vec![exchange_form(subject, AUDIENCE); count],
            None => {
                let tokens = users.tokens(Algorithm::Es256, count);
                tokens.iter().map(|token| exchange_form(token, AUDIENCE)).collect()
            }
        }
    }

    /// Tells it to end, and waits for that.
    async fn end(&mut self) {
        if let Some(pid) = self.child.id() {
            let _told = Command::new("kill").arg(pid.to_string()).status().await;
        }
        let _ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
    }
}

fn command(peer: Peer, act: &str, folder: &Path) -> Command {
    let program: PathBuf = [env!("CARGO_MANIFEST_DIR"), "peers", peer.name, "run"].iter().collect();
    let mut command = Command::new(program);
    command.arg(act).arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

fn endpoint(address: SocketAddr, path: http::Uri) -> anyhow::Result<Endpoint> {
    let credentials = STANDARD.encode(format!("{CLIENT}:{SECRET}"));
    let authorization = Some(HeaderValue::try_from(format!("Basic {credentials}"))?);
    Ok(Endpoint { address, method: Method::POST, path, authorization })
}

/// What a peer says when it is ready; what it says later is read and dropped.
async fn ready(mut lines: BufReader<tokio::process::ChildStdout>) -> anyhow::Result<Value> {
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line).await? == 0 {
            bail!("the peer has ended");
        }
        if let Some(ready) = line.strip_prefix("ready ") {
            let ready = serde_json::from_str(ready)?;
            tokio::spawn(async move {
                let mut line = String::new();
                while lines.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
                    line.clear();
                }
            });
            return Ok(ready);
        }
    }
}
