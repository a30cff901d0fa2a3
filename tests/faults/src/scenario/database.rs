//! The database itself stops, dies or hangs; a pool that is too small; a file that another process holds.

use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};
use sts_tests::postgres::{Cluster, Database};

use super::CLIENTS;
use crate::trial::{Home, Trial};
use crate::{Outcome, Run};

/// How many tokens come before and after a fault.
const CALM: usize = 60;

/// Two servers on a database of their own, with clients that have got tokens.
struct Owned {
    trial: Trial,
    _database: Database,
    cluster: Cluster,
}

impl Owned {
    async fn begin(run: &Run) -> anyhow::Result<Self> {
        let cluster = Cluster::start().await;
        let database = cluster.database().await;
        let mut trial = Trial::prepare(&Home::at(database.url()), 2, run.program.as_ref());
        trial.begin(CLIENTS).await;
        Ok(Self { trial, _database: database, cluster })
    }

    async fn end(self) -> anyhow::Result<Outcome> {
        self.trial.tokens(CALM).await?;
        Ok(Outcome::Held(self.trial.end().await?))
    }
}

pub(super) async fn stopped(run: Run) -> anyhow::Result<Outcome> {
    let mut owned = Owned::begin(&run).await?;
    for _ in 0..run.pick(1, 5) {
        owned.trial.tokens(CALM).await?;
        owned.trial.load.storm();
        owned.cluster.stop_immediate().await;
        tokio::time::sleep(Duration::from_secs(run.pick(1, 10))).await;
        owned.cluster.start_again().await;
        owned.trial.recover().await?;
    }
    owned.end().await
}

pub(super) async fn killed(run: Run) -> anyhow::Result<Outcome> {
    let mut owned = Owned::begin(&run).await?;
    for _ in 0..run.pick(1, 20) {
        owned.trial.tokens(CALM).await?;
        owned.trial.load.storm();
        owned.cluster.kill().await;
        owned.cluster.start_again().await;
        owned.trial.recover().await?;
    }
    owned.end().await
}

/// Every process of the database stands still: it accepts connections, and answers nothing.
pub(super) async fn suspended(run: Run) -> anyhow::Result<Outcome> {
    let mut owned = Owned::begin(&run).await?;
    for seconds in run.pick(vec![2], vec![2, 10, 25]) {
        owned.trial.tokens(CALM).await?;
        owned.trial.load.storm();
        owned.cluster.suspend().await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        owned.cluster.resume().await;
        owned.trial.recover().await?;
    }
    owned.end().await
}

/// Two connections for sixty-four clients: nobody is refused for that, and nobody sees an outage.
pub(super) async fn pool_of_two(run: Run) -> anyhow::Result<Outcome> {
    let database = sts_tests::postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 1, run.program.as_ref());
    trial.options(&[("DATABASE__MAX_CONNECTIONS", "2")]);
    trial.begin(64).await;
    for _ in 0..run.pick(1, 10) {
        trial.tokens(300).await?;
    }
    Ok(Outcome::Held(trial.end().await?))
}

/// Another process holds the lock of the file: shortly, which makes requests slow and fails none; then for long, which is an outage.
pub(super) async fn locked(run: Run) -> anyhow::Result<Outcome> {
    let mut trial = Trial::prepare(&Home::sqlite(), 1, run.program.as_ref());
    trial.begin(CLIENTS).await;
    trial.tokens(CALM).await?;
    let file = format!("sqlite://{}", trial.folder.path("sts.db").display());
    let hold = async |time: Duration| -> anyhow::Result<()> {
        let mut connection = SqliteConnection::connect(&file).await?;
        sqlx::raw_sql("PRAGMA busy_timeout = 20000; BEGIN EXCLUSIVE").execute(&mut connection).await?;
        tokio::time::sleep(time).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
        Ok(connection.close().await?)
    };
    hold(Duration::from_secs(1)).await?;
    trial.tokens(CALM).await?;
    for _ in 0..run.pick(1, 5) {
        trial.load.storm();
        hold(Duration::from_secs(run.pick(7, 15))).await?;
        trial.recover().await?;
        trial.tokens(CALM).await?;
    }
    anyhow::ensure!(trial.load.tally.counts().outages > 0, "the lock was no outage");
    Ok(Outcome::Held(trial.end().await?))
}
