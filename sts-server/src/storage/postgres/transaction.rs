//! How transactions begin.

use sqlx::postgres::PgConnection;
use sqlx::{PgPool, Postgres, Row as _, Transaction};

use super::counter;
use super::error::PostgresError;
use crate::storage::coded::{Coded as _, EntryColumns};
use crate::storage::{Version, Versions};

/// The advisory lock of whoever changes signing keys. Advisory locks are numbers in a space of their own in every database.
pub(super) const KEYS: i64 = 7_310_001;
/// The advisory lock of transactions that add tokens or audit rows. The function `versions_beside_writers` of the schema takes it too.
pub(super) const WRITERS: i64 = 7_310_002;

const BEGIN_BESIDE_WRITERS: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT versions_beside_writers() AS versions";
const READ_COMMITTED: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Begins a transaction that adds tokens or audit rows beside others that do.
pub(super) async fn beside_writers(pool: &PgPool) -> Result<Transaction<'static, Postgres>, PostgresError> {
    let mut transaction = begin(pool, READ_COMMITTED).await?;
    lock_shared(&mut transaction, WRITERS).await?;
    Ok(transaction)
}

/// The same on a connection that is the caller's alone, in one message; gives the versions as they are once the lock is held. Every
/// statement of it sees what was committed before that statement.
pub(super) async fn begin_beside_writers(connection: &mut PgConnection) -> Result<Versions, PostgresError> {
    let rows = sqlx::raw_sql(BEGIN_BESIDE_WRITERS).fetch_all(connection).await?;
    let versions: Vec<i64> = rows.last().ok_or(sqlx::Error::RowNotFound)?.try_get("versions")?;
    versions_of(&versions)
}

/// The versions as the function `versions_beside_writers` of the schema gives them.
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

/// The versions in the order of that function.
pub(super) fn numbers_of(Versions { registry, keys, revocations }: &Versions) -> Vec<i64> {
    [registry, keys, revocations].iter().flat_map(|version| [version.counter, version.generation]).collect()
}

/// Commits what [`begin_beside_writers`] began.
pub(super) async fn commit(connection: &mut PgConnection) -> Result<(), PostgresError> {
    sqlx::raw_sql("COMMIT").execute(connection).await?;
    Ok(())
}

/// Begins a transaction while no other adds tokens or audit rows: every earlier one has ended, every later one waits.
pub(super) async fn without_writers(pool: &PgPool) -> Result<Transaction<'static, Postgres>, PostgresError> {
    let mut transaction = begin(pool, READ_COMMITTED).await?;
    lock(&mut transaction, WRITERS).await?;
    Ok(transaction)
}

/// The transactions that hold the lock of the writers now, shared or not, by names that no later transaction has.
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

/// Begins a transaction that changes rows which decisions are made by, registry entries or keys: those who decide meanwhile are not
/// kept waiting until [`exclude_writers`].
pub(super) async fn changing(pool: &PgPool) -> Result<Transaction<'static, Postgres>, PostgresError> {
    begin(pool, READ_COMMITTED).await
}

/// As [`changing`], for signing keys: one at a time.
pub(super) async fn changing_keys(pool: &PgPool) -> Result<Transaction<'static, Postgres>, PostgresError> {
    let mut transaction = begin(pool, READ_COMMITTED).await?;
    lock(&mut transaction, KEYS).await?;
    Ok(transaction)
}

/// Before a change raises its counter: every decision that was made without it has been committed or sees it.
pub(super) async fn exclude_writers(connection: &mut PgConnection) -> Result<(), PostgresError> {
    lock(connection, WRITERS).await
}

/// Begins a transaction that changes rows of every kind: no other changes any meanwhile. Locks are taken in the order in which all
/// others take those that they need.
pub(super) async fn changing_everything(pool: &PgPool) -> Result<Transaction<'static, Postgres>, PostgresError> {
    let mut transaction = begin(pool, READ_COMMITTED).await?;
    counter::lock(&mut transaction, EntryColumns::COUNTER).await?;
    lock(&mut transaction, KEYS).await?;
    lock(&mut transaction, WRITERS).await?;
    Ok(transaction)
}

/// Begins a transaction whose statements all see the same state.
pub(super) async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Postgres>, PostgresError> {
    begin(pool, SNAPSHOT).await
}

/// Begins in a task of its own: the driver does not roll back a `BEGIN` whose caller went away before the answer came, and the pool
/// would hand out a connection that is in the middle of a transaction. A transaction that nobody waits for is dropped, whole.
async fn begin(pool: &PgPool, statement: &'static str) -> Result<Transaction<'static, Postgres>, PostgresError> {
    let pool = pool.clone();
    match tokio::spawn(async move { pool.begin_with(statement).await }).await {
        Ok(begun) => Ok(begun?),
        Err(error) => Err(PostgresError::Driver(sqlx::Error::Io(error.into()))),
    }
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
