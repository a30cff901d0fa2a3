//! Appends of audit rows, reads of their chains, and the removal of old rows.

use serde_json::json;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, SqlitePool};

use super::begin_immediate;
use super::error::SqliteError;
use super::portions::portions;
use crate::storage::columns::{AuditCheckpointColumns, AuditHeadColumns};
use crate::storage::{AUDIT_PAGE_BYTES, AuditCheckpoint, AuditHead, AuditRow, StoredAuditRow};

/// The rows of the page `sized` that fewer bytes precede than the number that follows. A body that
/// alone exceeds a page is left out.
pub(super) const SIZED_ROWS: &str = " SELECT id, writer, writer_sequence, at, correlation_id, txn, jti,
        CASE WHEN octet_length(body) <= 1048576 THEN body ELSE '' END AS body, mac
     FROM sized JOIN audit_events USING (id) WHERE bytes_before < ";

/// Adds rows in a separate transaction.
pub(super) async fn append(writer: &SqlitePool, audit: &[AuditRow]) -> Result<(), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(())
}

/// Adds rows within a transaction.
pub(super) async fn insert(connection: &mut SqliteConnection, audit: &[AuditRow]) -> Result<(), SqliteError> {
    for portion in portions(audit) {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO audit_events (writer, writer_sequence, at, correlation_id, txn, jti, body, mac) ",
        );
        query.push_values(portion, |mut values, row| {
            values.push_bind(row.writer.as_str()).push_bind(row.writer_sequence).push_bind(row.at.as_millisecond());
            values.push_bind(row.correlation_id.as_deref()).push_bind(row.txn.as_deref()).push_bind(row.jti.as_deref());
            values.push_bind(row.body.as_str()).push_bind(row.mac.as_slice());
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Reads rows in the order of their chains.
pub(super) async fn chain(
    readers: &SqlitePool,
    after: Option<(&str, i64)>,
    limit: u32,
) -> Result<Vec<StoredAuditRow>, SqliteError> {
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "WITH page AS (SELECT id, writer, writer_sequence, octet_length(body) AS bytes FROM audit_events",
    );
    // The first page has no lower bound, because a forged row may sort before every real row.
    if let Some((writer, writer_sequence)) = after {
        query.push(" WHERE (writer, writer_sequence) > (").push_bind(writer.to_owned()).push(", ");
        query.push_bind(writer_sequence).push(")");
    }
    query.push(" ORDER BY writer, writer_sequence LIMIT ").push_bind(i64::from(limit));
    query.push("), sized AS (SELECT id, SUM(bytes) OVER (ORDER BY writer, writer_sequence) - bytes AS bytes_before");
    query.push(" FROM page)").push(SIZED_ROWS).push(AUDIT_PAGE_BYTES).push(" ORDER BY writer, writer_sequence");
    Ok(query.build_query_as().fetch_all(readers).await?)
}

/// Reads the last row of every chain. Steps from writer to writer instead of reading every row.
pub(super) async fn heads(readers: &SqlitePool) -> Result<Vec<AuditHead>, SqliteError> {
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
    .fetch_all(readers)
    .await?;
    Ok(heads.into_iter().map(AuditHead::from).collect())
}

/// Reads checkpoints of chains that were cut, in the order of their writers.
pub(super) async fn checkpoints(
    readers: &SqlitePool,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<AuditCheckpoint>, SqliteError> {
    let checkpoints: Vec<AuditCheckpointColumns> = sqlx::query_as(
        "SELECT writer, writer_sequence, mac, seal FROM audit_checkpoints WHERE writer > ?1 ORDER BY writer LIMIT ?2",
    )
    .bind(after.unwrap_or_default())
    .bind(i64::from(limit))
    .fetch_all(readers)
    .await?;
    Ok(checkpoints.into_iter().map(AuditCheckpoint::from).collect())
}

/// Reads the checkpoints of these writers.
pub(super) async fn checkpoints_of(
    readers: &SqlitePool,
    writers: &[&str],
) -> Result<Vec<AuditCheckpoint>, SqliteError> {
    let checkpoints: Vec<AuditCheckpointColumns> = sqlx::query_as(
        "SELECT writer, writer_sequence, mac, seal FROM audit_checkpoints
         WHERE writer IN (SELECT value FROM json_each(?1)) ORDER BY writer",
    )
    .bind(json!(writers).to_string())
    .fetch_all(readers)
    .await?;
    Ok(checkpoints.into_iter().map(AuditCheckpoint::from).collect())
}

/// Deletes the rows up to an id.
pub(super) async fn cut(
    writer: &SqlitePool,
    through_id: i64,
    checkpoints: &[AuditCheckpoint],
) -> Result<u64, SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    for checkpoint in checkpoints {
        sqlx::query(
            "INSERT INTO audit_checkpoints (writer, writer_sequence, mac, seal) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (writer) DO UPDATE
             SET writer_sequence = excluded.writer_sequence, mac = excluded.mac, seal = excluded.seal
             WHERE excluded.writer_sequence > audit_checkpoints.writer_sequence",
        )
        .bind(&checkpoint.writer)
        .bind(checkpoint.writer_sequence)
        .bind(&checkpoint.mac)
        .bind(&checkpoint.seal)
        .execute(&mut *transaction)
        .await?;
    }
    let deleted =
        sqlx::query("DELETE FROM audit_events WHERE id <= ?1").bind(through_id).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(deleted.rows_affected())
}
