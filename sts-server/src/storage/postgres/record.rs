//! The transaction that commits a batch of decisions, and reads of tokens.

use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::pool::Pool;
use super::{revocation, transaction};
use crate::storage::columns::{self, TokenColumns};
use crate::storage::{Fresh, FreshState, OneTimeValue, RecordRows, TokenReference, TokenRow, Versions, one_time};

/// The constraint that a value which is spent twice breaks.
const ONE_TIME_VALUES: &str = "one_time_values_pkey";

/// Commits a batch in as few messages as possible. The connection must not be in a transaction.
/// After an error, drop the connection: its transaction is still open.
pub(super) async fn record(
    connection: &mut PgConnection,
    known: &[Versions],
    batch: &[OneTimeValue],
    decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
) -> Result<(), PostgresError> {
    let distinct = one_time::distinct(batch);
    if let ([same], true) = (known, distinct.len() == batch.len()) {
        // Usually nothing has changed and no value is spent, and a single statement commits the batch.
        let rows = decide(&Fresh { spent: vec![true; batch.len()], changed: None });
        match insert(connection, &rows, &distinct, same).await {
            Ok(versions) if versions == *same => return Ok(()),
            Ok(_) => {}
            Err(error) if is_spent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let versions = transaction::begin_beside_writers(connection).await?;
    let spent = spend(connection, &distinct).await?;
    let changed = if known.iter().all(|known| *known == versions) {
        None
    } else {
        Some(FreshState { versions, revocations: revocation::unknown(connection, known).await? })
    };
    let rows = decide(&Fresh { spent: one_time::spent(batch, spent), changed });
    insert(connection, &rows, &[], &versions).await?;
    transaction::commit(connection).await
}

pub(super) async fn token(pool: &Pool, jti: &str) -> Result<Option<TokenRow>, PostgresError> {
    let columns: Option<TokenColumns> = sqlx::query_as(
        "SELECT jti, iss, parent_iss, parent_jti, txn, client_id, issued_at, expires_at FROM tokens WHERE jti = $1",
    )
    .bind(jti)
    .fetch_optional(&mut *pool.acquire().await?)
    .await?;
    Ok(columns.map(TokenRow::try_from).transpose()?)
}

/// Reads the ancestors of a token, parent by parent. Returns `None` if the token is not recorded.
pub(super) async fn ancestors(pool: &Pool, jti: &str) -> Result<Option<Vec<TokenReference>>, PostgresError> {
    let rows: Vec<(Option<String>, Option<String>)> = sqlx::query_as(
        "WITH RECURSIVE lineage (parent_iss, parent_jti) AS (
             SELECT parent_iss, parent_jti FROM tokens WHERE jti = $1
             UNION
             SELECT parent.parent_iss, parent.parent_jti
             FROM tokens AS parent
             JOIN lineage ON parent.jti = lineage.parent_jti AND parent.iss = lineage.parent_iss
         )
         SELECT parent_iss, parent_jti FROM lineage",
    )
    .bind(jti)
    .fetch_all(&mut *pool.acquire().await?)
    .await?;
    Ok(columns::ancestors(rows))
}

/// The values of a batch as the parameters of a statement.
struct Values<'a> {
    namespaces: Vec<&'a str>,
    values: Vec<&'a str>,
    expiries: Vec<i64>,
}

impl<'a> Values<'a> {
    fn of(distinct: &[&'a OneTimeValue]) -> Self {
        Self {
            namespaces: distinct.iter().map(|value| value.namespace.as_str()).collect(),
            values: distinct.iter().map(|value| value.value.as_str()).collect(),
            expiries: distinct.iter().map(|value| value.expires_at.as_millisecond()).collect(),
        }
    }
}

/// Spends the values that are still unspent, and returns them. Waits for a concurrent transaction
/// that is spending any of them.
async fn spend(
    connection: &mut PgConnection,
    distinct: &[&OneTimeValue],
) -> Result<Vec<(String, String)>, PostgresError> {
    if distinct.is_empty() {
        return Ok(Vec::new());
    }
    let Values { namespaces, values, expiries } = Values::of(distinct);
    let spent = sqlx::query_as(
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
    Ok(spent)
}

/// Returns true if the statement failed because a value is spent. Nothing was written then.
fn is_spent(error: &PostgresError) -> bool {
    let PostgresError::Driver(error) = error else { return false };
    error.as_database_error().is_some_and(|error| error.constraint() == Some(ONE_TIME_VALUES))
}

/// Spends the values and inserts tokens and audit rows in a single statement, but only if the
/// versions are the known ones. Fails if a value is spent ([`is_spent`]). Returns the versions.
async fn insert(
    connection: &mut PgConnection,
    RecordRows { tokens, audit }: &RecordRows,
    distinct: &[&OneTimeValue],
    known: &Versions,
) -> Result<Versions, PostgresError> {
    let Values { namespaces, values, expiries } = Values::of(distinct);
    let parents: Vec<Option<&TokenReference>> = tokens.iter().map(|token| token.parent.as_ref()).collect();
    let versions: Vec<i64> = sqlx::query_scalar(
        "WITH present AS MATERIALIZED (SELECT versions_beside_writers() AS versions),
         inserted_tokens AS (
             INSERT INTO tokens (jti, iss, parent_iss, parent_jti, txn, client_id, issued_at, expires_at)
             SELECT token.* FROM present, UNNEST(
                 $1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::BIGINT[], $8::BIGINT[]
             ) AS token WHERE versions = $17::BIGINT[]),
         inserted_events AS (
             INSERT INTO audit_events (writer, writer_sequence, at, correlation_id, txn, jti, body, mac)
             SELECT event.* FROM present, UNNEST(
                 $9::TEXT[], $10::BIGINT[], $11::BIGINT[], $12::TEXT[], $13::TEXT[], $14::TEXT[], $15::TEXT[], $16::BYTEA[]
             ) AS event WHERE versions = $17::BIGINT[]),
         spent AS (
             INSERT INTO one_time_values (namespace, value, expires_at)
             SELECT value.* FROM present, UNNEST($18::TEXT[], $19::TEXT[], $20::BIGINT[]) AS value
             WHERE versions = $17::BIGINT[])
         SELECT versions FROM present",
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
    .bind(transaction::numbers_of(known))
    .bind(namespaces)
    .bind(values)
    .bind(expiries)
    .fetch_one(connection)
    .await?;
    transaction::versions_of(&versions)
}
