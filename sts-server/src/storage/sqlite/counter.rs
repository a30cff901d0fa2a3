//! The counters: the version of each table, and the code of the set of its rows.

use sqlx::sqlite::SqliteConnection;

use super::error::SqliteError;
use crate::storage::Version;
use crate::storage::codes::{Counter, CounterColumns, RowCodes};

/// Reads the counter with this name. Needs no row lock: a writing transaction holds the only write
/// lock.
pub(super) async fn read(connection: &mut SqliteConnection, name: &str) -> Result<CounterColumns, SqliteError> {
    let columns = sqlx::query_as("SELECT name, value, generation, recent, salt, code FROM counters WHERE name = ?1")
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(columns)
}

/// Opens the counter with this name for a change, if it has the expected version.
pub(super) async fn at(
    connection: &mut SqliteConnection,
    name: &str,
    codes: &RowCodes,
    expected: Version,
) -> Result<Option<Counter>, SqliteError> {
    let counter = Counter::open(read(connection, name).await?, codes)?;
    Ok((counter.version() == expected).then_some(counter))
}

/// Writes a counter, and returns its version.
pub(super) async fn write(connection: &mut SqliteConnection, columns: &CounterColumns) -> Result<Version, SqliteError> {
    sqlx::query("UPDATE counters SET value = ?2, generation = ?3, recent = ?4, salt = ?5, code = ?6 WHERE name = ?1")
        .bind(&columns.name)
        .bind(columns.value)
        .bind(columns.generation)
        .bind(&columns.recent)
        .bind(&columns.salt)
        .bind(&columns.code)
        .execute(connection)
        .await?;
    Ok(columns.version())
}
