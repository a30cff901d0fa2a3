//! Audit rows.

use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{PgPool, QueryBuilder};

use super::error::PostgresError;
use super::transaction;
use crate::storage::columns::{self, AuditColumns, AuditHeadColumns};
use crate::storage::{AuditFilter, AuditHead, AuditRow, StoredAuditRow};

/// Adds rows in a transaction of their own.
pub(super) async fn append(pool: &PgPool, audit: &[AuditRow]) -> Result<(), PostgresError> {
    let mut transaction = transaction::beside_writers(pool).await?;
    insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(())
}

/// Adds rows. The caller's transaction holds the lock of the writers, shared or not: [`audit`] relies on it.
pub(super) async fn insert(connection: &mut PgConnection, audit: &[AuditRow]) -> Result<(), PostgresError> {
    if audit.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO audit_events (writer, writer_sequence, at, correlation_id, txn, jti, body, mac)
         SELECT * FROM UNNEST(
             $1::TEXT[], $2::BIGINT[], $3::BIGINT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[], $8::BYTEA[])",
    )
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

/// Reads rows by id.
///
/// Ids are given out before the commit, so a row can appear after one with a greater id, and whoever reads on from the greater one
/// would never see it. Hence no row beyond the greatest id of a moment when nobody was writing.
pub(super) async fn audit(
    pool: &PgPool,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<StoredAuditRow>, PostgresError> {
    let Some(settled) = settled(pool).await? else {
        return Ok(Vec::new());
    };
    let mut query: QueryBuilder<Postgres> = QueryBuilder::new(
        "SELECT id, writer, writer_sequence, at, correlation_id, txn, jti, body, mac FROM audit_events WHERE id <= ",
    );
    query.push_bind(settled);
    if let Some(after_id) = filter.after_id {
        query.push(" AND id > ").push_bind(after_id);
    }
    if let Some(since) = filter.since {
        query.push(" AND at >= ").push_bind(since.as_millisecond());
    }
    if let Some(correlation_id) = &filter.correlation_id {
        query.push(" AND correlation_id = ").push_bind(correlation_id);
    }
    if let Some(txn) = &filter.txn {
        query.push(" AND txn = ").push_bind(txn);
    }
    if let Some(jti) = &filter.jti {
        query.push(" AND jti = ").push_bind(jti);
    }
    query.push(" ORDER BY id LIMIT ").push_bind(i64::from(limit));
    let rows: Vec<AuditColumns> = query.build_query_as().fetch_all(pool).await?;
    Ok(columns::rows(rows)?)
}

/// The greatest id below which no row can appear any more.
async fn settled(pool: &PgPool) -> Result<Option<i64>, PostgresError> {
    let mut transaction = transaction::briefly_without_writers(pool).await?;
    let greatest = sqlx::query_scalar("SELECT MAX(id) FROM audit_events").fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(greatest)
}

/// Reads rows in the order of their chains.
pub(super) async fn chain(
    pool: &PgPool,
    after: Option<(&str, i64)>,
    limit: u32,
) -> Result<Vec<StoredAuditRow>, PostgresError> {
    let rows: Vec<AuditColumns> = match after {
        // No bound at all: a row that somebody forged may stand before everything that a writer writes.
        None => sqlx::query_as(
            "SELECT id, writer, writer_sequence, at, correlation_id, txn, jti, body, mac FROM audit_events
             ORDER BY writer, writer_sequence LIMIT $1",
        )
        .bind(i64::from(limit)),
        Some((writer, writer_sequence)) => sqlx::query_as(
            "SELECT id, writer, writer_sequence, at, correlation_id, txn, jti, body, mac FROM audit_events
             WHERE (writer, writer_sequence) > ($2, $3)
             ORDER BY writer, writer_sequence LIMIT $1",
        )
        .bind(i64::from(limit))
        .bind(writer.to_owned())
        .bind(writer_sequence),
    }
    .fetch_all(pool)
    .await?;
    Ok(columns::rows(rows)?)
}

/// Reads the end of every chain: steps from writer to writer instead of reading every row.
pub(super) async fn heads(pool: &PgPool) -> Result<Vec<AuditHead>, PostgresError> {
    let heads: Vec<AuditHeadColumns> = sqlx::query_as(
        "WITH RECURSIVE writers (writer) AS (
             SELECT MAX(writer) FROM audit_events
             UNION ALL
             SELECT (SELECT MAX(audit_events.writer) FROM audit_events WHERE audit_events.writer < writers.writer)
             FROM writers WHERE writers.writer IS NOT NULL
         )
         SELECT audit_events.writer, audit_events.writer_sequence, audit_events.mac
         FROM writers
         JOIN audit_events ON audit_events.writer = writers.writer AND audit_events.writer_sequence =
             (SELECT MAX(last.writer_sequence) FROM audit_events AS last WHERE last.writer = writers.writer)
         ORDER BY audit_events.writer",
    )
    .fetch_all(pool)
    .await?;
    Ok(columns::rows(heads)?)
}
