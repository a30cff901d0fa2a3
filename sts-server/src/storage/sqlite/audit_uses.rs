//! The last use of each delegation.

use serde_json::json;
use sqlx::{SqliteConnection, SqlitePool};

use super::error::SqliteError;
use crate::storage::DelegationUses;
use crate::storage::audit_members::AuditSummary;
use crate::storage::audit_search::SUMMARIZED_SEGMENTS;

/// Returns the last segments that are summarized, and whose uses are not counted. The latest uses
/// are counted first.
pub(super) async fn uncounted(readers: &SqlitePool) -> Result<Vec<i64>, SqliteError> {
    let query = "SELECT segment FROM audit_summaries WHERE counts_uses = 0 ORDER BY segment DESC LIMIT ?1";
    Ok(sqlx::query_scalar(query).bind(SUMMARIZED_SEGMENTS).fetch_all(readers).await?)
}

/// Returns the last segment that is summarized, and true if the uses up to it are counted.
async fn counted(readers: &SqlitePool) -> Result<(Option<i64>, bool), SqliteError> {
    let query = "SELECT (SELECT MAX(segment) FROM audit_summaries),
                        (SELECT MAX(segment) FROM audit_summaries WHERE counts_uses = 0) IS NULL";
    Ok(sqlx::query_as(query).fetch_one(readers).await?)
}

/// Adds the uses in these segments.
pub(super) async fn count(connection: &mut SqliteConnection, summaries: &[AuditSummary]) -> Result<(), SqliteError> {
    for (delegation, at) in AuditSummary::uses_of(summaries) {
        sqlx::query(
            "INSERT INTO delegation_uses (delegation, used_at) VALUES (?1, ?2)
             ON CONFLICT (delegation) DO UPDATE SET used_at = MAX(used_at, excluded.used_at)",
        )
        .bind(delegation)
        .bind(at)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Returns the last uses of these delegations.
pub(super) async fn uses(readers: &SqlitePool, delegations: &[&str]) -> Result<DelegationUses, SqliteError> {
    // Read first: what is counted in between is read twice, and never missed.
    let (last, is_whole) = counted(readers).await?;
    let used = sqlx::query_as(
        "SELECT delegation, used_at FROM delegation_uses WHERE delegation IN (SELECT value FROM json_each(?1))",
    )
    .bind(json!(delegations).to_string())
    .fetch_all(readers)
    .await?;
    Ok(DelegationUses::new(used, last, is_whole))
}
