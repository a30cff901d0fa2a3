//! The batch of decisions, and tokens.

use sqlx::PgPool;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::{audit, revocation, transaction};
use crate::storage::columns::TokenColumns;
use crate::storage::{Fresh, OneTimeValue, RecordRows, TokenReference, TokenRow, one_time};

/// Commits a batch, in as few messages as it takes, on a connection that is in no transaction. After an error the connection is in the
/// middle of whatever failed, and must be dropped.
pub(super) async fn record(
    connection: &mut PgConnection,
    known_revocations: i64,
    batch: &[OneTimeValue],
    decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
) -> Result<(), PostgresError> {
    let counter = transaction::begin_beside_writers(connection).await?;
    let spent = spend(connection, batch).await?;
    let revocations = if counter <= known_revocations {
        Vec::new()
    } else {
        revocation::after(connection, known_revocations).await?
    };
    let rows = decide(&Fresh { spent, revocations });
    insert(connection, &rows).await?;
    transaction::commit(connection).await
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

/// Inserts tokens and audit rows in one statement.
async fn insert(connection: &mut PgConnection, RecordRows { tokens, audit }: &RecordRows) -> Result<(), PostgresError> {
    if tokens.is_empty() {
        return audit::insert(connection, audit).await;
    }
    let parents: Vec<Option<&TokenReference>> = tokens.iter().map(|token| token.parent.as_ref()).collect();
    sqlx::query(
        "WITH inserted AS (
             INSERT INTO tokens (jti, iss, parent_iss, parent_jti, txn, client_id, issued_at, expires_at)
             SELECT * FROM UNNEST(
                 $1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::BIGINT[], $8::BIGINT[]))
         INSERT INTO audit_events (writer, writer_sequence, at, correlation_id, txn, jti, body, mac)
         SELECT * FROM UNNEST(
             $9::TEXT[], $10::BIGINT[], $11::BIGINT[], $12::TEXT[], $13::TEXT[], $14::TEXT[], $15::TEXT[], $16::BYTEA[])",
    )
    .bind(tokens.iter().map(|token| token.jti.as_str()).collect::<Vec<&str>>())
    .bind(tokens.iter().map(|token| token.iss.as_str()).collect::<Vec<&str>>())
    .bind(parents.iter().map(|parent| parent.map(|parent| parent.iss.as_str())).collect::<Vec<Option<&str>>>())
    .bind(parents.iter().map(|parent| parent.map(|parent| parent.jti.as_str())).collect::<Vec<Option<&str>>>())
    .bind(tokens.iter().map(|token| token.txn.as_str()).collect::<Vec<&str>>())
    .bind(tokens.iter().map(|token| token.client_id.as_str()).collect::<Vec<&str>>())
    .bind(tokens.iter().map(|token| token.issued_at.as_millisecond()).collect::<Vec<i64>>())
    .bind(tokens.iter().map(|token| token.expires_at.as_millisecond()).collect::<Vec<i64>>())
    .bind(audit.iter().map(|row| row.writer.as_str()).collect::<Vec<&str>>())
    .bind(audit.iter().map(|row| row.writer_sequence).collect::<Vec<i64>>())
    .bind(audit.iter().map(|row| row.at.as_millisecond()).collect::<Vec<i64>>())
    .bind(audit.iter().map(|row| row.correlation_id.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(audit.iter().map(|row| row.txn.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(audit.iter().map(|row| row.jti.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(audit.iter().map(|row| row.body.as_str()).collect::<Vec<&str>>())
    .bind(audit.iter().map(|row| row.mac.as_slice()).collect::<Vec<&[u8]>>())
    .execute(connection)
    .await?;
    Ok(())
}
