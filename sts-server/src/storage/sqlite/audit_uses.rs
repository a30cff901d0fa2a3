//! The last use of each delegation.

use serde_json::json;
use sqlx::{SqliteConnection, SqlitePool};

use super::error::SqliteError;
use crate::storage::DelegationUses;
use crate::storage::audit_members::AuditSummary;

/// Returns the last segment whose uses are counted.
pub(super) async fn last_counted(readers: &SqlitePool) -> Result<Option<i64>, SqliteError> {
    let query = sqlx::query_scalar("SELECT MAX(segment) FROM audit_summaries WHERE counts_uses = 1");
    Ok(query.fetch_one(readers).await?)
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
    let last = last_counted(readers).await?;
    let used = sqlx::query_as(
        "SELECT delegation, used_at FROM delegation_uses WHERE delegation IN (SELECT value FROM json_each(?1))",
    )
    .bind(json!(delegations).to_string())
    .fetch_all(readers)
    .await?;
    Ok(DelegationUses::new(used, last))
}
