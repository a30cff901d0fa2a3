//! The counters: the version of each table, and the code of the set of its rows.

use sqlx::postgres::PgConnection;

use super::announce;
use super::error::PostgresError;
use crate::storage::Version;
use crate::storage::codes::{Counter, CounterColumns, RowCodes};

/// Reads the counter with this name.
pub(super) async fn read(connection: &mut PgConnection, name: &str) -> Result<CounterColumns, PostgresError> {
    let columns = sqlx::query_as("SELECT name, value, generation, recent, salt, code FROM counters WHERE name = $1")
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(columns)
}

/// Reads the counter with this name, and locks its row until the transaction ends.
pub(super) async fn lock(connection: &mut PgConnection, name: &str) -> Result<CounterColumns, PostgresError> {
    let columns =
        sqlx::query_as("SELECT name, value, generation, recent, salt, code FROM counters WHERE name = $1 FOR UPDATE")
            .bind(name)
            .fetch_one(connection)
            .await?;
    Ok(columns)
}

/// Locks the counter with this name for a change, if it has the expected version.
pub(super) async fn at(
    connection: &mut PgConnection,
    name: &str,
    codes: &RowCodes,
    expected: Version,
) -> Result<Option<Counter>, PostgresError> {
    let counter = Counter::open(lock(connection, name).await?, codes)?;
    Ok((counter.version() == expected).then_some(counter))
}

pub(super) async fn write(connection: &mut PgConnection, columns: &CounterColumns) -> Result<(), PostgresError> {
    sqlx::query("UPDATE counters SET value = $2, generation = $3, recent = $4, salt = $5, code = $6 WHERE name = $1")
        .bind(&columns.name)
        .bind(columns.value)
        .bind(columns.generation)
        .bind(&columns.recent)
        .bind(&columns.salt)
        .bind(&columns.code)
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes a raised counter, and announces the change.
pub(super) async fn raise(connection: &mut PgConnection, raised: &CounterColumns) -> Result<Version, PostgresError> {
    write(connection, raised).await?;
    announce::announce(connection).await?;
    Ok(raised.version())
}
