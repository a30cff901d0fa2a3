//! Migrations of the `PostgreSQL` schema.

use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::hosts::Hosts;
use super::recode;
use super::session::Purpose;
use crate::storage::RowCodes;

/// Takes the advisory lock of a server that migrates and then seals. It ends with the transaction,
/// which a pooler keeps together.
const TAKE_TURN: &str = "BEGIN;
     SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
     SELECT pg_advisory_xact_lock(7310003)";

/// The time limit for all migrations, including the wait for another server's migrations.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(600);

/// Migrates the schema to the latest version.
///
/// A separate connection holds an advisory lock meanwhile. A migration may take longer than a
/// statement of the pool may. The lock ends with its connection in every case.
///
/// The server that adds the codes to an older schema seals its rows unchanged. A server that starts
/// meanwhile waits.
pub(super) async fn migrate(hosts: &Hosts, codes: &RowCodes) -> Result<(), PostgresError> {
    let mut turn = hosts.connect(Purpose::Migrations).await?.connection;
    let mut connection = hosts.connect(Purpose::Migrations).await?.connection;
    let outcome = tokio::time::timeout(MIGRATE_TIMEOUT, run(&mut turn, &mut connection, codes)).await;
    // The migrations have committed or failed by now. A failed close changes neither.
    let _ = connection.close().await;
    let _ = turn.close().await;
    match outcome {
        Ok(migrated) => migrated,
        Err(elapsed) => Err(PostgresError::Driver(sqlx::Error::Io(elapsed.into()))),
    }
}

async fn run(turn: &mut PgConnection, connection: &mut PgConnection, codes: &RowCodes) -> Result<(), PostgresError> {
    sqlx::raw_sql(TAKE_TURN).execute(turn).await?;
    let had_codes = has_codes(connection).await?;
    let mut migrator = sqlx::migrate!("migrations/postgres");
    // The migrator's own lock belongs to a session.
    migrator.set_locking(false);
    // Avoids `run`: the compiler cannot prove its future `Send` for a borrowed connection.
    migrator.run_direct(None, &mut *connection, false).await?;
    let mut transaction = connection.begin().await?;
    if had_codes {
        recode::begin_approvals(&mut transaction, codes).await?;
    } else {
        recode::recode(&mut transaction, None, codes).await?;
    }
    transaction.commit().await?;
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
