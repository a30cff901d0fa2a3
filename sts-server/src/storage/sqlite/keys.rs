//! Signing keys.

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use super::error::SqliteError;
use super::{audit, begin_immediate, registry};
use crate::storage::columns::{self, AuditKeyColumns, KeyColumns};
use crate::storage::{AuditKeyRow, AuditRow, Changed, KeyChanges, KeyRow};

/// Reads all keys.
pub(super) async fn keys(readers: &SqlitePool) -> Result<(i64, Vec<KeyRow>), SqliteError> {
    let mut transaction = readers.begin().await?;
    let counter = registry::counter(&mut transaction, "keys").await?;
    let keys: Vec<KeyColumns> = sqlx::query_as(
        "SELECT kid, algorithm, state, created_at, state_since, longest_life, sealed FROM signing_keys
         ORDER BY created_at, kid",
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok((counter, columns::rows(keys)?))
}

/// Reads the audit keys of former master keys.
pub(super) async fn audit_keys(readers: &SqlitePool) -> Result<Vec<AuditKeyRow>, SqliteError> {
    let keys: Vec<AuditKeyColumns> =
        sqlx::query_as("SELECT name, retired_at, sealed FROM audit_keys ORDER BY name").fetch_all(readers).await?;
    Ok(columns::rows(keys)?)
}

/// Deletes and puts keys. They are few: a statement each.
pub(super) async fn change_keys(
    writer: &SqlitePool,
    expected: i64,
    changes: &KeyChanges,
    audit: &[AuditRow],
) -> Result<Changed, SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    let Some(raised) = registry::raise_counter_from(&mut transaction, "keys", expected).await? else {
        return Ok(Changed::Conflict);
    };
    for kid in &changes.delete {
        sqlx::query("DELETE FROM signing_keys WHERE kid = ?1").bind(kid).execute(&mut *transaction).await?;
    }
    for key in &changes.put {
        put(&mut transaction, key).await?;
    }
    for key in &changes.audit_keys {
        put_audit_key(&mut transaction, key).await?;
    }
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(Changed::Applied(raised))
}

async fn put(connection: &mut SqliteConnection, key: &KeyRow) -> Result<(), SqliteError> {
    sqlx::query(
        "INSERT INTO signing_keys (kid, algorithm, state, created_at, state_since, longest_life, sealed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (kid) DO UPDATE
         SET algorithm = excluded.algorithm, state = excluded.state, created_at = excluded.created_at,
             state_since = excluded.state_since, longest_life = excluded.longest_life, sealed = excluded.sealed",
    )
    .bind(&key.kid)
    .bind(&key.algorithm)
    .bind(key.state.word())
    .bind(key.created_at.as_millisecond())
    .bind(key.state_since.as_millisecond())
    .bind(columns::millis(key.longest_life))
    .bind(&key.sealed)
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_audit_key(connection: &mut SqliteConnection, key: &AuditKeyRow) -> Result<(), SqliteError> {
    sqlx::query(
        "INSERT INTO audit_keys (name, retired_at, sealed) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET retired_at = excluded.retired_at, sealed = excluded.sealed",
    )
    .bind(&key.name)
    .bind(key.retired_at.as_millisecond())
    .bind(&key.sealed)
    .execute(connection)
    .await?;
    Ok(())
}
