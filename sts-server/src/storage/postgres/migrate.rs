//! Migrations of the `PostgreSQL` schema.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::hosts::Hosts;
use super::pool::Pool;
use super::recode;
use super::session::Purpose;
use crate::storage::RowCodes;
use crate::storage::schema::{self, SchemaAge};

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    // The migrator's own lock belongs to a session.
    migrator.set_locking(false);
    migrator
});

/// Takes the advisory lock of a server that migrates and then seals. It ends with the transaction,
/// which a pooler keeps together.
const TAKE_TURN: &str = "BEGIN;
     SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
     SELECT pg_advisory_xact_lock(7310003)";

/// The indexes that later migrations have replaced, and the statements that drop them. A plain `DROP
/// INDEX` in a migration would make all statements on the table wait behind a long reader, such as a
/// backup.
const RETIRED_INDEXES: [(&str, &str); 6] = [
    ("audit_events_by_at", "DROP INDEX CONCURRENTLY audit_events_by_at"),
    ("audit_events_by_correlation_id", "DROP INDEX CONCURRENTLY audit_events_by_correlation_id"),
    ("audit_events_by_txn", "DROP INDEX CONCURRENTLY audit_events_by_txn"),
    ("audit_events_by_jti", "DROP INDEX CONCURRENTLY audit_events_by_jti"),
    ("approvals_by_principal", "DROP INDEX CONCURRENTLY approvals_by_principal"),
    ("approvals_by_expiry", "DROP INDEX CONCURRENTLY approvals_by_expiry"),
];

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
    let had_approvals = exists(connection, "approvals").await?;
    if schema_age(connection).await? == SchemaAge::Newer {
        return Ok(());
    }
    // Avoids `run`: the compiler cannot prove its future `Send` for a borrowed connection.
    MIGRATOR.run_direct(None, &mut *connection, false).await?;
    retire_indexes(connection).await?;
    let mut transaction = connection.begin().await?;
    if !had_codes {
        recode::recode(&mut transaction, None, codes).await?;
    } else if !had_approvals {
        recode::begin_approvals(&mut transaction, codes).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Drops the indexes that no query uses. Outside of a transaction, so that no writer waits.
async fn retire_indexes(connection: &mut PgConnection) -> Result<(), PostgresError> {
    for (index, drop) in RETIRED_INDEXES {
        if exists(connection, index).await? {
            sqlx::raw_sql(drop).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Checks that this version can work with the schema as it is.
pub(super) async fn check(pool: &Pool) -> Result<(), PostgresError> {
    let age = schema_age(&mut *pool.acquire().await?).await?;
    Ok(schema::require_whole(&MIGRATOR, age)?)
}

async fn schema_age(connection: &mut PgConnection) -> Result<SchemaAge, PostgresError> {
    let mut applied: Vec<i64> = Vec::new();
    if exists(connection, "_sqlx_migrations").await? {
        applied = sqlx::query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(&mut *connection).await?;
    }
    let mut oldest_reader: Option<i64> = None;
    if exists(connection, "schema_readers").await? {
        oldest_reader =
            sqlx::query_scalar("SELECT MAX(oldest_reader) FROM schema_readers").fetch_one(connection).await?;
    }
    Ok(schema::age(&MIGRATOR, &applied, oldest_reader)?)
}

async fn exists(connection: &mut PgConnection, table: &str) -> Result<bool, PostgresError> {
    Ok(sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(table).fetch_one(connection).await?)
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
