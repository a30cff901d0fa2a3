//! Appends and reads of audit rows.

use serde_json::{Value, json};
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, SqlitePool};

use super::begin_immediate;
use super::error::SqliteError;
use crate::storage::audit_bounds::{DISORDER_MILLISECONDS, DISORDER_ROWS};
use crate::storage::columns::AuditHeadColumns;
use crate::storage::{AuditFilter, AuditHead, AuditRow, StoredAuditRow};

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
pub(super) async fn audit(
    readers: &SqlitePool,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<StoredAuditRow>, SqliteError> {
    let mut query: QueryBuilder<Sqlite> =
        QueryBuilder::new("WITH page AS (SELECT id, octet_length(body) AS bytes FROM audit_events WHERE TRUE");
    if let Some(after_id) = filter.after_id {
        query.push(" AND id > ").push_bind(after_id);
    }
    if let Some(since) = filter.since {
        let since = since.as_millisecond();
        let Some(first) = first_since(readers, since).await? else {
            return Ok(Vec::new());
        };
        // The `+` avoids the index of times, because the rows are needed in the order of their ids.
        query.push(" AND id >= ").push_bind(first).push(" AND +at >= ").push_bind(since);
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
    query.push("), sized AS (SELECT id, SUM(bytes) OVER (ORDER BY id) - bytes AS bytes_before FROM page)");
    query.push(SIZED_ROWS).push(" ORDER BY id");
    Ok(query.build_query_as().fetch_all(readers).await?)
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
