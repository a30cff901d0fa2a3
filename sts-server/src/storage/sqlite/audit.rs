//! Audit rows.

use serde_json::{Value, json};
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, SqlitePool};

use super::begin_immediate;
use super::error::SqliteError;
use crate::storage::audit_bounds::{DISORDER_MILLISECONDS, DISORDER_ROWS};
use crate::storage::columns::AuditHeadColumns;
use crate::storage::{AuditFilter, AuditHead, AuditRow, StoredAuditRow};

/// The rows of the page `sized` before which there are less than `AUDIT_PAGE_BYTES`, without the body of one that alone has more.
const SIZED_ROWS: &str = " SELECT id, writer, writer_sequence, at, correlation_id, txn, jti,
        CASE WHEN octet_length(body) <= 1048576 THEN body ELSE '' END AS body, mac
     FROM sized JOIN audit_events USING (id) WHERE bytes_before < 1048576";

/// Adds rows in a transaction of their own.
pub(super) async fn append(writer: &SqlitePool, audit: &[AuditRow]) -> Result<(), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(())
}

/// Adds rows: one statement whose text does not depend on how many, so that it is prepared once. The codes go beside the JSON, which
/// knows no bytes.
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

/// Reads rows by id. One transaction writes at a time, so rows appear in the order of their ids.
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
        // Not by the index of times: the rows are wanted in the order of their ids.
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

/// The least id of the events at or after a moment: of the earliest of them, because later events have greater ids.
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
    // At first no bound at all: a row that was forged may stand before everything that a writer writes.
    if let Some((writer, writer_sequence)) = after {
        query.push(" WHERE (writer, writer_sequence) > (").push_bind(writer.to_owned()).push(", ");
        query.push_bind(writer_sequence).push(")");
    }
    query.push(" ORDER BY writer, writer_sequence LIMIT ").push_bind(i64::from(limit));
    query.push("), sized AS (SELECT id, SUM(bytes) OVER (ORDER BY writer, writer_sequence) - bytes AS bytes_before");
    query.push(" FROM page)").push(SIZED_ROWS).push(" ORDER BY writer, writer_sequence");
    Ok(query.build_query_as().fetch_all(readers).await?)
}

/// Reads the end of every chain: steps from writer to writer instead of reading every row.
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
