//! The network between the servers and their database fails.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use sts_tests::postgres;

use super::CLIENTS;
use crate::proxy::{Network, Proxy};
use crate::trial::{Home, Trial};
use crate::{Outcome, Run};

const CUT_EVERY: Duration = Duration::from_millis(200);
/// How long each piece takes where the database is slow.
const DELAY: Duration = Duration::from_millis(50);
/// How many tokens come before and after a fault.
const CALM: usize = 60;

/// Two servers behind a proxy, with clients that have got tokens.
struct Networked {
    proxy: Proxy,
    trial: Trial,
    _database: postgres::Database,
}

impl Networked {
    async fn begin(run: &Run) -> anyhow::Result<Self> {
        let database = postgres::database().await;
        let proxy = Proxy::start(address(database.url()).await?).await?;
        let mut trial = Trial::prepare(&Home::through(database.url(), proxy.address())?, 2, run.program.as_ref());
        trial.begin(CLIENTS).await;
        trial.tokens(CALM).await?;
        trial.load.storm();
        Ok(Self { proxy, trial, _database: database })
    }

    /// The network is well again, and so are the servers.
    async fn end(mut self) -> anyhow::Result<Outcome> {
        self.proxy.set(Network::Clear);
        self.trial.recover().await?;
        self.trial.tokens(CALM).await?;
        Ok(Outcome::Held(self.trial.end().await?))
    }
}

/// Where the server of a URL listens.
async fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let url = url::Url::parse(url)?;
    let host = url.host_str().context("a URL with a host")?.to_owned();
    let mut found = tokio::net::lookup_host((host, url.port().unwrap_or(5432))).await?;
    found.next().context("an address of the database")
}

pub(super) async fn connections_cut(run: Run) -> anyhow::Result<Outcome> {
    let networked = Networked::begin(&run).await?;
    for _ in 0..run.pick(15, 300) {
        tokio::time::sleep(CUT_EVERY).await;
        networked.proxy.cut();
    }
    networked.end().await
}

/// A slow database is no outage: tokens come, slower.
pub(super) async fn slow(run: Run) -> anyhow::Result<Outcome> {
    let networked = Networked::begin(&run).await?;
    networked.proxy.set(Network::Slow(DELAY));
    networked.trial.tokens(run.pick(60, 600)).await?;
    networked.end().await
}

pub(super) async fn black_hole(run: Run) -> anyhow::Result<Outcome> {
    let networked = Networked::begin(&run).await?;
    networked.proxy.set(Network::BlackHole);
    tokio::time::sleep(Duration::from_secs(run.pick(5, 40))).await;
    networked.end().await
}

/// The network is well, and every connection is dead without knowing.
pub(super) async fn half_open(run: Run) -> anyhow::Result<Outcome> {
    let networked = Networked::begin(&run).await?;
    for _ in 0..run.pick(1, 4) {
        networked.proxy.forget();
        tokio::time::sleep(Duration::from_secs(run.pick(2, 12))).await;
    }
    networked.end().await
}

pub(super) async fn unreachable(run: Run) -> anyhow::Result<Outcome> {
    let networked = Networked::begin(&run).await?;
    networked.proxy.set(Network::Down);
    tokio::time::sleep(Duration::from_secs(run.pick(3, 30))).await;
    networked.end().await
}
