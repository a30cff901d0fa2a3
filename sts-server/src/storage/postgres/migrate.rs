//! The schema.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::error::PostgresError;
use super::{ACQUIRE_TIMEOUT, recode};
use crate::storage::RowCodes;

/// The advisory lock of a server that migrates and then seals; it goes with the connection.
const MIGRATION: i64 = 7_310_003;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// How long all migrations may take, waiting for another server's included.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(600);

/// Brings the schema up to date. The migrator holds an advisory lock meanwhile, on a connection of its own: a migration may take longer
/// than the statements of the pool may, and the lock goes with the connection, whatever happens.
///
/// Rows of a schema without codes are sealed as they stand by the server that brings the codes in; another that starts meanwhile waits.
pub(super) async fn migrate(options: &PgConnectOptions, codes: &RowCodes) -> Result<(), PostgresError> {
    let mut connection = match tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await {
        Ok(connected) => connected?,
        Err(elapsed) => return Err(PostgresError::Driver(sqlx::Error::Io(elapsed.into()))),
    };
    let outcome = tokio::time::timeout(MIGRATE_TIMEOUT, run(&mut connection, codes)).await;
    // The migrations hold or have failed by now; a connection that does not close well changes neither.
    let _ = connection.close().await;
    match outcome {
        Ok(migrated) => migrated,
        Err(elapsed) => Err(PostgresError::Driver(sqlx::Error::Io(elapsed.into()))),
    }
}

async fn run(connection: &mut PgConnection, codes: &RowCodes) -> Result<(), PostgresError> {
    sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATION).execute(&mut *connection).await?;
    let had_codes = has_codes(connection).await?;
    // Not `run`: the compiler cannot prove its future `Send` for a borrowed connection.
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
