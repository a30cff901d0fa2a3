//! Servers that start together on an empty database.

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use sts_tests::postgres;

use super::CLIENTS;
use crate::trial::{Home, Trial};
use crate::{Outcome, Run};

/// One key of ES256 signs, and one is published to sign next.
const KEYS: i64 = 2;

pub(super) async fn start_together(run: Run) -> anyhow::Result<Outcome> {
    let mut outcome = None;
    let times = run.pick(1, 10);
    for _ in 0..times {
        outcome = Some(once(&run).await?);
    }
    let mut figures = outcome.context("at least one start")?;
    figures.notes.push(format!("{times} times; the counts are those of the last"));
    Ok(Outcome::Held(figures))
}

async fn once(run: &Run) -> anyhow::Result<crate::Figures> {
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 3, run.program.as_ref());
    // Not one request fails: clients ask from the moment that the first server says that it serves.
    trial.begin(CLIENTS).await;
    trial.tokens(run.pick(60, 300)).await?;
    let mut connection = PgConnection::connect(database.url()).await?;
    let migrations: Vec<(i64, bool)> =
        sqlx::query_as("SELECT count(*), bool_and(success) FROM _sqlx_migrations GROUP BY version")
            .fetch_all(&mut connection)
            .await?;
    anyhow::ensure!(migrations.iter().all(|row| *row == (1, true)), "a migration ran twice or failed: {migrations:?}");
    let algorithms: Vec<(String, i64)> =
        sqlx::query_as("SELECT algorithm, count(*) FROM signing_keys GROUP BY algorithm")
            .fetch_all(&mut connection)
            .await?;
    anyhow::ensure!(algorithms.iter().all(|(_, keys)| *keys == KEYS), "keys were made twice: {algorithms:?}");
    connection.close().await?;
    trial.end().await
}
