//! The batch of decisions, and tokens.

use sqlx::PgPool;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::{audit, revocation, transaction};
use crate::storage::columns::TokenColumns;
use crate::storage::{Fresh, OneTimeValue, RecordRows, TokenReference, TokenRow, one_time};

/// Commits a batch.
pub(super) async fn record(
    pool: &PgPool,
    known_revocations: i64,
    batch: &[OneTimeValue],
    decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
) -> Result<(), PostgresError> {
    let mut transaction = transaction::beside_writers(pool).await?;
    let spent = spend(&mut transaction, batch).await?;
    let revocations = revocation::beyond(&mut transaction, known_revocations).await?;
    let rows = decide(&Fresh { spent, revocations });
    insert(&mut transaction, &rows.tokens).await?;
    audit::insert(&mut transaction, &rows.audit).await?;
    transaction.commit().await?;
    Ok(())
}

/// Reads a token.
pub(super) async fn token(pool: &PgPool, jti: &str) -> Result<Option<TokenRow>, PostgresError> {
    let columns: Option<TokenColumns> = sqlx::query_as(
        "SELECT jti, iss, parent_iss, parent_jti, txn, client_id, issued_at, expires_at FROM tokens WHERE jti = $1",
    )
    .bind(jti)
    .fetch_optional(pool)
    .await?;
    Ok(columns.map(TokenRow::try_from).transpose()?)
}

/// Spends the values that nobody has spent; waits for a transaction that is about to spend one of them.
async fn spend(connection: &mut PgConnection, batch: &[OneTimeValue]) -> Result<Vec<bool>, PostgresError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let distinct = one_time::distinct(batch);
    let namespaces: Vec<&str> = distinct.iter().map(|value| value.namespace.as_str()).collect();
    let values: Vec<&str> = distinct.iter().map(|value| value.value.as_str()).collect();
    let expiries: Vec<i64> = distinct.iter().map(|value| value.expires_at.as_millisecond()).collect();
    let inserted: Vec<(String, String)> = sqlx::query_as(
        "INSERT INTO one_time_values (namespace, value, expires_at)
         SELECT * FROM UNNEST($1::TEXT[], $2::TEXT[], $3::BIGINT[])
         ON CONFLICT (namespace, value) DO NOTHING
         RETURNING namespace, value",
    )
    .bind(namespaces)
    .bind(values)
    .bind(expiries)
    .fetch_all(connection)
    .await?;
    Ok(one_time::spent(batch, inserted))
}

async fn insert(connection: &mut PgConnection, tokens: &[TokenRow]) -> Result<(), PostgresError> {
    if tokens.is_empty() {
        return Ok(());
    }
    let parents: Vec<Option<&TokenReference>> = tokens.iter().map(|token| token.parent.as_ref()).collect();
    sqlx::query(
        "INSERT INTO tokens (jti, iss, parent_iss, parent_jti, txn, client_id, issued_at, expires_at)
         SELECT * FROM UNNEST(
             $1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::BIGINT[], $8::BIGINT[])",
    )
    .bind(tokens.iter().map(|token| token.jti.as_str()).collect::<Vec<&str>>())
    .bind(tokens.iter().map(|token| token.iss.as_str()).collect::<Vec<&str>>())
    .bind(parents.iter().map(|parent| parent.map(|parent| parent.iss.as_str())).collect::<Vec<Option<&str>>>())
    .bind(parents.iter().map(|parent| parent.map(|parent| parent.jti.as_str())).collect::<Vec<Option<&str>>>())
    .bind(tokens.iter().map(|token| token.txn.as_str()).collect::<Vec<&str>>())
    .bind(tokens.iter().map(|token| token.client_id.as_str()).collect::<Vec<&str>>())
    .bind(tokens.iter().map(|token| token.issued_at.as_millisecond()).collect::<Vec<i64>>())
    .bind(tokens.iter().map(|token| token.expires_at.as_millisecond()).collect::<Vec<i64>>())
    .execute(connection)
    .await?;
    Ok(())
}
