//! Migrations of the `PostgreSQL` schema.

use std::time::Duration;

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::hosts::{Hosts, Purpose};
use super::recode;
use crate::storage::RowCodes;

/// The advisory lock of a server that migrates and then seals. It ends with the connection.
const MIGRATION: i64 = 7_310_003;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The time limit for all migrations, including the wait for another server's migrations.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(600);

/// Migrates the schema to the latest version.
///
/// The migrator holds an advisory lock on a separate connection. A migration may take longer than a
/// statement of the pool may. The lock ends with the connection in every case.
///
/// The server that adds the codes to an older schema seals its rows unchanged. A server that starts
/// meanwhile waits.
pub(super) async fn migrate(hosts: &Hosts, codes: &RowCodes) -> Result<(), PostgresError> {
    let mut connection = hosts.connect(Purpose::Migrations).await?.connection;
    let outcome = tokio::time::timeout(MIGRATE_TIMEOUT, run(&mut connection, codes)).await;
    // The migrations have committed or failed by now. A failed close changes neither.
    let _ = connection.close().await;
    match outcome {
        Ok(migrated) => migrated,
        Err(elapsed) => Err(PostgresError::Driver(sqlx::Error::Io(elapsed.into()))),
    }
}

async fn run(connection: &mut PgConnection, codes: &RowCodes) -> Result<(), PostgresError> {
    sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATION).execute(&mut *connection).await?;
    let had_codes = has_codes(connection).await?;
    // Avoids `run`: the compiler cannot prove its future `Send` for a borrowed connection.
    MIGRATOR.run_direct(None, &mut *connection, false).await?;
    if !had_codes {
        let mut transaction = connection.begin().await?;
        recode::recode(&mut transaction, None, codes).await?;
        transaction.commit().await?;
    }
    Ok(())
}

async fn has_codes(connection: &mut PgConnection) -> Result<bool, PostgresError> {
    let columns: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM information_schema.columns
         WHERE table_schema = CURRENT_SCHEMA() AND table_name = 'counters' AND column_name = 'code'",
    )
    .fetch_one(connection)
    .await?;
    Ok(columns > 0)
}
