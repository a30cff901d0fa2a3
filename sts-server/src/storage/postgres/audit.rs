//! Audit rows.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{PgPool, QueryBuilder};

use super::error::PostgresError;
use super::transaction;
use crate::storage::audit_bounds::{DISORDER_MILLISECONDS, DISORDER_ROWS};
use crate::storage::columns::AuditHeadColumns;
use crate::storage::{AuditFilter, AuditHead, AuditRow, StoredAuditRow};
use crate::telemetry::Stopwatch;

/// The longest time that a reader waits for transactions that are adding rows.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pauses between two looks at them.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The rows of the page `sized` before which there are less than `AUDIT_PAGE_BYTES`, without the body of one that alone has more.
const SIZED_ROWS: &str = " SELECT id, writer, writer_sequence, at, correlation_id, txn, jti,
        CASE WHEN octet_length(body) <= 1048576 THEN body ELSE '' END AS body, mac
     FROM sized JOIN audit_events USING (id) WHERE bytes_before < 1048576";

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

/// The greatest id that was found to be settled.
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
/// Ids are given out before the commit, so a row can appear after one with a greater id, and a reader that goes on from the greater one
/// would never see it. Hence no row beyond an id that is settled.
pub(super) async fn audit(
    pool: &PgPool,
    settled: &Settled,
    filter: &AuditFilter,
    limit: u32,
) -> Result<Vec<StoredAuditRow>, PostgresError> {
    let mut connection = pool.acquire().await?;
    let Some(settled) = settle(&mut connection, settled).await? else {
        return Ok(Vec::new());
    };
    let mut query: QueryBuilder<Postgres> =
        QueryBuilder::new("WITH page AS (SELECT id, octet_length(body) AS bytes FROM audit_events WHERE id <= ");
    query.push_bind(settled);
    if let Some(after_id) = filter.after_id {
        query.push(" AND id > ").push_bind(after_id);
    }
    if let Some(since) = filter.since {
        let since = since.as_millisecond();
        let Some(first) = first_since(&mut connection, since).await? else {
            return Ok(Vec::new());
        };
        query.push(" AND id >= ").push_bind(first).push(" AND at >= ").push_bind(since);
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
    Ok(query.build_query_as().fetch_all(&mut *connection).await?)
}

/// The greatest id below which no row can appear any more.
///
/// A transaction that adds rows holds the lock of the writers from before the first id is given out until its rows can be seen. So when
/// all that held the lock after the greatest id was read have ended, every id up to that one is settled. The lock itself is not taken:
/// writers would queue up behind a reader. If a writer takes too long, the rows that were settled before are read.
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

/// The least id of the events at or after a moment: of the earliest of them, because later events have greater ids.
async fn first_since(connection: &mut PgConnection, since: i64) -> Result<Option<i64>, PostgresError> {
    // The limit also keeps the planner from looking for the least id by reading from the first row on.
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

/// Reads rows in the order of their chains.
pub(super) async fn chain(
    pool: &PgPool,
    after: Option<(&str, i64)>,
    limit: u32,
) -> Result<Vec<StoredAuditRow>, PostgresError> {
    let mut query: QueryBuilder<Postgres> = QueryBuilder::new(
        "WITH page AS (SELECT id, writer, writer_sequence, octet_length(body) AS bytes FROM audit_events",
    );
    // At first no bound at all: a row that was forged may stand before everything that a writer writes.
    if let Some((writer, writer_sequence)) = after {
        query.push(" WHERE (writer, writer_sequence) > (").push_bind(writer).push(", ");
        query.push_bind(writer_sequence).push(")");
    }
    query.push(" ORDER BY writer, writer_sequence LIMIT ").push_bind(i64::from(limit));
    query.push("), sized AS (SELECT id, SUM(bytes) OVER (ORDER BY writer, writer_sequence) - bytes AS bytes_before");
    query.push(" FROM page)").push(SIZED_ROWS).push(" ORDER BY writer, writer_sequence");
    Ok(query.build_query_as().fetch_all(pool).await?)
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
    Ok(heads.into_iter().map(AuditHead::from).collect())
}
