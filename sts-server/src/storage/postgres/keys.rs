//! Reads and changes of signing keys.

use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::pool::Pool;
use super::{audit, counter, recode, transaction};
use crate::storage::coded::{self, Coded as _, KeyColumns};
use crate::storage::codes::{Code, RowCodes};
use crate::storage::columns::{self, AuditKeyColumns};
use crate::storage::{AuditKeyRow, AuditRow, Changed, KeyChanges, KeyRow, Stored, Version};

/// Reads all keys.
pub(super) async fn keys(pool: &Pool, codes: &RowCodes) -> Result<Stored<KeyRow>, PostgresError> {
    let mut transaction = transaction::snapshot(pool).await?;
    let counter = counter::read(&mut transaction, KeyColumns::COUNTER).await?;
    let keys: Vec<KeyColumns> = sqlx::query_as(recode::READ_KEYS).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(coded::stored(&counter, keys, codes))
}

/// Opens the counter of the keys.
pub(super) async fn check_codes(pool: &Pool, codes: &RowCodes) -> Result<(), PostgresError> {
    let mut connection = pool.acquire().await?;
    counter::read(&mut connection, KeyColumns::COUNTER).await?.open(codes)?;
    Ok(())
}

/// Reads the audit keys of former master keys.
pub(super) async fn audit_keys(pool: &Pool) -> Result<Vec<AuditKeyRow>, PostgresError> {
    let keys: Vec<AuditKeyColumns> = sqlx::query_as("SELECT name, retired_at, sealed FROM audit_keys ORDER BY name")
        .fetch_all(&mut *pool.acquire().await?)
        .await?;
    Ok(columns::rows(keys)?)
}

/// Deletes and puts keys, with a statement for each: the keys are few.
pub(super) async fn change_keys(
    pool: &Pool,
    codes: &RowCodes,
    expected: Version,
    changes: &KeyChanges,
    audit: &[AuditRow],
) -> Result<Changed, PostgresError> {
    let mut transaction = transaction::changing_keys(pool).await?;
    let Some(raised) = change(pool, &mut transaction, codes, expected, changes).await? else {
        return Ok(Changed::Conflict);
    };
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(Changed::Applied(raised))
}

/// Does the same as [`change_keys`], and gives every row with a valid code its code under the next
/// master key.
pub(super) async fn reseal(
    pool: &Pool,
    [codes, next]: [&RowCodes; 2],
    expected: Version,
    changes: &KeyChanges,
    audit: &[AuditRow],
) -> Result<Changed, PostgresError> {
    let mut transaction = transaction::changing_everything(pool).await?;
    let Some(raised) = change(pool, &mut transaction, codes, expected, changes).await? else {
        return Ok(Changed::Conflict);
    };
    recode::recode(&mut transaction, Some(codes), next).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(Changed::Applied(raised))
}

async fn change(
    pool: &Pool,
    connection: &mut PgConnection,
    codes: &RowCodes,
    expected: Version,
    changes: &KeyChanges,
) -> Result<Option<Version>, PostgresError> {
    let Some(mut counter) = counter::at(connection, KeyColumns::COUNTER, codes, expected).await? else {
        return Ok(None);
    };
    let kids: Vec<&str> =
        changes.delete.iter().map(String::as_str).chain(changes.put.iter().map(|key| key.kid.as_str())).collect();
    let replaced: Vec<Vec<u8>> = sqlx::query_scalar("DELETE FROM signing_keys WHERE kid = ANY($1) RETURNING code")
        .bind(kids)
        .fetch_all(&mut *connection)
        .await?;
    replaced.iter().for_each(|code| counter.set.toggle(codes, code));
    for key in columns::last_keys(&changes.put) {
        let code = coded::key_code(codes, key);
        counter.set.toggle(codes, &code);
        put(connection, key, &code).await?;
    }
    for key in &changes.audit_keys {
        put_audit_key(connection, key).await?;
    }
    transaction::exclude_writers(pool, connection).await?;
    Ok(Some(counter::raise(connection, &counter.raised(codes)).await?))
}

async fn put(connection: &mut PgConnection, key: &KeyRow, code: &Code) -> Result<(), PostgresError> {
    sqlx::query(
        "INSERT INTO signing_keys (kid, algorithm, state, created_at, state_since, longest_life, sealed, code)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&key.kid)
    .bind(&key.algorithm)
    .bind(key.state.as_str())
    .bind(key.created_at.as_millisecond())
    .bind(key.state_since.as_millisecond())
    .bind(columns::millis(key.longest_life))
    .bind(&key.sealed)
    .bind(code.as_slice())
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_audit_key(connection: &mut PgConnection, key: &AuditKeyRow) -> Result<(), PostgresError> {
    sqlx::query(
        "INSERT INTO audit_keys (name, retired_at, sealed) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET retired_at = excluded.retired_at, sealed = excluded.sealed",
    )
    .bind(&key.name)
    .bind(key.retired_at.as_millisecond())
    .bind(&key.sealed)
    .execute(connection)
    .await?;
    Ok(())
}
