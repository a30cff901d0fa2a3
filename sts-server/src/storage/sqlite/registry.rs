//! The state of the database, and registry entries.

use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnection, SqliteExecutor};

use super::error::SqliteError;
use super::{audit, begin_immediate, counter};
use crate::storage::coded::{self, Coded as _, EntryColumns};
use crate::storage::codes::{Code, RowCodes};
use crate::storage::columns::{self, StateColumns};
use crate::storage::{AuditRow, Changed, DatabaseState, EntryChange, EntryKind, EntryRow, Stored, Version};

/// Reads the versions and the time.
pub(super) async fn state(connection: impl SqliteExecutor<'_>) -> Result<DatabaseState, SqliteError> {
    let columns: StateColumns = sqlx::query_as(
        "SELECT registry.value AS registry, registry.generation AS registry_generation,
                keys.value AS keys, keys.generation AS keys_generation,
                revocations.value AS revocations, revocations.generation AS revocations_generation,
                approvals.value AS approvals, approvals.generation AS approvals_generation,
                CAST(unixepoch('subsec') * 1000 AS INTEGER) AS database_time
         FROM counters AS registry, counters AS keys, counters AS revocations, counters AS approvals
         WHERE registry.name = 'registry' AND keys.name = 'keys' AND revocations.name = 'revocations'
           AND approvals.name = 'approvals'",
    )
    .fetch_one(connection)
    .await?;
    Ok(columns.try_into()?)
}

pub(super) const ENTRIES: &str =
    "SELECT kind, id, origin, disabled_by_admin, body, code FROM entries ORDER BY kind, id";

pub(super) async fn entries(readers: &SqlitePool, codes: &RowCodes) -> Result<Stored<EntryRow>, SqliteError> {
    let mut transaction = readers.begin().await?;
    let counter = counter::read(&mut transaction, EntryColumns::COUNTER).await?;
    let entries: Vec<EntryColumns> = sqlx::query_as(ENTRIES).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(coded::stored(&counter, entries, codes))
}

pub(super) async fn change_entries(
    writer: &SqlitePool,
    codes: &RowCodes,
    expected: Version,
    changes: &[EntryChange],
    audit: &[AuditRow],
) -> Result<Changed, SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    let Some(mut counter) = counter::at(&mut transaction, EntryColumns::COUNTER, codes, expected).await? else {
        return Ok(Changed::Conflict);
    };
    let changes = columns::last_changes(changes);
    let named = changes.deleted.iter().copied().chain(changes.put.iter().map(|entry| (entry.kind, entry.id.as_str())));
    for code in codes_of(&mut transaction, names(named)).await? {
        counter.set.toggle(codes, &code);
    }
    let put: Vec<Code> = changes.put.iter().map(|entry| coded::entry_code(codes, entry)).collect();
    put.iter().for_each(|code| counter.set.toggle(codes, code));
    delete(&mut transaction, names(changes.deleted.iter().copied())).await?;
    upsert(&mut transaction, &changes.put, &put).await?;
    let raised = counter::write(&mut transaction, &counter.raised(codes)).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(Changed::Applied(raised))
}

fn names<'a>(names: impl Iterator<Item = (EntryKind, &'a str)>) -> Value {
    names.map(|(kind, id)| json!({ "kind": kind.as_str(), "id": id })).collect()
}

async fn codes_of(connection: &mut SqliteConnection, names: Value) -> Result<Vec<Vec<u8>>, SqliteError> {
    let codes = sqlx::query_scalar(
        "SELECT code FROM entries WHERE (kind, id) IN (SELECT value ->> 'kind', value ->> 'id' FROM json_each(?1))",
    )
    .bind(names.to_string())
    .fetch_all(connection)
    .await?;
    Ok(codes)
}

async fn delete(connection: &mut SqliteConnection, names: Value) -> Result<(), SqliteError> {
    sqlx::query("DELETE FROM entries WHERE (kind, id) IN (SELECT value ->> 'kind', value ->> 'id' FROM json_each(?1))")
        .bind(names.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Inserts or replaces entries. The codes are bound separately, because JSON has no bytes.
async fn upsert(connection: &mut SqliteConnection, entries: &[&EntryRow], codes: &[Code]) -> Result<(), SqliteError> {
    let rows: Value = entries
        .iter()
        .map(|entry| {
            json!({
                "kind": entry.kind.as_str(),
                "id": entry.id,
                "origin": entry.origin.as_str(),
                "disabled_by_admin": entry.disabled_by_admin,
                "body": entry.body,
            })
        })
        .collect();
    sqlx::query(
        "INSERT INTO entries (kind, id, origin, disabled_by_admin, body, code)
         SELECT value ->> 'kind', value ->> 'id', value ->> 'origin', value ->> 'disabled_by_admin', value ->> 'body',
                substr(?2, key * 32 + 1, 32)
         FROM json_each(?1) WHERE TRUE
         ON CONFLICT (kind, id) DO UPDATE
         SET origin = excluded.origin, disabled_by_admin = excluded.disabled_by_admin, body = excluded.body,
             code = excluded.code",
    )
    .bind(rows.to_string())
    .bind(codes.concat())
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads the time, in milliseconds since the epoch.
pub(super) async fn now(connection: &mut SqliteConnection) -> Result<i64, SqliteError> {
    Ok(sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)").fetch_one(connection).await?)
}
