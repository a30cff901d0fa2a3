//! Kills servers in containers under load, and restores a backup: the part of `deploy/test` that asks and compares.

mod containers;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use sts_faults::load::Load;
use sts_faults::shop::Shop;
use sts_server::storage;
use sts_tests::invariants::check_invariants;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::containers::{Containers, ISSUER, SERVERS};

const CLIENTS: usize = 8;
/// How many tokens clients receive before and after each kill.
const TOKENS: usize = 300;
/// How long clients may take for them, and a server to be ready.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The database that the servers begin with, and the one that its backup is restored into.
const DATABASES: [&str; 2] = ["sts", "restored"];

/// Three servers on one PostgreSQL, in containers: each is killed in turn while clients ask, then a backup is restored.
#[derive(Debug, Parser)]
struct Arguments {
    /// The name of the project of compose.
    #[arg(long)]
    project: String,
    /// The words of the command that is compose.
    #[arg(required = true)]
    compose: Vec<String>,
}

/// What the acts share.
struct Stage {
    containers: Containers,
    load: Arc<Load>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = TempDir::new()?;
    let shop = Shop::new(ISSUER);
    let registry = [("registry.toml", shop.registry()), ("idp.json", shop.idp_jwks())];
    let containers = Containers::prepare(&arguments.compose, &arguments.project, folder.path(), &registry).await?;
    let load = Arc::new(Load::trusting(&containers.authority()?, Arc::new(shop), containers.bases())?);
    load.retry_elsewhere();
    let stage = Stage { containers, load };
    let outcome = stage.play().await;
    if outcome.is_err() {
        let logs = stage.containers.compose(&["logs", "--no-color", "--tail=40"]).await.unwrap_or_default();
        eprintln!("{}", String::from_utf8_lossy(&logs));
    }
    outcome
}

impl Stage {
    async fn play(&self) -> anyhow::Result<()> {
        self.containers.compose(&["up", "--detach", "--no-build"]).await?;
        self.ready(&SERVERS).await?;
        println!("three servers, started together on an empty database, are ready");
        self.kill_each_under_load().await?;
        self.restore().await
    }

    /// Clients ask all servers; each server is killed, missed for a while, and started again. No request may fail, and what was
    /// received must be in the database.
    async fn kill_each_under_load(&self) -> anyhow::Result<()> {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(Arc::clone(&self.load).client(None));
        }
        for server in SERVERS {
            self.tokens().await?;
            self.containers.compose(&["kill", "-s", "SIGKILL", server]).await?;
            println!("{server} is killed; {} tokens received", self.load.ledger.len());
            self.tokens().await?;
            self.containers.compose(&["start", server]).await?;
            self.ready(&[server]).await?;
        }
        self.tokens().await?;
        self.load.end();
        let ended = tokio::time::timeout(PATIENCE, async { while clients.join_next().await.is_some() {} }).await;
        ended.context("a client does not end")?;
        let breaches = self.load.breaches();
        ensure!(breaches.is_empty(), "{} requests failed:\n{}", breaches.len(), breaches.join("\n"));
        for base in self.containers.bases() {
            ensure!(self.load.chain(&base).await.is_some(), "no clean chain at {base}");
        }
        let issued = self.audited(DATABASES[0]).await?;
        let (received, counts) = (self.load.ledger.len(), json!(self.load.tally.counts()));
        println!("nothing received is lost: {received} received, {issued} issued; the audit log verifies; {counts}");
        Ok(())
    }

    /// The ledger against the audit log and the rows of tokens, the invariants over all of them, and `audit verify`; how many tokens
    /// were issued.
    async fn audited(&self, database: &str) -> anyhow::Result<usize> {
        let report = self.server_command(&["audit", "verify", "--json"]).await?;
        ensure!(report["faults"] == json!([]), "audit verify: {report}");
        let url = self.containers.database_url(database)?;
        let master = self.containers.master_key()?;
        let store = storage::open(&url, 2, sts_tests::keyring::row_codes(&master)).await?;
        let issued = check_invariants(&*store, &master, ISSUER).await;
        store.close().await;
        let issued = issued?;
        self.load.ledger.compare(&issued)?;
        ensure!(!self.load.ledger.is_empty(), "no token was received: that is no load");
        let mut connection = PgConnection::connect(&url).await?;
        let names = self.load.ledger.names();
        let rows = sqlx::query_scalar("SELECT count(*) FROM tokens WHERE jti = ANY($1)").bind(&names);
        let rows: i64 = rows.fetch_one(&mut connection).await?;
        connection.close().await?;
        ensure!(usize::try_from(rows)? == names.len(), "{} tokens were received, {rows} have a row", names.len());
        Ok(issued.len())
    }

    /// Takes a backup of the database as the run-book says, restores it into another one, and lets the servers use that.
    async fn restore(&self) -> anyhow::Result<()> {
        let bases = self.containers.bases();
        let old = self.load.chain(&bases[0]).await.context("no clean chain before the backup")?;
        let [_, restored] = DATABASES;
        let export = ["exec", "-T", "sts-1", "sts-server", "audit", "export", "--heads"];
        let heads = self.containers.compose(&export).await?;
        let dump = self.containers.database_command(&["pg_dump", "--format=custom", "--dbname=sts"], &[]).await?;
        self.containers.database_command(&["createdb", restored], &[]).await?;
        let into = format!("--dbname={restored}");
        self.containers.database_command(&["pg_restore", "--exit-on-error", "--no-owner", &into], &dump).await?;
        self.containers.configure(restored)?;
        self.containers.compose(&[&["restart"][..], &SERVERS].concat()).await?;
        self.ready(&SERVERS).await?;
        let heads = self.containers.hand_over("heads.jsonl", &heads)?;
        let report = self.server_command(&["audit", "verify", "--json", "--heads", &heads]).await?;
        ensure!(report["faults"] == json!([]), "audit verify --heads: {report}");
        for base in &bases {
            ensure!(self.load.is_active(base, &old).await == Some(true), "a token from before the backup is dead");
            ensure!(self.load.chain(base).await.is_some(), "no clean chain on the restored database");
        }
        self.audited(restored).await?;
        println!(
            "the backup is restored and served: a token from before it is alive, new ones are issued, audit verify --heads holds"
        );
        Ok(())
    }

    async fn server_command(&self, command: &[&str]) -> anyhow::Result<Value> {
        let entry = ["exec", "-T", "sts-1", "sts-server"];
        Ok(serde_json::from_slice(&self.containers.compose(&[&entry, command].concat()).await?)?)
    }

    /// Returns when so many more tokens were received.
    async fn tokens(&self) -> anyhow::Result<()> {
        let enough = self.load.ledger.len() + TOKENS;
        let grown = tokio::time::timeout(PATIENCE, self.load.ledger.grown_to(enough)).await;
        grown.with_context(|| {
            let breaches = self.load.breaches();
            format!("{} tokens of {enough}: {:?}", self.load.ledger.len(), breaches.first())
        })
    }

    /// Returns when these servers are ready.
    async fn ready(&self, servers: &[&str]) -> anyhow::Result<()> {
        let bases = self.containers.bases();
        for (server, base) in SERVERS.iter().zip(&bases).filter(|(server, _)| servers.contains(server)) {
            let waiting = async {
                while !self.load.is_ready(base).await {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("{server} is not ready"))?;
        }
        Ok(())
    }
}
