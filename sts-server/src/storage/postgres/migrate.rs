//! The schema.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use super::ACQUIRE_TIMEOUT;
use super::error::PostgresError;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// How long all migrations may take, waiting for another server's included.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(600);

/// Brings the schema up to date. The migrator holds an advisory lock meanwhile, on a connection of its own: a migration may take longer
/// than the statements of the pool may, and the lock goes with the connection, whatever happens.
pub(super) async fn migrate(options: &PgConnectOptions) -> Result<(), PostgresError> {
    let mut connection = match tokio::time::timeout(ACQUIRE_TIMEOUT, options.connect()).await {
        Ok(connected) => connected?,
        Err(elapsed) => return Err(PostgresError::Driver(sqlx::Error::Io(elapsed.into()))),
    };
    let outcome = tokio::time::timeout(MIGRATE_TIMEOUT, run(&mut connection)).await;
    // The migrations hold or have failed by now; a connection that does not close well changes neither.
    let _ = connection.close().await;
    match outcome {
        Ok(migrated) => migrated,
        Err(elapsed) => Err(PostgresError::Driver(sqlx::Error::Io(elapsed.into()))),
    }
}

async fn run(connection: &mut PgConnection) -> Result<(), PostgresError> {
    // Not `run`: the compiler cannot prove its future `Send` for a borrowed connection.
    Ok(MIGRATOR.run_direct(None, connection, false).await?)
}
