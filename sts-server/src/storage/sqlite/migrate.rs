//! Migrations of the `SQLite` schema.

use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnection;

use super::error::SqliteError;
use super::{begin_immediate, recode};
use crate::storage::RowCodes;
use crate::storage::schema::{self, SchemaAge};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Migrates the schema to the latest version: all migrations in one transaction that holds the
/// write lock. The migrator has no lock here; its transactions become savepoints of this
/// transaction. Rows of a schema without codes are sealed unchanged.
pub(super) async fn migrate(writer: &SqlitePool, codes: &RowCodes) -> Result<(), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    let had_codes = has_codes(&mut transaction).await?;
    let had_approvals = exists(&mut transaction, "approvals").await?;
    if schema_age(&mut transaction).await? == SchemaAge::Newer {
        return Ok(());
    }
    // Avoids `run`: the compiler cannot prove its future `Send` for a borrowed connection.
    MIGRATOR.run_direct(None, &mut *transaction, false).await?;
    if !had_codes {
        recode::recode(&mut transaction, None, codes).await?;
    } else if !had_approvals {
        recode::begin_approvals(&mut transaction, codes).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Checks that this version can work with the schema as it is.
pub(super) async fn check(readers: &SqlitePool) -> Result<(), SqliteError> {
    let age = schema_age(&mut *readers.acquire().await?).await?;
    Ok(schema::require_whole(&MIGRATOR, age)?)
}

async fn schema_age(connection: &mut SqliteConnection) -> Result<SchemaAge, SqliteError> {
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

async fn exists(connection: &mut SqliteConnection, table: &str) -> Result<bool, SqliteError> {
    let tables: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1")
        .bind(table)
        .fetch_one(connection)
        .await?;
    Ok(tables > 0)
}

async fn has_codes(connection: &mut SqliteConnection) -> Result<bool, SqliteError> {
    let columns: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM pragma_table_info('counters') WHERE name = 'code'")
        .fetch_one(connection)
        .await?;
    Ok(columns > 0)
}
