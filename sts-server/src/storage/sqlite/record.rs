//! The transaction that commits a batch of decisions, and reads of tokens.

use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use super::error::SqliteError;
use super::{audit, begin_immediate, registry, revocation};
use crate::storage::columns::{self, TokenColumns};
use crate::storage::{Fresh, FreshState, OneTimeValue, RecordRows, TokenReference, TokenRow, Versions, one_time};

pub(super) async fn record(
    writer: &SqlitePool,
    known: &[Versions],
    batch: &[OneTimeValue],
    decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
) -> Result<(), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    let spent = spend(&mut transaction, batch).await?;
    let versions = registry::state(&mut *transaction).await?.versions;
    let changed = if known.iter().all(|known| *known == versions) {
        None
    } else {
        Some(FreshState { versions, revocations: revocation::unknown(&mut transaction, known).await? })
    };
    let rows = decide(&Fresh { spent, changed });
    insert(&mut transaction, &rows.tokens).await?;
    audit::insert(&mut transaction, &rows.audit).await?;
    transaction.commit().await?;
    Ok(())
}

/// Writes a row again as it stands.
pub(super) async fn probe(writer: &SqlitePool) -> Result<(), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    sqlx::query("UPDATE counters SET value = value WHERE name = 'registry'").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn token(readers: &SqlitePool, jti: &str) -> Result<Option<TokenRow>, SqliteError> {
    let columns: Option<TokenColumns> = sqlx::query_as(
        "SELECT jti, iss, parent_iss, parent_jti, txn, client_id, issued_at, expires_at FROM tokens WHERE jti = ?1",
    )
    .bind(jti)
    .fetch_optional(readers)
    .await?;
    Ok(columns.map(TokenRow::try_from).transpose()?)
}

/// Reads the ancestors of a token, parent by parent. Returns `None` if the token is not recorded.
pub(super) async fn ancestors(readers: &SqlitePool, jti: &str) -> Result<Option<Vec<TokenReference>>, SqliteError> {
    let rows: Vec<(Option<String>, Option<String>)> = sqlx::query_as(
        "WITH RECURSIVE lineage (parent_iss, parent_jti) AS (
             SELECT parent_iss, parent_jti FROM tokens WHERE jti = ?1
             UNION
             SELECT parent.parent_iss, parent.parent_jti
             FROM tokens AS parent
             JOIN lineage ON parent.jti = lineage.parent_jti AND parent.iss = lineage.parent_iss
         )
         SELECT parent_iss, parent_jti FROM lineage",
    )
    .bind(jti)
    .fetch_all(readers)
    .await?;
    Ok(columns::ancestors(rows))
}

/// Spends the values that are still unspent.
async fn spend(connection: &mut SqliteConnection, batch: &[OneTimeValue]) -> Result<Vec<bool>, SqliteError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Value = one_time::distinct(batch)
        .into_iter()
        .map(|value| {
            json!({
                "namespace": value.namespace,
                "value": value.value,
                "expires_at": value.expires_at.as_millisecond(),
            })
        })
        .collect();
    let inserted: Vec<(String, String)> = sqlx::query_as(
        "INSERT INTO one_time_values (namespace, value, expires_at)
         SELECT value ->> 'namespace', value ->> 'value', value ->> 'expires_at' FROM json_each(?1) WHERE TRUE
         ON CONFLICT (namespace, value) DO NOTHING
         RETURNING namespace, value",
    )
    .bind(rows.to_string())
    .fetch_all(connection)
    .await?;
    Ok(one_time::spent(batch, inserted))
}

/// Inserts tokens with a single statement. Its text does not depend on the number of tokens, so it
/// is prepared only once.
async fn insert(connection: &mut SqliteConnection, tokens: &[TokenRow]) -> Result<(), SqliteError> {
    if tokens.is_empty() {
        return Ok(());
    }
    let rows: Value = tokens
        .iter()
        .map(|token| {
            json!({
                "jti": token.jti,
                "iss": token.iss,
                "parent_iss": token.parent.as_ref().map(|parent| &parent.iss),
                "parent_jti": token.parent.as_ref().map(|parent| &parent.jti),
                "txn": token.txn,
                "client_id": token.client_id,
                "issued_at": token.issued_at.as_millisecond(),
                "expires_at": token.expires_at.as_millisecond(),
            })
        })
        .collect();
    sqlx::query(
        "INSERT INTO tokens (jti, iss, parent_iss, parent_jti, txn, client_id, issued_at, expires_at)
         SELECT value ->> 'jti', value ->> 'iss', value ->> 'parent_iss', value ->> 'parent_jti', value ->> 'txn',
                value ->> 'client_id', value ->> 'issued_at', value ->> 'expires_at'
         FROM json_each(?1)",
    )
    .bind(rows.to_string())
    .execute(connection)
    .await?;
    Ok(())
}
