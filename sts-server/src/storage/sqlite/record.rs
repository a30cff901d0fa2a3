//! The transaction that commits a batch of decisions, and reads of tokens.

use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, SqlitePool};

use super::error::SqliteError;
use super::portions::portions;
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
    let mut inserted: Vec<(String, String)> = Vec::new();
    for portion in portions(&one_time::distinct(batch)) {
        let mut query: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO one_time_values (namespace, value, expires_at) ");
        query.push_values(portion, |mut values, value| {
            values.push_bind(value.namespace.as_str()).push_bind(value.value.as_str());
            values.push_bind(value.expires_at.as_millisecond());
        });
        query.push(" ON CONFLICT (namespace, value) DO NOTHING RETURNING namespace, value");
        inserted.extend(query.build_query_as::<(String, String)>().fetch_all(&mut *connection).await?);
    }
    Ok(one_time::spent(batch, inserted))
}

/// Inserts tokens.
async fn insert(connection: &mut SqliteConnection, tokens: &[TokenRow]) -> Result<(), SqliteError> {
    for portion in portions(tokens) {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO tokens (jti, iss, parent_iss, parent_jti, txn, client_id, issued_at, expires_at) ",
        );
        query.push_values(portion, |mut values, token| {
            let parent = token.parent.as_ref();
            values.push_bind(token.jti.as_str()).push_bind(token.iss.as_str());
            values.push_bind(parent.map(|parent| parent.iss.as_str()));
            values.push_bind(parent.map(|parent| parent.jti.as_str()));
            values.push_bind(token.txn.as_str()).push_bind(token.client_id.as_str());
            values.push_bind(token.issued_at.as_millisecond()).push_bind(token.expires_at.as_millisecond());
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}
