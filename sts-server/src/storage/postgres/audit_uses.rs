//! The last use of each delegation.

use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::pool::Pool;
use crate::storage::DelegationUses;
use crate::storage::audit_members::AuditSummary;
use crate::storage::audit_search::SUMMARIZED_SEGMENTS;

/// Returns the last segments that are summarized, and whose uses are not counted. The latest uses
/// are counted first.
pub(super) async fn uncounted(connection: &mut PgConnection) -> Result<Vec<i64>, PostgresError> {
    let query = "SELECT segment FROM audit_summaries WHERE counts_uses = 0 ORDER BY segment DESC LIMIT $1";
    Ok(sqlx::query_scalar(query).bind(SUMMARIZED_SEGMENTS).fetch_all(connection).await?)
}

/// Returns the last segment that is summarized, and true if the uses up to it are counted.
async fn counted(connection: &mut PgConnection) -> Result<(Option<i64>, bool), PostgresError> {
    let query = "SELECT (SELECT MAX(segment) FROM audit_summaries),
                        (SELECT MAX(segment) FROM audit_summaries WHERE counts_uses = 0) IS NULL";
    Ok(sqlx::query_as(query).fetch_one(connection).await?)
}

/// Adds the uses in these segments. All servers lock the rows in the same order.
pub(super) async fn count(connection: &mut PgConnection, summaries: &[AuditSummary]) -> Result<(), PostgresError> {
    let (delegations, times): (Vec<&str>, Vec<i64>) = AuditSummary::uses_of(summaries).into_iter().unzip();
    sqlx::query(
        "INSERT INTO delegation_uses (delegation, used_at) SELECT * FROM UNNEST($1::TEXT[], $2::BIGINT[])
         ON CONFLICT (delegation) DO UPDATE SET used_at = GREATEST(delegation_uses.used_at, excluded.used_at)",
    )
    .bind(delegations)
    .bind(times)
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the last uses of these delegations.
pub(super) async fn uses(pool: &Pool, delegations: &[&str]) -> Result<DelegationUses, PostgresError> {
    let mut connection = pool.acquire().await?;
    // Read first: what is counted in between is read twice, and never missed.
    let (last, is_whole) = counted(&mut connection).await?;
    let used = sqlx::query_as("SELECT delegation, used_at FROM delegation_uses WHERE delegation = ANY($1)")
        .bind(delegations.iter().map(|id| (*id).to_owned()).collect::<Vec<String>>())
        .fetch_all(&mut *connection)
        .await?;
    Ok(DelegationUses::new(used, last, is_whole))
}
