//! The state of the database, and registry entries.

use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::pool::Pool;
use super::{audit, counter, standbys, transaction};
use crate::storage::coded::{self, Coded as _, EntryColumns};
use crate::storage::codes::{Code, RowCodes};
use crate::storage::columns::{self, StateColumns};
use crate::storage::{AuditRow, Changed, DatabaseState, EntryChange, EntryKind, EntryRow, Stored, Version};

/// Reads the versions and the time.
pub(super) async fn state(pool: &Pool) -> Result<DatabaseState, PostgresError> {
    let mut connection = pool.acquire().await?;
    let columns: StateColumns = sqlx::query_as(
        "SELECT registry.value AS registry, registry.generation AS registry_generation,
                keys.value AS keys, keys.generation AS keys_generation,
                revocations.value AS revocations, revocations.generation AS revocations_generation,
                approvals.value AS approvals, approvals.generation AS approvals_generation,
                FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT AS database_time
         FROM counters AS registry, counters AS keys, counters AS revocations, counters AS approvals
         WHERE registry.name = 'registry' AND keys.name = 'keys' AND revocations.name = 'revocations'
           AND approvals.name = 'approvals'",
    )
    .fetch_one(&mut *connection)
    .await?;
    let state: DatabaseState = columns.try_into()?;
    if !pool.hosts().requires_synchronous {
        return Ok(state);
    }
    Ok(DatabaseState { is_synchronous: standbys::is_synchronous(&mut connection).await?, ..state })
}

/// Reads the time, in milliseconds since the epoch. A query can use an index with a bound value,
/// but not with an expression of the clock.
pub(super) async fn now(connection: &mut PgConnection) -> Result<i64, PostgresError> {
    let now = sqlx::query_scalar("SELECT FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT")
        .fetch_one(connection)
        .await?;
    Ok(now)
}

pub(super) const ENTRIES: &str =
    "SELECT kind, id, origin, disabled_by_admin, body, code FROM entries ORDER BY kind, id";

pub(super) async fn entries(pool: &Pool, codes: &RowCodes) -> Result<Stored<EntryRow>, PostgresError> {
    let mut transaction = transaction::snapshot(pool).await?;
    let counter = counter::read(&mut transaction, EntryColumns::COUNTER).await?;
    let entries: Vec<EntryColumns> = sqlx::query_as(ENTRIES).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(coded::stored(&counter, entries, codes))
}

pub(super) async fn change_entries(
    pool: &Pool,
    codes: &RowCodes,
    expected: Version,
    changes: &[EntryChange],
    audit: &[AuditRow],
) -> Result<Changed, PostgresError> {
    let mut transaction = transaction::changing(pool).await?;
    let Some(mut counter) = counter::at(&mut transaction, EntryColumns::COUNTER, codes, expected).await? else {
        return Ok(Changed::Conflict);
    };
    let changes = columns::last_changes(changes);
    let named = changes.deleted.iter().copied().chain(changes.put.iter().map(|entry| (entry.kind, entry.id.as_str())));
    for code in codes_of(&mut transaction, named.collect()).await? {
        counter.set.toggle(codes, &code);
    }
    let put: Vec<Code> = changes.put.iter().map(|entry| coded::entry_code(codes, entry)).collect();
    put.iter().for_each(|code| counter.set.toggle(codes, code));
    delete(&mut transaction, &changes.deleted).await?;
    upsert(&mut transaction, &changes.put, &put).await?;
    transaction::exclude_writers(pool, &mut transaction).await?;
    let raised = counter::raise(&mut transaction, &counter.raised(codes)).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(Changed::Applied(raised))
}

async fn codes_of(connection: &mut PgConnection, names: Vec<(EntryKind, &str)>) -> Result<Vec<Vec<u8>>, PostgresError> {
    let kinds: Vec<&str> = names.iter().map(|(kind, _)| kind.as_str()).collect();
    let ids: Vec<&str> = names.iter().map(|(_, id)| *id).collect();
    let codes = sqlx::query_scalar(
        "SELECT code FROM entries WHERE (kind, id) IN (SELECT * FROM UNNEST($1::TEXT[], $2::TEXT[]))",
    )
    .bind(kinds)
    .bind(ids)
    .fetch_all(connection)
    .await?;
    Ok(codes)
}

async fn delete(connection: &mut PgConnection, names: &[(EntryKind, &str)]) -> Result<(), PostgresError> {
    let kinds: Vec<&str> = names.iter().map(|(kind, _)| kind.as_str()).collect();
    let ids: Vec<&str> = names.iter().map(|(_, id)| *id).collect();
    sqlx::query("DELETE FROM entries WHERE (kind, id) IN (SELECT * FROM UNNEST($1::TEXT[], $2::TEXT[]))")
        .bind(kinds)
        .bind(ids)
        .execute(connection)
        .await?;
    Ok(())
}

async fn upsert(connection: &mut PgConnection, entries: &[&EntryRow], codes: &[Code]) -> Result<(), PostgresError> {
    let kinds: Vec<&str> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    let origins: Vec<&str> = entries.iter().map(|entry| entry.origin.as_str()).collect();
    let disabled: Vec<bool> = entries.iter().map(|entry| entry.disabled_by_admin).collect();
    let bodies: Vec<&str> = entries.iter().map(|entry| entry.body.as_str()).collect();
    sqlx::query(
        "INSERT INTO entries (kind, id, origin, disabled_by_admin, body, code)
         SELECT * FROM UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::BOOLEAN[], $5::TEXT[], $6::BYTEA[])
         ON CONFLICT (kind, id) DO UPDATE
         SET origin = excluded.origin, disabled_by_admin = excluded.disabled_by_admin, body = excluded.body,
             code = excluded.code",
    )
    .bind(kinds)
    .bind(ids)
    .bind(origins)
    .bind(disabled)
    .bind(bodies)
    .bind(codes.iter().map(Code::as_slice).collect::<Vec<&[u8]>>())
    .execute(connection)
    .await?;
    Ok(())
}
