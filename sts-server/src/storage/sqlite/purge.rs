//! Deletes what has expired.

use sqlx::SqlitePool;

use super::error::SqliteError;

/// How many rows a transaction deletes at most: nobody waits long for the write lock.
const PORTION: u64 = 5_000;
/// How many portions a call deletes at most of each table; the next call goes on.
const PORTIONS: u32 = 200;

const STATEMENTS: [&str; 3] = [
    "DELETE FROM tokens WHERE jti IN (
         SELECT jti FROM tokens WHERE expires_at <= unixepoch('subsec') * 1000 LIMIT ?1)",
    "DELETE FROM one_time_values WHERE (namespace, value) IN (
         SELECT namespace, value FROM one_time_values WHERE expires_at <= unixepoch('subsec') * 1000 LIMIT ?1)",
    "DELETE FROM revocations WHERE (kind, issuer, value) IN (
         SELECT kind, issuer, value FROM revocations WHERE expires_at <= unixepoch('subsec') * 1000 LIMIT ?1)",
];

/// Deletes in portions, each a transaction of its own; how many rows went.
pub(super) async fn purge(writer: &SqlitePool) -> Result<u64, SqliteError> {
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
    Ok(purged)
}
