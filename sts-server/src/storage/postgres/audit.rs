//! Appends and reads of audit rows.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::QueryBuilder;
use sqlx::postgres::{PgConnection, Postgres};

use super::error::PostgresError;
use super::pool::Pool;
use super::transaction;
use crate::storage::audit_bounds::{DISORDER_MILLISECONDS, DISORDER_ROWS, PageIds, direction};
use crate::storage::columns::{AuditCheckpointColumns, AuditHeadColumns};
use crate::storage::{AuditCheckpoint, AuditFilter, AuditHead, AuditPage, AuditRow, StoredAuditRow};
use crate::telemetry::Stopwatch;

/// The longest time that a reader waits for transactions that are adding rows.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pauses between two checks of these transactions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The rows of the page `sized` that fewer than `AUDIT_PAGE_BYTES` precede. A body that alone
/// exceeds that limit is left out.
const SIZED_ROWS: &str = " SELECT id, writer, writer_sequence, at, correlation_id, txn, jti,
        CASE WHEN octet_length(body) <= 1048576 THEN body ELSE '' END AS body, mac
     FROM sized JOIN audit_events USING (id) WHERE bytes_before < 1048576";

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

/// The greatest id that is known to be settled.
#[derive(Debug, Default)]
pub(super) struct Settled(Mutex<Option<i64>>);

impl Settled {
    fn raise(&self, id: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = (*known).max(Some(id));
    }

    fn known(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads rows by id.
///
/// Ids are assigned before the commit, so a row can appear after a row with a greater id. A reader
/// therefore returns only rows up to a settled id: see [`settle`].
pub(super) async fn audit(
    pool: &Pool,
    settled: &Settled,
    filter: &AuditFilter,
    limit: u32,
) -> Result<AuditPage, PostgresError> {
    let mut connection = pool.acquire().await?;
    let Some(ids) = page_ids(&mut connection, settled, filter).await? else {
        return Ok(AuditPage::default());
    };
    let mut query: QueryBuilder<Postgres> =
        QueryBuilder::new("WITH page AS (SELECT id, octet_length(body) AS bytes FROM audit_events WHERE id <= ");
    query.push_bind(ids.high).push(" AND id >= ").push_bind(ids.low);
    if let Some(since) = filter.since {
        query.push(" AND at >= ").push_bind(since.as_millisecond());
    }
    if let Some(until) = filter.until {
        query.push(" AND at <= ").push_bind(until.as_millisecond());
    }
    for (column, value) in [("correlation_id", &filter.correlation_id), ("txn", &filter.txn), ("jti", &filter.jti)] {
        if let Some(value) = value {
            query.push(" AND ").push(column).push(" = ").push_bind(value);
        }
    }
    for texts in &filter.fragments {
        query.push(" AND EXISTS (SELECT FROM UNNEST(").push_bind(texts);
        query.push("::TEXT[]) AS text WHERE strpos(body, text) > 0)");
    }
    let direction = direction(filter.order);
    query.push(" ORDER BY id ").push(direction).push(" LIMIT ").push_bind(i64::from(limit));
    query.push("), sized AS (SELECT id, SUM(bytes) OVER (ORDER BY id ").push(direction);
    query.push(") - bytes AS bytes_before FROM page)").push(SIZED_ROWS).push(" ORDER BY id ").push(direction);
    Ok(ids.page(query.build_query_as().fetch_all(&mut *connection).await?, limit))
}

/// Returns the ids of the next page of a search, or `None` if no row is left.
async fn page_ids(
    connection: &mut PgConnection,
    settled: &Settled,
    filter: &AuditFilter,
) -> Result<Option<PageIds>, PostgresError> {
    let Some(mut high) = settle(connection, settled).await? else { return Ok(None) };
    let mut low = match filter.since {
        Some(since) => first_since(connection, since.as_millisecond()).await?,
        None => sqlx::query_scalar("SELECT MIN(id) FROM audit_events").fetch_one(&mut *connection).await?,
    };
    if let Some(until) = filter.until {
        match last_until(connection, until.as_millisecond()).await? {
            Some(last) => high = high.min(last),
            None => low = None,
        }
    }
    Ok(low.and_then(|low| PageIds::of(filter, low, high)))
}

/// Returns the settled id: no row can appear at or below it any more.
///
/// A transaction that adds rows locks the writers' lock before it gets its first id, and holds it
/// until its rows are visible. Therefore the greatest id is settled once every transaction that
/// held the lock after it was read has ended.
///
/// This function does not take the lock, because writers would queue behind a reader. If a writer
/// takes too long, it returns the id that was settled before.
async fn settle(connection: &mut PgConnection, settled: &Settled) -> Result<Option<i64>, PostgresError> {
    let greatest: Option<i64> =
        sqlx::query_scalar("SELECT MAX(id) FROM audit_events").fetch_one(&mut *connection).await?;
    let Some(greatest) = greatest else { return Ok(None) };
    let mut writing = transaction::holders_of_writers(connection).await?;
    let (watch, mut pause) = (Stopwatch::start(), SHORTEST_PAUSE);
    while !writing.is_empty() {
        if watch.elapsed() > SETTLE_TIMEOUT {
            let late = || PostgresError::Driver(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
            return settled.known().map(Some).ok_or_else(late);
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause.saturating_mul(2));
        let still = transaction::holders_of_writers(connection).await?;
        writing.retain(|transaction| still.contains(transaction));
    }
    settled.raise(greatest);
    Ok(Some(greatest))
}

/// Returns the least id among the earliest events at or after `since`. Later events have greater
/// ids.
async fn first_since(connection: &mut PgConnection, since: i64) -> Result<Option<i64>, PostgresError> {
    // The limit also stops the planner from scanning for the least id from the first row.
    let first = sqlx::query_scalar(
        "SELECT MIN(id) FROM (
             SELECT id FROM audit_events
             WHERE at >= $1 AND at <= $2 + (
                 SELECT LEAST(at, $3) FROM audit_events WHERE at >= $1 ORDER BY at LIMIT 1)
             ORDER BY at LIMIT $4) AS earliest",
    )
    .bind(since)
    .bind(DISORDER_MILLISECONDS)
    .bind(i64::MAX - DISORDER_MILLISECONDS)
    .bind(DISORDER_ROWS)
    .fetch_one(connection)
    .await?;
    Ok(first)
}

/// Returns the greatest id among the latest events at or before `until`. Earlier events have
/// smaller ids.
async fn last_until(connection: &mut PgConnection, until: i64) -> Result<Option<i64>, PostgresError> {
    let last = sqlx::query_scalar(
        "SELECT MAX(id) FROM (
             SELECT id FROM audit_events
             WHERE at <= $1 AND at >= (
                 SELECT GREATEST(at, $3) FROM audit_events WHERE at <= $1 ORDER BY at DESC LIMIT 1) - $2
             ORDER BY at DESC LIMIT $4) AS latest",
    )
    .bind(until)
    .bind(DISORDER_MILLISECONDS)
    .bind(i64::MIN + DISORDER_MILLISECONDS)
    .bind(DISORDER_ROWS)
    .fetch_one(connection)
    .await?;
    Ok(last)
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
    query.push(" FROM page)").push(SIZED_ROWS).push(" ORDER BY writer, writer_sequence");
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
