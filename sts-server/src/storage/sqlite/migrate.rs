//! The schema.

use sqlx::SqlitePool;
use sqlx::migrate::Migrator;

use super::begin_immediate;
use super::error::SqliteError;

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Brings the schema up to date: all migrations in one transaction that holds the write lock. The migrator has no lock of its own here;
/// its transactions become savepoints of ours.
pub(super) async fn migrate(writer: &SqlitePool) -> Result<(), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    // Not `run`: the compiler cannot prove its future `Send` for a borrowed connection.
    MIGRATOR.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    Ok(())
}
