//! The ways to start a transaction.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::pool::{Pool, Transaction};
use super::{counter, standbys};
use crate::storage::coded::{Coded as _, EntryColumns};
use crate::storage::{Version, Versions};

/// The advisory lock of a change of signing keys. Every database has its own space of advisory lock
/// numbers.
pub(super) const KEYS: i64 = 7_310_001;
/// The advisory lock of transactions that add tokens or audit rows. The schema function
/// `versions_beside_writers` takes it too.
pub(super) const WRITERS: i64 = 7_310_002;

const BEGIN_BESIDE_WRITERS: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT versions_beside_writers() AS versions";
/// Waits for no standby at its commit.
const LOCAL: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = local";
const READ_COMMITTED: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Starts a transaction that adds tokens or audit rows, concurrently with others that do.
pub(super) async fn beside_writers(pool: &Pool) -> Result<Transaction, PostgresError> {
    let mut transaction = pool.begin(READ_COMMITTED).await?;
    lock_shared(&mut transaction, WRITERS).await?;
    Ok(transaction)
}

/// Does the same as [`beside_writers`] on the caller's own connection, in a single message. Returns
/// the versions as read under the lock. Every statement of the transaction sees all that was
/// committed before it.
pub(super) async fn begin_beside_writers(connection: &mut PgConnection) -> Result<Versions, PostgresError> {
    let rows = sqlx::raw_sql(BEGIN_BESIDE_WRITERS).fetch_all(connection).await?;
    let versions: Vec<i64> = rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get("versions")?;
    versions_of(&versions)
}

/// Converts the versions returned by the schema function `versions_beside_writers`.
pub(super) fn versions_of(versions: &[i64]) -> Result<Versions, PostgresError> {
    let &[registry, registry_generation, keys, keys_generation, revocations, revocations_generation] = versions else {
        return Err(sqlx::Error::RowNotFound.into());
    };
    let version = |counter, generation| Version { counter, generation };
    Ok(Versions {
        registry: version(registry, registry_generation),
        keys: version(keys, keys_generation),
        revocations: version(revocations, revocations_generation),
    })
}

/// Returns the versions in the order of that function.
pub(super) fn numbers_of(Versions { registry, keys, revocations }: &Versions) -> Vec<i64> {
    [registry, keys, revocations].iter().flat_map(|version| [version.counter, version.generation]).collect()
}

/// Commits the transaction of [`begin_beside_writers`].
pub(super) async fn commit(connection: &mut PgConnection) -> Result<(), PostgresError> {
    sqlx::raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}

/// Starts a transaction that excludes all others that add tokens or audit rows. Every earlier one
/// has ended, and every later one waits.
///
/// Its commit waits for no standby, so that a revocation is in force at once. Confirm it
/// afterwards ([`standbys::confirm`]).
pub(super) async fn without_writers(pool: &Pool) -> Result<Transaction, PostgresError> {
    let mut transaction = pool.begin(LOCAL).await?;
    exclude_writers(pool, &mut transaction).await?;
    Ok(transaction)
}

/// Returns the transactions that now hold the lock of the writers, shared or exclusive. No later
/// transaction reuses their names.
pub(super) async fn holders_of_writers(connection: &mut PgConnection) -> Result<Vec<String>, PostgresError> {
    let holders = sqlx::query_scalar(
        "SELECT virtualtransaction FROM pg_locks
         WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND classid::BIGINT = 0 AND objid::BIGINT = $1
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .bind(WRITERS)
    .fetch_all(connection)
    .await?;
    Ok(holders)
}

/// Starts a transaction that changes registry entries or keys, on which decisions depend.
/// Concurrent decisions are not blocked until [`exclude_writers`].
pub(super) async fn changing(pool: &Pool) -> Result<Transaction, PostgresError> {
    pool.begin(READ_COMMITTED).await
}

/// Does the same as [`changing`] for signing keys; only a single such transaction runs at a time.
pub(super) async fn changing_keys(pool: &Pool) -> Result<Transaction, PostgresError> {
    let mut transaction = pool.begin(READ_COMMITTED).await?;
    lock(&mut transaction, KEYS).await?;
    Ok(transaction)
}

/// Takes the lock of the writers before a change raises its counter. Every decision made without
/// the change has then been committed, or sees the change.
///
/// Ends commits that hold the lock because a standby does not answer.
pub(super) async fn exclude_writers(pool: &Pool, connection: &mut PgConnection) -> Result<(), PostgresError> {
    standbys::pass(pool, lock(connection, WRITERS)).await
}

/// Starts a transaction that changes rows of every kind and excludes all other changes. Takes locks
/// in the same order as all other transactions.
pub(super) async fn changing_everything(pool: &Pool) -> Result<Transaction, PostgresError> {
    let mut transaction = pool.begin(READ_COMMITTED).await?;
    counter::lock(&mut transaction, EntryColumns::COUNTER).await?;
    lock(&mut transaction, KEYS).await?;
    exclude_writers(pool, &mut transaction).await?;
    Ok(transaction)
}

/// Starts a transaction whose statements all see the same state.
pub(super) async fn snapshot(pool: &Pool) -> Result<Transaction, PostgresError> {
    pool.begin(SNAPSHOT).await
}

async fn lock(connection: &mut PgConnection, lock: i64) -> Result<(), PostgresError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(lock).execute(connection).await?;
    Ok(())
}

async fn lock_shared(connection: &mut PgConnection, lock: i64) -> Result<(), PostgresError> {
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1)").bind(lock).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_the_lock_of_the_writers() {
        let function = include_str!("../../../migrations/postgres/0004_row_codes.sql");
        assert!(function.contains(&format!("lock_shared({WRITERS})")));
    }
}
