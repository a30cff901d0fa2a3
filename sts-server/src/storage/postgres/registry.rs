//! Change counters and registry entries.

use sqlx::PgPool;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::{announce, audit, transaction};
use crate::storage::columns::{self, EntryColumns, VersionColumns};
use crate::storage::{AuditRow, Changed, EntryChange, EntryKind, EntryRow, Versions};

/// Reads the counters and the time.
pub(super) async fn versions(pool: &PgPool) -> Result<Versions, PostgresError> {
    let columns: VersionColumns = sqlx::query_as(
        "SELECT (SELECT value FROM counters WHERE name = 'registry') AS registry,
                (SELECT value FROM counters WHERE name = 'keys') AS keys,
                (SELECT value FROM counters WHERE name = 'revocations') AS revocations,
                FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT AS database_time",
    )
    .fetch_one(pool)
    .await?;
    Ok(columns.try_into()?)
}

/// Reads the time, in milliseconds since the epoch. A bound value, unlike an expression over the clock, lets a query use an index.
pub(super) async fn now(connection: &mut PgConnection) -> Result<i64, PostgresError> {
    let now = sqlx::query_scalar("SELECT FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT")
        .fetch_one(connection)
        .await?;
    Ok(now)
}

/// Reads the counter of this name.
pub(super) async fn counter(connection: &mut PgConnection, name: &str) -> Result<i64, PostgresError> {
    Ok(sqlx::query_scalar("SELECT value FROM counters WHERE name = $1").bind(name).fetch_one(connection).await?)
}

/// Raises the counter of this name if it stands at `expected`; the raised one.
pub(super) async fn raise_counter_from(
    connection: &mut PgConnection,
    name: &str,
    expected: i64,
) -> Result<Option<i64>, PostgresError> {
    let raised =
        sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = $1 AND value = $2 RETURNING value")
            .bind(name)
            .bind(expected)
            .fetch_optional(&mut *connection)
            .await?;
    if raised.is_some() {
        announce::announce(connection).await?;
    }
    Ok(raised)
}

/// Reads all entries.
pub(super) async fn entries(pool: &PgPool) -> Result<(i64, Vec<EntryRow>), PostgresError> {
    let mut transaction = transaction::snapshot(pool).await?;
    let counter = counter(&mut transaction, "registry").await?;
    let entries: Vec<EntryColumns> =
        sqlx::query_as("SELECT kind, id, origin, disabled_by_admin, body FROM entries ORDER BY kind, id")
            .fetch_all(&mut *transaction)
            .await?;
    transaction.commit().await?;
    Ok((counter, columns::rows(entries)?))
}

/// Puts and deletes entries.
pub(super) async fn change_entries(
    pool: &PgPool,
    expected: i64,
    changes: &[EntryChange],
    audit: &[AuditRow],
) -> Result<Changed, PostgresError> {
    let mut transaction = transaction::beside_writers(pool).await?;
    let Some(raised) = raise_counter_from(&mut transaction, "registry", expected).await? else {
        return Ok(Changed::Conflict);
    };
    let changes = columns::last_changes(changes);
    delete(&mut transaction, &changes.deleted).await?;
    upsert(&mut transaction, &changes.put).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(Changed::Applied(raised))
}

async fn delete(connection: &mut PgConnection, names: &[(EntryKind, &str)]) -> Result<(), PostgresError> {
    let kinds: Vec<&str> = names.iter().map(|(kind, _)| kind.word()).collect();
    let ids: Vec<&str> = names.iter().map(|(_, id)| *id).collect();
    sqlx::query("DELETE FROM entries WHERE (kind, id) IN (SELECT * FROM UNNEST($1::TEXT[], $2::TEXT[]))")
        .bind(kinds)
        .bind(ids)
        .execute(connection)
        .await?;
    Ok(())
}

async fn upsert(connection: &mut PgConnection, entries: &[&EntryRow]) -> Result<(), PostgresError> {
    let kinds: Vec<&str> = entries.iter().map(|entry| entry.kind.word()).collect();
    let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let origins: Vec<&str> = entries.iter().map(|entry| entry.origin.word()).collect();
    let disabled: Vec<bool> = entries.iter().map(|entry| entry.disabled_by_admin).collect();
    let bodies: Vec<&str> = entries.iter().map(|entry| entry.body.as_str()).collect();
    sqlx::query(
        "INSERT INTO entries (kind, id, origin, disabled_by_admin, body)
         SELECT * FROM UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::BOOLEAN[], $5::TEXT[])
         ON CONFLICT (kind, id) DO UPDATE
         SET origin = excluded.origin, disabled_by_admin = excluded.disabled_by_admin, body = excluded.body",
    )
    .bind(kinds)
    .bind(ids)
    .bind(origins)
    .bind(disabled)
    .bind(bodies)
    .execute(connection)
    .await?;
    Ok(())
}
