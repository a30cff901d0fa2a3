//! Migrations of the `SQLite` schema.

use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnection;

use super::error::SqliteError;
use super::{begin_immediate, recode};
use crate::storage::RowCodes;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Migrates the schema to the latest version: all migrations in one transaction that holds the
/// write lock. The migrator has no lock here; its transactions become savepoints of this
/// transaction. Rows of a schema without codes are sealed unchanged.
pub(super) async fn migrate(writer: &SqlitePool, codes: &RowCodes) -> Result<(), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    let had_codes = has_codes(&mut transaction).await?;
    // Avoids `run`: the compiler cannot prove its future `Send` for a borrowed connection.
    MIGRATOR.run_direct(None, &mut *transaction, false).await?;
    if had_codes {
        recode::begin_approvals(&mut transaction, codes).await?;
    } else {
        recode::recode(&mut transaction, None, codes).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn has_codes(connection: &mut SqliteConnection) -> Result<bool, SqliteError> {
    let columns: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM pragma_table_info('counters') WHERE name = 'code'")
        .fetch_one(connection)
        .await?;
    Ok(columns > 0)
}
