//! Deletes what has expired.

use sqlx::PgPool;

use super::error::PostgresError;
use super::{registry, within};
use crate::storage::StorageError;

/// How many rows a transaction deletes at most: nobody waits long for one of its locks.
const PORTION: u64 = 5_000;
/// How many portions a call deletes at most of each table; the next call goes on.
const PORTIONS: u32 = 200;

// Rows that another transaction holds are left for the next time: a revocation may be about to be prolonged.
const STATEMENTS: [&str; 3] = [
    "DELETE FROM tokens WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM tokens WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
    "DELETE FROM one_time_values WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM one_time_values WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
    "DELETE FROM revocations WHERE ctid = ANY(ARRAY(
         SELECT ctid FROM revocations WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))",
];

/// Deletes in portions, each a transaction of its own; how many rows went.
pub(super) async fn purge(pool: &PgPool) -> Result<u64, StorageError> {
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
    Ok(purged)
}

async fn delete(pool: &PgPool, statement: &'static str, now: i64) -> Result<u64, PostgresError> {
    let deleted = sqlx::query(statement).bind(now).bind(PORTION.cast_signed()).execute(pool).await?;
    Ok(deleted.rows_affected())
}
