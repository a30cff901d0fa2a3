//! The search of the audit log, and its summaries. Only a single transaction writes at a time, so
//! rows appear in the order of their ids.

use std::ops::RangeInclusive;

use serde_json::json;
use sqlx::sqlite::Sqlite;
use sqlx::{QueryBuilder, SqlitePool};

use super::audit::SIZED_ROWS;
use super::audit_uses;
use super::begin_immediate;
use super::error::SqliteError;
use crate::storage::audit_members::{AuditSummary, SUMMARY_IDS, SummaryPart};
use crate::storage::audit_search::{self, AuditReader, MEDIAN_ROWS, direction, unsummarized};
use crate::storage::{AuditFilter, AuditOrder, AuditPage, StoredAuditRow};

/// Returns a page of a search.
pub(super) async fn audit(readers: &SqlitePool, filter: &AuditFilter, limit: u32) -> Result<AuditPage, SqliteError> {
    audit_search::search(&mut SqliteAuditReader(readers), filter, limit).await
}

struct SqliteAuditReader<'a>(&'a SqlitePool);

impl AuditReader for SqliteAuditReader<'_> {
    type Error = SqliteError;

    async fn ends(&mut self) -> Result<Option<(i64, i64)>, SqliteError> {
        ends(self.0).await
    }

    async fn times_from(&mut self, id: i64) -> Result<Vec<(i64, i64)>, SqliteError> {
        let query = sqlx::query_as("SELECT id, at FROM audit_events WHERE id >= ?1 ORDER BY id LIMIT ?2");
        Ok(query.bind(id).bind(MEDIAN_ROWS).fetch_all(self.0).await?)
    }

    async fn summaries(
        &mut self,
        part: SummaryPart,
        segments: RangeInclusive<i64>,
        order: AuditOrder,
        limit: i64,
    ) -> Result<Vec<(i64, Vec<u8>)>, SqliteError> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT segment, ");
        query.push(part.expression()).push(" FROM audit_summaries WHERE segment >= ").push_bind(*segments.start());
        query.push(" AND segment <= ").push_bind(*segments.end());
        query.push(" ORDER BY segment ").push(direction(order)).push(" LIMIT ").push_bind(limit);
        Ok(query.build_query_as().fetch_all(self.0).await?)
    }

    async fn rows(
        &mut self,
        filter: &AuditFilter,
        ids: RangeInclusive<i64>,
        limit: u32,
        bytes: i64,
    ) -> Result<Vec<StoredAuditRow>, SqliteError> {
        let mut query: QueryBuilder<Sqlite> =
            QueryBuilder::new("WITH page AS (SELECT id, octet_length(body) AS bytes FROM audit_events WHERE id >= ");
        query.push_bind(*ids.start()).push(" AND id <= ").push_bind(*ids.end());
        if let Some(since) = filter.since {
            query.push(" AND at >= ").push_bind(since.as_millisecond());
        }
        if let Some(until) = filter.until {
            query.push(" AND at <= ").push_bind(until.as_millisecond());
        }
        for members in filter.members() {
            let texts: Vec<&str> = members.iter().map(|member| member.text()).collect();
            query.push(" AND EXISTS (SELECT 1 FROM json_each(").push_bind(json!(texts).to_string());
            query.push(") AS text WHERE instr(body, text.value) > 0)");
        }
        let direction = direction(filter.order);
        query.push(" ORDER BY id ").push(direction).push(" LIMIT ").push_bind(i64::from(limit));
        query.push("), sized AS (SELECT id, SUM(bytes) OVER (ORDER BY id ").push(direction);
        query.push(") - bytes AS bytes_before FROM page)").push(SIZED_ROWS).push_bind(bytes);
        query.push(" ORDER BY id ").push(direction);
        Ok(query.build_query_as().fetch_all(self.0).await?)
    }
}

async fn ends(readers: &SqlitePool) -> Result<Option<(i64, i64)>, SqliteError> {
    // Two subqueries: together, the two aggregates would read every row.
    let (least, greatest): (Option<i64>, Option<i64>) =
        sqlx::query_as("SELECT (SELECT MIN(id) FROM audit_events), (SELECT MAX(id) FROM audit_events)")
            .fetch_one(readers)
            .await?;
    Ok(least.zip(greatest))
}

/// Summarizes the next segments. If there are none, counts the uses in segments that an earlier
/// release summarized. Returns their number.
///
/// Reads before it takes the write lock: several servers may summarize at once, and their summaries
/// of a segment are the same.
pub(super) async fn summarize(readers: &SqlitePool, writer: &SqlitePool) -> Result<u64, SqliteError> {
    let Some((least, greatest)) = ends(readers).await? else { return Ok(0) };
    let last: Option<i64> = sqlx::query_scalar("SELECT MAX(segment) FROM audit_summaries").fetch_one(readers).await?;
    let segments: Vec<i64> = match unsummarized(least, greatest, last) {
        Some(segments) => segments.collect(),
        None => audit_uses::uncounted(readers).await?,
    };
    if segments.is_empty() {
        return Ok(0);
    }
    let mut summaries: Vec<AuditSummary> = Vec::new();
    for segment in segments {
        let bodies: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT CAST(CASE WHEN octet_length(body) <= 65536 THEN body ELSE '' END AS BLOB)
             FROM audit_events WHERE id >= ?1 AND id < ?1 + ?2",
        )
        .bind(segment.saturating_mul(SUMMARY_IDS))
        .bind(SUMMARY_IDS)
        .fetch_all(readers)
        .await?;
        // Bytes that are not text are no event either.
        summaries.push(AuditSummary::of(segment, bodies.iter().map(|body| str::from_utf8(body).unwrap_or_default())));
    }
    let mut transaction = begin_immediate(writer).await?;
    // The rows of these segments were removed.
    sqlx::query("DELETE FROM audit_summaries WHERE segment < ?1")
        .bind(least.div_euclid(SUMMARY_IDS))
        .execute(&mut *transaction)
        .await?;
    audit_uses::count(&mut transaction, &summaries).await?;
    for AuditSummary { segment, names, identifiers, .. } in &summaries {
        sqlx::query(
            "INSERT INTO audit_summaries (segment, names, identifiers, counts_uses) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT (segment) DO UPDATE SET counts_uses = 1 WHERE audit_summaries.counts_uses = 0",
        )
        .bind(segment)
        .bind(names)
        .bind(identifiers)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(u64::try_from(summaries.len()).unwrap_or(u64::MAX))
}
