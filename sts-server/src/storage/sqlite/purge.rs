//! The deletion of expired rows.

use serde_json::json;
use sqlx::SqlitePool;

use super::error::SqliteError;
use super::{approval, begin_immediate, counter};
use crate::storage::approval_rows::ExpiryCursor;
use crate::storage::coded::{self, Coded as _, RevocationColumns, RevocationPlace};
use crate::storage::codes::{Counter, RowCodes};

/// The maximum number of rows deleted in a transaction, so that no other transaction waits long for
/// the write lock.
const PORTION: u64 = 5_000;
/// The maximum number of portions deleted per table in a call. The next call continues.
const PORTIONS: u32 = 200;

const STATEMENTS: [&str; 3] = [
    "DELETE FROM tokens WHERE jti IN (
         SELECT jti FROM tokens WHERE expires_at <= unixepoch('subsec') * 1000 LIMIT ?1)",
    "DELETE FROM one_time_values WHERE (namespace, value) IN (
         SELECT namespace, value FROM one_time_values WHERE expires_at <= unixepoch('subsec') * 1000 LIMIT ?1)",
    // Uses of more than 400 days ago.
    "DELETE FROM delegation_uses WHERE delegation IN (
         SELECT delegation FROM delegation_uses WHERE used_at <= (unixepoch() - 34560000) * 1000 LIMIT ?1)",
];

/// Deletes in portions, each in a separate transaction. Returns the number of deleted rows.
pub(super) async fn purge(writer: &SqlitePool, codes: &RowCodes) -> Result<u64, SqliteError> {
    let mut purged: u64 = 0;
    for statement in STATEMENTS {
        for _ in 0..PORTIONS {
            let deleted = sqlx::query(statement).bind(PORTION.cast_signed()).execute(writer).await?;
            purged = purged.saturating_add(deleted.rows_affected());
            if deleted.rows_affected() < PORTION {
                break;
            }
        }
    }
    let mut place = Some(RevocationPlace::default());
    for _ in 0..PORTIONS {
        let Some(from) = place.take() else { break };
        let (went, next) = delete_revocations(writer, codes, from).await?;
        (purged, place) = (purged.saturating_add(went), next);
    }
    let mut place = Some(ExpiryCursor::default());
    for _ in 0..PORTIONS {
        let Some(from) = place.take() else { break };
        let (went, next) = approval::purge(writer, codes, PORTION, from).await?;
        (purged, place) = (purged.saturating_add(went), next);
    }
    Ok(purged)
}

/// Deletes expired revocations and removes them from the set. Followers need not read this change,
/// because they know when a revocation expires. A row that was altered directly in the database
/// stays, because its expiry is not trusted.
async fn delete_revocations(
    writer: &SqlitePool,
    codes: &RowCodes,
    place: RevocationPlace,
) -> Result<(u64, Option<RevocationPlace>), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    let expired: Vec<RevocationColumns> = sqlx::query_as(
        "SELECT kind, issuer, value, at, expires_at, version, code FROM revocations
         WHERE expires_at <= unixepoch('subsec') * 1000 AND (expires_at, kind, issuer, value) > (?1, ?2, ?3, ?4)
         ORDER BY expires_at, kind, issuer, value LIMIT ?5",
    )
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
    let gone: Vec<Vec<u8>> = sqlx::query_scalar(
        "DELETE FROM revocations WHERE (kind, issuer, value) IN (
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1))
         RETURNING code",
    )
    .bind(json!(expired).to_string())
    .fetch_all(&mut *transaction)
    .await?;
    let mut counter = Counter::open(counter::read(&mut transaction, RevocationColumns::COUNTER).await?, codes)?;
    gone.iter().for_each(|code| counter.set.toggle(codes, code));
    counter::write(&mut transaction, &counter.sealed(codes)).await?;
    transaction.commit().await?;
    Ok((u64::try_from(gone.len()).unwrap_or(u64::MAX), next))
}
