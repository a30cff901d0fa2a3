//! Change counters and registry entries.

use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use super::error::SqliteError;
use super::{audit, begin_immediate};
use crate::storage::columns::{self, EntryColumns, VersionColumns};
use crate::storage::{AuditRow, Changed, EntryChange, EntryKind, EntryRow, Versions};

/// Reads the counters and the time.
pub(super) async fn versions(readers: &SqlitePool) -> Result<Versions, SqliteError> {
    let columns: VersionColumns = sqlx::query_as(
        "SELECT (SELECT value FROM counters WHERE name = 'registry') AS registry,
                (SELECT value FROM counters WHERE name = 'keys') AS keys,
                (SELECT value FROM counters WHERE name = 'revocations') AS revocations,
                CAST(unixepoch('subsec') * 1000 AS INTEGER) AS database_time",
    )
    .fetch_one(readers)
    .await?;
    Ok(columns.try_into()?)
}

/// Reads the counter of this name.
pub(super) async fn counter(connection: &mut SqliteConnection, name: &str) -> Result<i64, SqliteError> {
    Ok(sqlx::query_scalar("SELECT value FROM counters WHERE name = ?1").bind(name).fetch_one(connection).await?)
}

/// Raises the counter of this name if it stands at `expected`; the raised one.
pub(super) async fn raise_counter_from(
    connection: &mut SqliteConnection,
    name: &str,
    expected: i64,
) -> Result<Option<i64>, SqliteError> {
    let raised =
        sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = ?1 AND value = ?2 RETURNING value")
            .bind(name)
            .bind(expected)
            .fetch_optional(connection)
            .await?;
    Ok(raised)
}

/// Reads all entries.
pub(super) async fn entries(readers: &SqlitePool) -> Result<(i64, Vec<EntryRow>), SqliteError> {
    let mut transaction = readers.begin().await?;
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
    writer: &SqlitePool,
    expected: i64,
    changes: &[EntryChange],
    audit: &[AuditRow],
) -> Result<Changed, SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
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

async fn delete(connection: &mut SqliteConnection, names: &[(EntryKind, &str)]) -> Result<(), SqliteError> {
    let rows: Value = names.iter().map(|(kind, id)| json!({ "kind": kind.word(), "id": id })).collect();
    sqlx::query("DELETE FROM entries WHERE (kind, id) IN (SELECT value ->> 'kind', value ->> 'id' FROM json_each(?1))")
        .bind(rows.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

async fn upsert(connection: &mut SqliteConnection, entries: &[&EntryRow]) -> Result<(), SqliteError> {
    let rows: Value = entries
        .iter()
        .map(|entry| {
            json!({
                "kind": entry.kind.word(),
                "id": entry.id,
                "origin": entry.origin.word(),
                "disabled_by_admin": entry.disabled_by_admin,
                "body": entry.body,
            })
        })
        .collect();
    sqlx::query(
        "INSERT INTO entries (kind, id, origin, disabled_by_admin, body)
         SELECT value ->> 'kind', value ->> 'id', value ->> 'origin', value ->> 'disabled_by_admin', value ->> 'body'
         FROM json_each(?1) WHERE TRUE
         ON CONFLICT (kind, id) DO UPDATE
         SET origin = excluded.origin, disabled_by_admin = excluded.disabled_by_admin, body = excluded.body",
    )
    .bind(rows.to_string())
    .execute(connection)
    .await?;
    Ok(())
}
