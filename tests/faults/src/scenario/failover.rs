//! A primary with a standby: the primary is killed and the standby promoted, or the standby is missing. The servers have both hosts in
//! their URL, and are not restarted.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use sts_tests::Operators;
use sts_tests::postgres::{Cluster, Database};

use super::{CLIENTS, standby};
use crate::operator::Operator;
use crate::proxy::{Network, Proxy};
use crate::trial::{Home, Trial, now};
use crate::{Outcome, Run};

/// The tokens that come before and after a fault.
const CALM: usize = 60;
const SERVERS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The longest that a state of the database or of a server may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(20);
/// The longest that the kill switch may take while no commit ends.
const REVOKED_WITHIN: Duration = Duration::from_secs(8);

/// The choice whether a commit waits for the standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replication {
    Synchronous,
    Asynchronous,
}

/// A primary, its standby behind a network of its own, and servers with clients.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    network: Proxy,
    database: Database,
    trial: Trial,
}

impl Pair {
    async fn begin(run: &Run, replication: Replication, options: &[(&str, &str)]) -> anyhow::Result<Self> {
        let primary = Cluster::start().await;
        let database = primary.database().await;
        let network = Proxy::start(primary.address()).await?;
        let standby = primary.standby(network.address()).await;
        if replication == Replication::Synchronous {
            // After the backup, so that the promoted standby waits for no other.
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
            primary.execute("SELECT pg_reload_conf()").await;
            synchronous_standby(database.url()).await?;
        }
        let url = database.url_at(&[primary.address(), standby.address()], "target_session_attrs=read-write");
        let mut trial = Trial::prepare(&Home { url, behind: None }, SERVERS, run.program.as_ref());
        trial.options(options);
        trial.options(&[("ADMIN__TOKENS", Operators::all().option.as_str())]);
        trial.behind(database.url());
        trial.begin(CLIENTS).await;
        trial.tokens(CALM).await?;
        Ok(Self { primary, standby, network, database, trial })
    }

    /// Kills the primary and promotes the standby. Returns the time of the promotion, and the time from then until all servers issue.
    async fn fail_over(&mut self) -> anyhow::Result<[Duration; 2]> {
        self.trial.load.storm();
        self.primary.kill().await;
        let begun = now();
        self.standby.promote().await;
        let promotion = begun.elapsed();
        self.trial.behind(self.standby.url_of_copy(&self.database).as_str());
        let begun = now();
        self.trial.recover().await?;
        Ok([promotion, begun.elapsed()])
    }

    async fn end(mut self, promotion: Duration, served: Duration) -> anyhow::Result<Outcome> {
        self.trial.tokens(CALM).await?;
        self.trial.notes.push(format!(
            "promotion {} ms; all servers issue {} ms after it, without a restart",
            promotion.as_millis(),
            served.as_millis()
        ));
        Ok(Outcome::Held(self.trial.end().await?))
    }
}

/// The primary is killed under load while its standby is synchronous: nothing that was acknowledged is lost.
pub(super) async fn synchronous(run: Run) -> anyhow::Result<Outcome> {
    let mut pair = Pair::begin(&run, Replication::Synchronous, &[("DATABASE__SYNCHRONOUS", "any")]).await?;
    pair.trial.tokens(run.pick(CALM, 2_000)).await?;
    let [promotion, served] = pair.fail_over().await?;
    pair.end(promotion, served).await
}

/// The same while its standby is asynchronous and behind: what it did not receive is lost, and nothing else.
pub(super) async fn asynchronous(run: Run) -> anyhow::Result<Outcome> {
    let mut pair = Pair::begin(&run, Replication::Asynchronous, &[]).await?;
    let pause = pair.trial.load.pause().await;
    standby::replicated(pair.database.url()).await?;
    let replicated: HashSet<String> = pair.trial.load.ledger.names().into_iter().collect();
    pair.network.set(Network::Down);
    drop(pause);
    pair.trial.tokens(run.pick(CALM, 500)).await?;
    // No chain crosses the failover: its first hop is lost.
    let pause = pair.trial.load.pause().await;
    let gap = pair.trial.load.ledger.names().into_iter().filter(|jti| !replicated.contains(jti)).collect();
    pair.trial.loses(gap);
    let [promotion, served] = pair.fail_over().await?;
    drop(pause);
    pair.end(promotion, served).await
}

/// The only synchronous standby is missing: no token, not ready, 503 at once, a kill switch that works, and no more connections.
pub(super) async fn dead(run: Run) -> anyhow::Result<Outcome> {
    let mut pair = Pair::begin(&run, Replication::Synchronous, &[("DATABASE__SYNCHRONOUS", "any")]).await?;
    let operator = Operator::new()?;
    let before = connections(pair.database.url()).await?;
    pair.trial.load.storm();
    pair.standby.kill().await;
    let begun = now();
    let load = std::sync::Arc::clone(&pair.trial.load);
    let servers: Vec<[String; 2]> = pair
        .trial
        .servers
        .iter()
        .flatten()
        .map(|server| [server.public().to_owned(), server.admin().to_owned()])
        .collect();
    for [public, _] in &servers {
        while load.is_ready(public).await {
            anyhow::ensure!(begun.elapsed() < SEEN_WITHIN, "ready without a standby after {SEEN_WITHIN:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    let not_ready = begun.elapsed();
    let issued = load.ledger.len();
    let (mut slowest_refusal, mut slowest_revocation, mut most) = (Duration::ZERO, Duration::ZERO, before);
    let begun = now();
    while begun.elapsed() < Duration::from_secs(run.pick(15, 60)) {
        for [public, admin] in &servers {
            let asked = now();
            let status = load.status(public, &load.shop.first_hop()).await;
            anyhow::ensure!(status == Some(503), "without a standby the answer is {status:?}");
            slowest_refusal = slowest_refusal.max(asked.elapsed());
            slowest_revocation = slowest_revocation.max(operator.revoke_unknown(admin).await?);
            most = most.max(connections(pair.database.url()).await?);
        }
    }
    anyhow::ensure!(load.ledger.len() == issued, "a token without a standby");
    anyhow::ensure!(slowest_revocation < REVOKED_WITHIN, "the kill switch took {slowest_revocation:?}");
    // Each server may end one waiting commit at a time, and its pools may have grown.
    let bound = before + 8 * i64::try_from(SERVERS)?;
    anyhow::ensure!(most <= bound, "{most} connections, {before} before");
    pair.standby.start_again().await;
    pair.trial.recover().await?;
    pair.trial.tokens(CALM).await?;
    pair.trial.notes.push(format!(
        "all servers not ready after {} ms; a 503 within {} ms; the kill switch within {} ms; {before} connections before, {most} at most",
        not_ready.as_millis(),
        slowest_refusal.as_millis(),
        slowest_revocation.as_millis(),
    ));
    Ok(Outcome::Held(pair.trial.end().await?))
}

/// Waits until the standby of a primary is synchronous.
async fn synchronous_standby(url: &str) -> anyhow::Result<()> {
    let begun = now();
    while number(url, "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'").await? != 1 {
        anyhow::ensure!(begun.elapsed() < SEEN_WITHIN, "no synchronous standby within {SEEN_WITHIN:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// The number of connections of servers.
async fn connections(url: &str) -> anyhow::Result<i64> {
    number(url, "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .await
}

async fn number(url: &str, query: &'static str) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    let number = sqlx::query_scalar(query).fetch_one(&mut connection).await;
    connection.close().await?;
    number.context("a number")
}
