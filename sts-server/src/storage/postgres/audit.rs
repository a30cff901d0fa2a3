//! Appends of audit rows, reads of their chains, and the removal of old rows.

use sqlx::QueryBuilder;
use sqlx::postgres::{PgConnection, Postgres};

use super::error::PostgresError;
use super::pool::Pool;
use super::transaction;
use crate::storage::columns::{AuditCheckpointColumns, AuditHeadColumns};
use crate::storage::{AUDIT_PAGE_BYTES, AuditCheckpoint, AuditHead, AuditRow, StoredAuditRow};

/// The rows of the page `sized` that fewer bytes precede than the number that follows. A body that
/// alone exceeds a page is left out.
pub(super) const SIZED_ROWS: &str = " SELECT id, writer, writer_sequence, at, correlation_id, txn, jti,
        CASE WHEN octet_length(body) <= 1048576 THEN body ELSE '' END AS body, mac
     FROM sized JOIN audit_events USING (id) WHERE bytes_before < ";

/// Adds rows in a separate transaction.
pub(super) async fn append(pool: &Pool, audit: &[AuditRow]) -> Result<(), PostgresError> {
    let mut transaction = transaction::beside_writers(pool).await?;
    insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(())
}

/// Adds rows. The caller's transaction must hold the lock of the writers, shared or exclusive:
/// [`audit`] relies on it.
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

/// Reads rows in the order of their chains.
pub(super) async fn chain(
    pool: &Pool,
    after: Option<(&str, i64)>,
    limit: u32,
) -> Result<Vec<StoredAuditRow>, PostgresError> {
    let mut query: QueryBuilder<Postgres> = QueryBuilder::new(
        "WITH page AS (SELECT id, writer, writer_sequence, octet_length(body) AS bytes FROM audit_events",
    );
    // The first page has no lower bound, because a forged row may sort before every real row.
    if let Some((writer, writer_sequence)) = after {
        query.push(" WHERE (writer, writer_sequence) > (").push_bind(writer).push(", ");
        query.push_bind(writer_sequence).push(")");
    }
    query.push(" ORDER BY writer, writer_sequence LIMIT ").push_bind(i64::from(limit));
    query.push("), sized AS (SELECT id, SUM(bytes) OVER (ORDER BY writer, writer_sequence) - bytes AS bytes_before");
    query.push(" FROM page)").push(SIZED_ROWS).push(AUDIT_PAGE_BYTES).push(" ORDER BY writer, writer_sequence");
    Ok(query.build_query_as().fetch_all(&mut *pool.acquire().await?).await?)
}

/// Reads the last row of every chain. Steps from writer to writer instead of reading every row.
pub(super) async fn heads(pool: &Pool) -> Result<Vec<AuditHead>, PostgresError> {
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
    .fetch_all(&mut *pool.acquire().await?)
    .await?;
    Ok(heads.into_iter().map(AuditHead::from).collect())
}

/// Reads checkpoints of chains that were cut, in the order of their writers.
pub(super) async fn checkpoints(
    pool: &Pool,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<AuditCheckpoint>, PostgresError> {
    let checkpoints: Vec<AuditCheckpointColumns> = sqlx::query_as(
        "SELECT writer, writer_sequence, mac, seal FROM audit_checkpoints WHERE writer > $1 ORDER BY writer LIMIT $2",
    )
    .bind(after.unwrap_or_default())
    .bind(i64::from(limit))
    .fetch_all(&mut *pool.acquire().await?)
    .await?;
    Ok(checkpoints.into_iter().map(AuditCheckpoint::from).collect())
}

/// Reads the checkpoints of these writers.
pub(super) async fn checkpoints_of(pool: &Pool, writers: &[&str]) -> Result<Vec<AuditCheckpoint>, PostgresError> {
    let checkpoints: Vec<AuditCheckpointColumns> = sqlx::query_as(
        "SELECT writer, writer_sequence, mac, seal FROM audit_checkpoints WHERE writer = ANY($1::TEXT[]) ORDER BY writer",
    )
    .bind(writers)
    .fetch_all(&mut *pool.acquire().await?)
    .await?;
    Ok(checkpoints.into_iter().map(AuditCheckpoint::from).collect())
}

/// Deletes the rows up to an id. In the order of their writers, so that two servers that cut at once
/// do not wait for each other.
pub(super) async fn cut(pool: &Pool, through_id: i64, checkpoints: &[AuditCheckpoint]) -> Result<u64, PostgresError> {
    let mut transaction = transaction::changing(pool).await?;
    let mut sorted: Vec<&AuditCheckpoint> = checkpoints.iter().collect();
    sorted.sort_by(|left, right| left.writer.cmp(&right.writer));
    sqlx::query(
        "INSERT INTO audit_checkpoints (writer, writer_sequence, mac, seal)
         SELECT * FROM UNNEST($1::TEXT[], $2::BIGINT[], $3::BYTEA[], $4::BYTEA[])
         ON CONFLICT (writer) DO UPDATE
         SET writer_sequence = EXCLUDED.writer_sequence, mac = EXCLUDED.mac, seal = EXCLUDED.seal
         WHERE EXCLUDED.writer_sequence > audit_checkpoints.writer_sequence",
    )
    .bind(sorted.iter().map(|row| row.writer.as_str()).collect::<Vec<&str>>())
    .bind(sorted.iter().map(|row| row.writer_sequence).collect::<Vec<i64>>())
    .bind(sorted.iter().map(|row| row.mac.as_slice()).collect::<Vec<&[u8]>>())
    .bind(sorted.iter().map(|row| row.seal.as_slice()).collect::<Vec<&[u8]>>())
    .execute(&mut *transaction)
    .await?;
    let deleted =
        sqlx::query("DELETE FROM audit_events WHERE id <= $1").bind(through_id).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(deleted.rows_affected())
}
