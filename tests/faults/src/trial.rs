//! A trial: servers on a database, clients that ask them, a fault, and what must hold afterwards.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use serde_json::Value;
use sts_server::keys::MasterKey;
use sts_server::storage;
use sts_tests::invariants::{check_invariants, check_invariants_after_loss};
use sts_tests::process::{Folder, Launch, Serving};
use tokio::task::JoinSet;

use crate::figures::Figures;
use crate::load::Load;
use crate::shop::Shop;

/// The longest that anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether a server serves again.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// More failures than the clients of a scenario make in a minute.
const FAILED_ATTEMPTS: &str = "1000000";

/// Where servers keep their data, and whatever must live as long.
pub struct Home {
    /// What the servers are told.
    pub url: String,
    /// The same for whoever looks behind them; none where it is a file in their folder.
    pub behind: Option<String>,
}

/// A trial under way.
pub struct Trial {
    /// The servers' folder.
    pub folder: Folder,
    /// The clients.
    pub load: Arc<Load>,
    /// What servers are started with, by slot.
    pub launches: Vec<Launch>,
    /// The servers; none in the slot of one that is down.
    pub servers: Vec<Option<Serving>>,
    /// What is told beside the counts.
    pub notes: Vec<String>,
    clients: JoinSet<()>,
    behind: String,
    /// The most tokens that may be lost; none where nothing may.
    losable: Option<HashSet<String>>,
    recoveries: Vec<Duration>,
    begun: Instant,
}

impl Home {
    /// A file in the servers' folder.
    #[must_use]
    pub fn sqlite() -> Self {
        Self { url: "sqlite://sts.db".to_owned(), behind: None }
    }

    /// A database at this URL.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned(), behind: Some(url.to_owned()) }
    }

    /// A database at this URL, which the servers reach at another address.
    ///
    /// # Errors
    /// When it is no URL.
    pub fn through(url: &str, address: std::net::SocketAddr) -> anyhow::Result<Self> {
        let mut through = url::Url::parse(url)?;
        through.set_ip_host(address.ip()).ok().context("a URL with a host")?;
        through.set_port(Some(address.port())).ok().context("a URL with a port")?;
        Ok(Self { url: through.to_string(), behind: Some(url.to_owned()) })
    }
}

impl Trial {
    /// A folder, and so many servers to come, of this program or of the one that is built.
    #[must_use]
    pub fn prepare(home: &Home, servers: usize, program: Option<&PathBuf>) -> Self {
        let folder = Folder::on_database(&home.url, "");
        let folder = match program {
            Some(program) => folder.of_program(program.clone()),
            None => folder,
        };
        let shop = Arc::new(Shop::new(folder.issuer()));
        folder.write("registry.toml", &shop.registry());
        folder.write("idp.json", &shop.idp_jwks());
        let behind = match &home.behind {
            Some(url) => url.clone(),
            None => format!("sqlite://{}", folder.path("sts.db").display()),
        };
        let launch = Launch::default().options(&[
            ("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", FAILED_ATTEMPTS),
            ("LIMITS__REFUSALS_PER_MINUTE_PER_CLIENT", FAILED_ATTEMPTS),
        ]);
        let launches: Vec<Launch> =
            (0..servers).map(|slot| if slot == 0 { launch.clone() } else { launch.clone().elsewhere() }).collect();
        Self {
            load: Arc::new(Load::new(shop, Vec::new())),
            folder,
            servers: launches.iter().map(|_| None).collect(),
            launches,
            notes: Vec::new(),
            clients: JoinSet::new(),
            behind,
            losable: None,
            recoveries: Vec::new(),
            begun: now(),
        }
    }

    /// Starts all servers with these options: each the environment variable without its prefix.
    pub fn options(&mut self, options: &[(&str, &str)]) {
        self.launches = std::mem::take(&mut self.launches).into_iter().map(|launch| launch.options(options)).collect();
    }

    /// Looks for what was issued at this URL.
    pub fn behind(&mut self, url: &str) {
        url.clone_into(&mut self.behind);
    }

    /// These tokens are lost, as an asynchronous standby loses them, with the ends of audit chains.
    pub fn loses(&mut self, tokens: HashSet<String>) {
        self.losable = Some(tokens);
    }

    /// Starts every server that is down, all at once, and asks all of them from now on.
    pub async fn start(&mut self) {
        let folder = &self.folder;
        let down = self.servers.iter_mut().zip(&self.launches).filter(|(server, _)| server.is_none());
        let starting: Vec<_> =
            down.map(|(slot, launch)| async move { *slot = Some(folder.launch(launch).await) }).collect();
        join_all(starting).await;
        self.load.ask_at(self.servers.iter().flatten().map(|server| server.public().to_owned()).collect());
    }

    /// Starts the servers, and so many clients.
    pub async fn begin(&mut self, clients: usize) {
        self.start().await;
        self.ask(clients, None);
    }

    /// So many more clients, each of which waits for so long between two turns.
    pub fn ask(&mut self, clients: usize, pace: Option<Duration>) {
        for _ in 0..clients {
            self.clients.spawn(Arc::clone(&self.load).client(pace));
        }
    }

