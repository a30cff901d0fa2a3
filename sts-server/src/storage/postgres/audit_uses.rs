//! The last use of each delegation.

use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::pool::Pool;
use crate::storage::DelegationUses;
use crate::storage::audit_members::AuditSummary;

/// Returns the last segment whose uses are counted.
pub(super) async fn last_counted(connection: &mut PgConnection) -> Result<Option<i64>, PostgresError> {
    let query = sqlx::query_scalar("SELECT MAX(segment) FROM audit_summaries WHERE counts_uses = 1");
    Ok(query.fetch_one(connection).await?)
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
    let last = last_counted(&mut connection).await?;
    let used = sqlx::query_as("SELECT delegation, used_at FROM delegation_uses WHERE delegation = ANY($1)")
        .bind(delegations.iter().map(|id| (*id).to_owned()).collect::<Vec<String>>())
        .fetch_all(&mut *connection)
        .await?;
    Ok(DelegationUses::new(used, last))
}
