//! Servers that are killed, as a power cut would.

use sts_tests::postgres;

use super::CLIENTS;
use crate::shop::random;
use crate::trial::{Home, Trial};
use crate::{Outcome, Run};

/// A server is killed when between one and so many more tokens have been received.
const MOST_TOKENS_BETWEEN: u64 = 200;

pub(super) async fn on_sqlite(run: Run) -> anyhow::Result<Outcome> {
    of_one(run, &Home::sqlite()).await
}

pub(super) async fn on_postgres(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    of_one(run, &Home::at(database.url())).await
}

async fn of_one(run: Run, home: &Home) -> anyhow::Result<Outcome> {
    let mut trial = Trial::prepare(home, 1, run.program.as_ref());
    trial.begin(CLIENTS).await;
    for _ in 0..run.pick(3, 50) {
        trial.tokens(some()).await?;
        trial.load.storm();
        trial.take(0).kill().await;
        trial.start().await;
        trial.recover().await?;
    }
    Ok(Outcome::Held(trial.end().await?))
}

/// Between one and [`MOST_TOKENS_BETWEEN`].
fn some() -> usize {
    usize::try_from(1 + random() % MOST_TOKENS_BETWEEN).unwrap_or(1)
}

/// No storm here: what a server that is killed had under way is asked of another, and answered there.
pub(super) async fn of_replicas(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 3, run.program.as_ref());
    trial.load.retry_elsewhere();
    trial.begin(CLIENTS).await;
    for _ in 0..run.pick(1, 10) {
        for slot in 0..3 {
            trial.tokens(some()).await?;
            trial.take(slot).kill().await;
            trial.tokens(some()).await?;
            trial.start().await;
            trial.recover().await?;
        }
    }
    let elsewhere = trial.load.tally.counts().elsewhere;
    anyhow::ensure!(elsewhere > 0, "no client noticed: the servers were killed at no bad moment");
    trial.notes.push(format!("{elsewhere} requests answered by another server, none failed"));
    Ok(Outcome::Held(trial.end().await?))
}