    /// Runs something beside the clients, which ends when they do.
    pub fn beside(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.clients.spawn(task);
    }

    /// The server in a slot.
    ///
    /// # Panics
    /// When it is down.
    #[must_use]
    pub fn server(&self, slot: usize) -> &Serving {
        self.servers[slot].as_ref().expect("it runs")
    }

    /// Takes the server out of a slot.
    ///
    /// # Panics
    /// When it is down.
    #[must_use]
    pub fn take(&mut self, slot: usize) -> Serving {
        self.servers[slot].take().expect("it runs")
    }

    /// Returns when clients have received so many more tokens.
    ///
    /// # Errors
    /// When they do not.
    pub async fn tokens(&self, more: usize) -> anyhow::Result<()> {
        let enough = self.load.ledger.len() + more;
        let grown = tokio::time::timeout(PATIENCE, self.load.ledger.grown_to(enough)).await;
        grown.with_context(|| format!("{} tokens of {enough}:\n{}", self.load.ledger.len(), self.story()))
    }

    /// Returns when every server serves again, measures how long that took, and lets no fault be an excuse from then on.
    ///
    /// # Errors
    /// When one does not.
    pub async fn recover(&mut self) -> anyhow::Result<()> {
        let begun = now();
        let recovered = async {
            for server in self.servers.iter().flatten() {
                while !self.is_clean(server.public()).await {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        };
        let recovered = tokio::time::timeout(PATIENCE, recovered).await;
        recovered.with_context(|| format!("a server does not serve again:\n{}", self.story()))?;
        self.recoveries.push(begun.elapsed());
        self.load.calm();
        Ok(())
    }

    /// Whether a chain of two hops comes whole of a server that says that it is ready.
    async fn is_clean(&self, base: &str) -> bool {
        self.load.is_ready(base).await && self.load.chain(base).await.is_some()
    }

    /// Ends the clients, then asks every server once more, ends it in order, and checks all that must hold.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn end(mut self) -> anyhow::Result<Figures> {
        self.load.end();
        let ended = tokio::time::timeout(PATIENCE, async { while self.clients.join_next().await.is_some() {} }).await;
        ended.context("a client does not end")?;
        let breaches = self.load.breaches();
        anyhow::ensure!(breaches.is_empty(), "{}\n{}", breaches.join("\n"), self.story());
        for server in self.servers.iter().flatten() {
            anyhow::ensure!(self.is_clean(server.public()).await, "no clean exchange:\n{}", self.story());
        }
        for slot in &mut self.servers {
            let Some(server) = slot.take() else { continue };
            anyhow::ensure!(server.end().await == Some(0), "a server does not end in order");
        }
        let issued = self.audited().await?;
        Ok(Figures {
            seconds: self.begun.elapsed().as_secs_f64(),
            counts: self.load.tally.counts(),
            received: self.load.ledger.len(),
            issued,
            recoveries: self.recoveries.len(),
            slowest_recovery_ms: self
                .recoveries
                .iter()
                .max()
                .map_or(0, |longest| longest.as_millis().try_into().unwrap_or(u64::MAX)),
            notes: self.notes,
        })
    }

    /// The ledger against the audit log, I1 to I6, I9 and I10 over all rows, and `audit verify`; how many tokens were issued.
    async fn audited(&mut self) -> anyhow::Result<usize> {
        let report = self.folder.run(&["audit", "verify", "--json"]).await;
        let faults = report.json()[0]["faults"].as_array().cloned().context("a report of audit verify")?;
        match &self.losable {
            None => anyhow::ensure!(report.code == 0 && faults.is_empty(), "audit verify: {report:?}"),
            Some(_) => {
                let is_loss = |fault: &Value| fault["fault"] == "missing";
                anyhow::ensure!(faults.iter().all(is_loss), "audit verify: {report:?}");
            }
        }
        let master = MasterKey::read(&self.folder.path("master.key"))?;
        let store = storage::open(&self.behind, 4, sts_tests::keyring::row_codes(&master)).await?;
        let issued = match &self.losable {
            None => check_invariants(&*store, &master, self.folder.issuer()).await,
            Some(_) => check_invariants_after_loss(&*store, &master, self.folder.issuer()).await,
        };
        store.close().await;
        let issued = issued?;
        if let Some(losable) = &self.losable {
            let lost = self.load.ledger.strike_lost(&issued, losable);
            let gap = losable.len();
            anyhow::ensure!(lost == gap, "{lost} tokens lost, of {gap} that the standby did not receive");
            self.notes.push(format!("all {gap} tokens of the gap lost, {} chains with missing rows", faults.len()));
        }
        self.load.ledger.compare(&issued)?;
        anyhow::ensure!(!self.load.ledger.is_empty(), "no token was received: that is no load");
        Ok(issued.len())
    }

    /// The ends of the servers' logs.
    #[must_use]
    pub fn story(&self) -> String {
        let ends = self.servers.iter().flatten().map(|server| {
            let log = server.log();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(12)..].join("\n")
        });
        ends.collect::<Vec<_>>().join("\n--\n")
    }
}

/// The present, of a clock that nobody sets.
#[expect(clippy::disallowed_methods, reason = "a suite measures how long things take")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
