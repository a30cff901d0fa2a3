//! The deletion of expired rows.

use super::error::PostgresError;
use super::pool::Pool;
use super::{approval, counter, registry, transaction, within};
use crate::storage::StorageError;
use crate::storage::approval_rows::ExpiryCursor;
use crate::storage::coded::{self, Coded as _, RevocationColumns, RevocationPlace};
use crate::storage::codes::{Counter, RowCodes};

/// The maximum number of rows deleted in a transaction, so that no other transaction waits long for
/// its locks.
const PORTION: u64 = 5_000;
/// The maximum number of portions deleted per table in a call. The next call continues.
const PORTIONS: u32 = 200;

const STATEMENTS: [&str; 3] = [
    "DELETE FROM tokens WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM tokens WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
    "DELETE FROM one_time_values WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM one_time_values WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
    // Uses of more than 400 days ago.
    "DELETE FROM delegation_uses WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM delegation_uses WHERE used_at <= $1 - 34560000000 LIMIT $2 FOR UPDATE SKIP LOCKED))",
];

/// Deletes in portions, each in a separate transaction. Returns the number of deleted rows.
pub(super) async fn purge(pool: &Pool, codes: &RowCodes) -> Result<u64, StorageError> {
    let now = within(async { registry::now(&mut *pool.acquire().await?).await }).await?;
    let mut purged: u64 = 0;
    for statement in STATEMENTS {
        for _ in 0..PORTIONS {
            let went = within(delete(pool, statement, now)).await?;
            purged = purged.saturating_add(went);
            if went < PORTION {
                break;
            }
        }
    }
    let mut place = Some(RevocationPlace::default());
    for _ in 0..PORTIONS {
        let Some(from) = place.take() else { break };
        let (went, next) = within(delete_revocations(pool, codes, now, from)).await?;
        (purged, place) = (purged.saturating_add(went), next);
    }
    let mut place = Some(ExpiryCursor::default());
    for _ in 0..PORTIONS {
        let Some(from) = place.take() else { break };
        let (went, next) = within(approval::purge(pool, codes, PORTION, from)).await?;
        (purged, place) = (purged.saturating_add(went), next);
    }
    Ok(purged)
}

/// Deletes expired revocations and removes them from the set. Followers need not read this change,
/// because they know when a revocation expires. A row that was altered directly in the database
/// stays, because its expiry is not trusted.
async fn delete_revocations(
    pool: &Pool,
    codes: &RowCodes,
    now: i64,
    place: RevocationPlace,
) -> Result<(u64, Option<RevocationPlace>), PostgresError> {
    let mut transaction = transaction::beside_writers(pool).await?;
    let columns = counter::lock(&mut transaction, RevocationColumns::COUNTER).await?;
    let expired: Vec<RevocationColumns> = sqlx::query_as(
        "SELECT kind, issuer, value, at, expires_at, version, code FROM revocations
         WHERE expires_at <= $1 AND (expires_at, kind, issuer, value) > ($2, $3, $4, $5)
         ORDER BY expires_at, kind, issuer, value LIMIT $6",
    )
    .bind(now)
    .bind(place.expires_at)
    .bind(place.kind)
    .bind(place.issuer)
    .bind(place.value)
    .bind(PORTION.cast_signed())
    .fetch_all(&mut *transaction)
    .await?;
    let is_full = expired.len() as u64 == PORTION;
    let next = expired.last().filter(|_| is_full).map(RevocationColumns::place);
    let expired = coded::vouched_keys(&expired, codes);
    if expired.is_empty() {
        return Ok((0, next));
    }
    let part = |index: usize| -> Vec<&str> { expired.iter().filter_map(|key| key.get(index).copied()).collect() };
    let gone: Vec<Vec<u8>> = sqlx::query_scalar(
        "DELETE FROM revocations
         WHERE (kind, issuer, value) IN (SELECT * FROM UNNEST($1::TEXT[], $2::TEXT[], $3::TEXT[])) RETURNING code",
    )
    .bind(part(0))
    .bind(part(1))
    .bind(part(2))
    .fetch_all(&mut *transaction)
    .await?;
    let mut counter = Counter::open(columns, codes)?;
    gone.iter().for_each(|code| counter.set.toggle(codes, code));
    counter::write(&mut transaction, &counter.sealed(codes)).await?;
    transaction.commit().await?;
    Ok((u64::try_from(gone.len()).unwrap_or(u64::MAX), next))
}

async fn delete(pool: &Pool, statement: &'static str, now: i64) -> Result<u64, PostgresError> {
    let deleted =
        sqlx::query(statement).bind(now).bind(PORTION.cast_signed()).execute(&mut *pool.acquire().await?).await?;
    Ok(deleted.rows_affected())
}
