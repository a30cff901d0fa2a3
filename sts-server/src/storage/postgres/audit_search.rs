//! The search of the audit log, and its summaries.
//!
//! Ids are assigned before the commit, so a row can appear after a row with a greater id. A reader
//! therefore reads only rows up to a settled id: see [`settled_now`].

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::QueryBuilder;
use sqlx::postgres::{PgConnection, Postgres};

use super::audit::SIZED_ROWS;
use super::audit_uses;
use super::error::PostgresError;
use super::pool::{Lent, Pool};
use super::transaction;
use crate::storage::audit_members::{AuditSummary, SUMMARY_IDS, SummaryPart};
use crate::storage::audit_search::{self, AuditReader, MEDIAN_ROWS, direction, unsummarized};
use crate::storage::{AuditFilter, AuditOrder, AuditPage, StoredAuditRow};
use crate::telemetry::Stopwatch;

/// The longest time that a reader waits for transactions that are adding rows.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// The pauses between two checks of these transactions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The greatest id that is known to be settled, for searches while writers take too long.
#[derive(Debug, Default)]
pub(super) struct Settled(Mutex<Option<i64>>);

impl Settled {
    fn raise(&self, id: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = (*known).max(Some(id));
    }

    /// Forgets an id that the database no longer has. A standby without the last rows was promoted,
    /// or a backup was restored, and rows can appear at and below it.
    fn forget_above(&self, greatest: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.filter(|known| *known <= greatest);
    }

    fn known(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a page of a search.
pub(super) async fn audit(
    pool: &Pool,
    settled: &Settled,
    filter: &AuditFilter,
    limit: u32,
) -> Result<AuditPage, PostgresError> {
    audit_search::search(&mut PostgresAuditReader { connection: pool.acquire().await?, settled }, filter, limit).await
}

struct PostgresAuditReader<'a> {
    connection: Lent,
    settled: &'a Settled,
}

impl AuditReader for PostgresAuditReader<'_> {
    type Error = PostgresError;

