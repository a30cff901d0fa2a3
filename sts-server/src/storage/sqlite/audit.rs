//! Audit rows.

use serde_json::{Value, json};
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{QueryBuilder, SqlitePool};

use super::begin_immediate;
use super::error::SqliteError;
use crate::storage::columns::{self, AuditColumns, AuditHeadColumns};
use crate::storage::{AuditFilter, AuditHead, AuditRow, StoredAuditRow};

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
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "SELECT id, writer, writer_sequence, at, correlation_id, txn, jti, body, mac FROM audit_events WHERE TRUE",
    );
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
    let rows: Vec<AuditColumns> = query.build_query_as().fetch_all(readers).await?;
    Ok(columns::rows(rows)?)
}

/// Reads rows in the order of their chains.
pub(super) async fn chain(
    readers: &SqlitePool,
    after: Option<(&str, i64)>,
    limit: u32,
) -> Result<Vec<StoredAuditRow>, SqliteError> {
    let rows: Vec<AuditColumns> = match after {
        // No bound at all: a row that somebody forged may stand before everything that a writer writes.
        None => sqlx::query_as(
            "SELECT id, writer, writer_sequence, at, correlation_id, txn, jti, body, mac FROM audit_events
             ORDER BY writer, writer_sequence LIMIT ?1",
        )
        .bind(i64::from(limit)),
        Some((writer, writer_sequence)) => sqlx::query_as(
            "SELECT id, writer, writer_sequence, at, correlation_id, txn, jti, body, mac FROM audit_events
             WHERE (writer, writer_sequence) > (?2, ?3)
             ORDER BY writer, writer_sequence LIMIT ?1",
        )
        .bind(i64::from(limit))
        .bind(writer.to_owned())
        .bind(writer_sequence),
    }
    .fetch_all(readers)
    .await?;
    Ok(columns::rows(rows)?)
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
    Ok(columns::rows(heads)?)
}
