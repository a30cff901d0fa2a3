//! Appends and reads of audit rows.

use serde_json::{Value, json};
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, SqlitePool};

use super::begin_immediate;
use super::error::SqliteError;
use crate::storage::audit_bounds::{DISORDER_MILLISECONDS, DISORDER_ROWS, PageIds, direction};
use crate::storage::columns::{AuditCheckpointColumns, AuditHeadColumns};
use crate::storage::{AuditCheckpoint, AuditFilter, AuditHead, AuditPage, AuditRow, StoredAuditRow};

/// The rows of the page `sized` that fewer than `AUDIT_PAGE_BYTES` precede. A body that alone
/// exceeds that limit is left out.
const SIZED_ROWS: &str = " SELECT id, writer, writer_sequence, at, correlation_id, txn, jti,
        CASE WHEN octet_length(body) <= 1048576 THEN body ELSE '' END AS body, mac
     FROM sized JOIN audit_events USING (id) WHERE bytes_before < 1048576";

/// Adds rows in a separate transaction.
pub(super) async fn append(writer: &SqlitePool, audit: &[AuditRow]) -> Result<(), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(())
}

/// Adds rows with a single statement. Its text does not depend on the number of rows, so it is
/// prepared only once. The codes are bound separately, because JSON has no bytes.
pub(super) async fn insert(connection: &mut SqliteConnection, audit: &[AuditRow]) -> Result<(), SqliteError> {
    if audit.is_empty() {
        return Ok(());
    }
    let rows: Value = audit
        .iter()
        .map(|row| {
            json!({
                "writer": row.writer,
                "writer_sequence": row.writer_sequence,
                "at": row.at.as_millisecond(),
                "correlation_id": row.correlation_id,
                "txn": row.txn,
                "jti": row.jti,
                "body": row.body,
            })
        })
        .collect();
    let macs: Vec<u8> = audit.iter().flat_map(|row| row.mac).collect();
    sqlx::query(
        "INSERT INTO audit_events (writer, writer_sequence, at, correlation_id, txn, jti, body, mac)
         SELECT value ->> 'writer', value ->> 'writer_sequence', value ->> 'at', value ->> 'correlation_id',
                value ->> 'txn', value ->> 'jti', value ->> 'body', substr(?2, key * 32 + 1, 32)
         FROM json_each(?1) ORDER BY key",
    )
    .bind(rows.to_string())
    .bind(macs)
    .execute(connection)
    .await?;
    Ok(())
}

/// Reads rows by id. Only a single transaction writes at a time, so rows appear in the order of
/// their ids.
pub(super) async fn audit(readers: &SqlitePool, filter: &AuditFilter, limit: u32) -> Result<AuditPage, SqliteError> {
    let Some(ids) = page_ids(readers, filter).await? else {
        return Ok(AuditPage::default());
    };
    let mut query: QueryBuilder<Sqlite> =
        QueryBuilder::new("WITH page AS (SELECT id, octet_length(body) AS bytes FROM audit_events WHERE id <= ");
    query.push_bind(ids.high).push(" AND id >= ").push_bind(ids.low);
    // The `+` avoids the index of times, because the rows are needed in the order of their ids.
    if let Some(since) = filter.since {
        query.push(" AND +at >= ").push_bind(since.as_millisecond());
    }
    if let Some(until) = filter.until {
        query.push(" AND +at <= ").push_bind(until.as_millisecond());
    }
    for (column, value) in [("correlation_id", &filter.correlation_id), ("txn", &filter.txn), ("jti", &filter.jti)] {
        if let Some(value) = value {
            query.push(" AND ").push(column).push(" = ").push_bind(value);
        }
    }
    for texts in &filter.fragments {
        query.push(" AND EXISTS (SELECT 1 FROM json_each(").push_bind(json!(texts).to_string());
        query.push(") AS text WHERE instr(body, text.value) > 0)");
    }
    let direction = direction(filter.order);
    query.push(" ORDER BY id ").push(direction).push(" LIMIT ").push_bind(i64::from(limit));
    query.push("), sized AS (SELECT id, SUM(bytes) OVER (ORDER BY id ").push(direction);
    query.push(") - bytes AS bytes_before FROM page)").push(SIZED_ROWS).push(" ORDER BY id ").push(direction);
    Ok(ids.page(query.build_query_as().fetch_all(readers).await?, limit))
}

/// Returns the ids of the next page of a search, or `None` if no row is left.
async fn page_ids(readers: &SqlitePool, filter: &AuditFilter) -> Result<Option<PageIds>, SqliteError> {
    let mut low: Option<i64> = match filter.since {
        Some(since) => first_since(readers, since.as_millisecond()).await?,
        None => sqlx::query_scalar("SELECT MIN(id) FROM audit_events").fetch_one(readers).await?,
    };
    let greatest: Option<i64> = sqlx::query_scalar("SELECT MAX(id) FROM audit_events").fetch_one(readers).await?;
    let Some(mut high) = greatest else { return Ok(None) };
    if let Some(until) = filter.until {
        match last_until(readers, until.as_millisecond()).await? {
            Some(last) => high = high.min(last),
            None => low = None,
        }
    }
    Ok(low.and_then(|low| PageIds::of(filter, low, high)))
}

/// Returns the least id among the earliest events at or after `since`. Later events have greater
/// ids.
async fn first_since(readers: &SqlitePool, since: i64) -> Result<Option<i64>, SqliteError> {
    let first = sqlx::query_scalar(
        "SELECT MIN(id) FROM (
             SELECT id FROM audit_events INDEXED BY audit_events_by_at
             WHERE at >= ?1 AND at <= ?2 + (
                 SELECT MIN(at, ?3) FROM audit_events INDEXED BY audit_events_by_at
                 WHERE at >= ?1 ORDER BY at LIMIT 1)
             ORDER BY at LIMIT ?4)",
    )
    .bind(since)
    .bind(DISORDER_MILLISECONDS)
    .bind(i64::MAX - DISORDER_MILLISECONDS)
    .bind(DISORDER_ROWS)
    .fetch_one(readers)
    .await?;
    Ok(first)
}

/// Returns the greatest id among the latest events at or before `until`. Earlier events have
/// smaller ids.
async fn last_until(readers: &SqlitePool, until: i64) -> Result<Option<i64>, SqliteError> {
    let last = sqlx::query_scalar(
        "SELECT MAX(id) FROM (
             SELECT id FROM audit_events INDEXED BY audit_events_by_at
             WHERE at <= ?1 AND at >= (
                 SELECT MAX(at, ?3) FROM audit_events INDEXED BY audit_events_by_at
                 WHERE at <= ?1 ORDER BY at DESC LIMIT 1) - ?2
             ORDER BY at DESC LIMIT ?4)",
    )
    .bind(until)
    .bind(DISORDER_MILLISECONDS)
    .bind(i64::MIN + DISORDER_MILLISECONDS)
    .bind(DISORDER_ROWS)
    .fetch_one(readers)
    .await?;
    Ok(last)
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
    query.push(" FROM page)").push(SIZED_ROWS).push(" ORDER BY writer, writer_sequence");
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