    async fn ends(&mut self) -> Result<Option<(i64, i64)>, PostgresError> {
        let greatest = match settled_now(&mut self.connection, self.settled).await? {
            LogEnd::NoRow => return Ok(None),
            LogEnd::Settled(greatest) => greatest,
            LogEnd::Unsettled => {
                let late = || PostgresError::Driver(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
                self.settled.known().ok_or_else(late)?
            }
        };
        Ok(least(&mut self.connection).await?.map(|least| (least, greatest)))
    }

    async fn times_from(&mut self, id: i64) -> Result<Vec<(i64, i64)>, PostgresError> {
        let query = sqlx::query_as("SELECT id, at FROM audit_events WHERE id >= $1 ORDER BY id LIMIT $2");
        Ok(query.bind(id).bind(MEDIAN_ROWS).fetch_all(&mut *self.connection).await?)
    }

    async fn summaries(
        &mut self,
        part: SummaryPart,
        segments: RangeInclusive<i64>,
        order: AuditOrder,
        limit: i64,
    ) -> Result<Vec<(i64, Vec<u8>)>, PostgresError> {
        let mut query: QueryBuilder<Postgres> = QueryBuilder::new("SELECT segment, ");
        query.push(part.expression()).push(" FROM audit_summaries WHERE segment >= ").push_bind(*segments.start());
        query.push(" AND segment <= ").push_bind(*segments.end());
        query.push(" ORDER BY segment ").push(direction(order)).push(" LIMIT ").push_bind(limit);
        Ok(query.build_query_as().fetch_all(&mut *self.connection).await?)
    }

    async fn rows(
        &mut self,
        filter: &AuditFilter,
        ids: RangeInclusive<i64>,
        limit: u32,
        bytes: i64,
    ) -> Result<Vec<StoredAuditRow>, PostgresError> {
        let mut query: QueryBuilder<Postgres> =
            QueryBuilder::new("WITH page AS (SELECT id, octet_length(body) AS bytes FROM audit_events WHERE id >= ");
        query.push_bind(*ids.start()).push(" AND id <= ").push_bind(*ids.end());
        if let Some(since) = filter.since {
            query.push(" AND at >= ").push_bind(since.as_millisecond());
        }
        if let Some(until) = filter.until {
            query.push(" AND at <= ").push_bind(until.as_millisecond());
        }
        for members in filter.members() {
            let texts: Vec<String> = members.iter().map(|member| member.text().to_owned()).collect();
            query.push(" AND EXISTS (SELECT FROM UNNEST(").push_bind(texts);
            query.push("::TEXT[]) AS text WHERE strpos(body, text) > 0)");
        }
        let direction = direction(filter.order);
        query.push(" ORDER BY id ").push(direction).push(" LIMIT ").push_bind(i64::from(limit));
        query.push("), sized AS (SELECT id, SUM(bytes) OVER (ORDER BY id ").push(direction);
        query.push(") - bytes AS bytes_before FROM page)").push(SIZED_ROWS).push_bind(bytes);
        query.push(" ORDER BY id ").push(direction);
        Ok(query.build_query_as().fetch_all(&mut *self.connection).await?)
    }
}

async fn least(connection: &mut PgConnection) -> Result<Option<i64>, PostgresError> {
    Ok(sqlx::query_scalar("SELECT MIN(id) FROM audit_events").fetch_one(connection).await?)
}

/// Summarizes the next segments. If there are none, counts the uses in segments that an earlier
/// release summarized. Returns their number.
///
/// Several servers may summarize at once: their summaries of a segment are the same.
pub(super) async fn summarize(pool: &Pool, settled: &Settled) -> Result<u64, PostgresError> {
    let mut connection = pool.acquire().await?;
    // A summary hides rows that appear later. It must be of ids that are settled in this database now.
    let LogEnd::Settled(greatest) = settled_now(&mut connection, settled).await? else { return Ok(0) };
    let Some(least) = least(&mut connection).await? else { return Ok(0) };
    // The rows of these segments were removed.
    sqlx::query("DELETE FROM audit_summaries WHERE segment < $1")
        .bind(least.div_euclid(SUMMARY_IDS))
        .execute(&mut *connection)
        .await?;
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(segment) FROM audit_summaries").fetch_one(&mut *connection).await?;
    let segments: Vec<i64> = match unsummarized(least, greatest, last) {
        Some(segments) => segments.collect(),
        None => audit_uses::uncounted(&mut connection).await?,
    };
    if segments.is_empty() {
        return Ok(0);
    }
    let mut summaries: Vec<AuditSummary> = Vec::new();
    for segment in segments {
        let bodies: Vec<String> = sqlx::query_scalar(
            "SELECT CASE WHEN octet_length(body) <= 65536 THEN body ELSE '' END
             FROM audit_events WHERE id >= $1 AND id < $1 + $2",
        )
        .bind(segment.saturating_mul(SUMMARY_IDS))
        .bind(SUMMARY_IDS)
        .fetch_all(&mut *connection)
        .await?;
        summaries.push(AuditSummary::of(segment, bodies.iter().map(String::as_str)));
    }
    // Uses that are counted again, after a failure here, change nothing.
    audit_uses::count(&mut connection, &summaries).await?;
    sqlx::query(
        "INSERT INTO audit_summaries (segment, names, identifiers, counts_uses)
         SELECT *, 1 FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::BYTEA[])
         ON CONFLICT (segment) DO UPDATE SET counts_uses = 1 WHERE audit_summaries.counts_uses = 0",
    )
    .bind(summaries.iter().map(|summary| summary.segment).collect::<Vec<i64>>())
    .bind(summaries.iter().map(|summary| summary.names.as_slice()).collect::<Vec<&[u8]>>())
    .bind(summaries.iter().map(|summary| summary.identifiers.as_slice()).collect::<Vec<&[u8]>>())
    .execute(&mut *connection)
    .await?;
    Ok(u64::try_from(summaries.len()).unwrap_or(u64::MAX))
}

/// The end of the log, as a reader finds it.
enum LogEnd {
    /// The log is empty.
    NoRow,
    /// No row can appear at or below this id any more.
    Settled(i64),
    /// A writer takes too long.
    Unsettled,
}

/// Waits until the greatest id is settled.
///
/// A transaction that adds rows locks the writers' lock before it gets its first id, and holds it
/// until its rows are visible. Therefore the greatest id is settled once every transaction that
/// held the lock after it was read has ended.
///
/// This function does not take the lock, because writers would queue behind a reader.
async fn settled_now(connection: &mut PgConnection, settled: &Settled) -> Result<LogEnd, PostgresError> {
    let greatest: Option<i64> =
        sqlx::query_scalar("SELECT MAX(id) FROM audit_events").fetch_one(&mut *connection).await?;
    settled.forget_above(greatest.unwrap_or(i64::MIN));
    let Some(greatest) = greatest else { return Ok(LogEnd::NoRow) };
    let mut writing = transaction::holders_of_writers(connection).await?;
    let (watch, mut pause) = (Stopwatch::start(), SHORTEST_PAUSE);
    while !writing.is_empty() {
        if watch.elapsed() > SETTLE_TIMEOUT {
            return Ok(LogEnd::Unsettled);
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause.saturating_mul(2));
        let still = transaction::holders_of_writers(connection).await?;
        writing.retain(|transaction| still.contains(transaction));
    }
    settled.raise(greatest);
    Ok(LogEnd::Settled(greatest))
}
