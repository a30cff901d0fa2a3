//! How transactions begin.

use sqlx::postgres::PgConnection;
use sqlx::{PgPool, Postgres, Row as _, Transaction};

use super::error::PostgresError;

/// The advisory lock of whoever changes signing keys. Advisory locks are numbers in a space of their own in every database.
pub(super) const KEYS: i64 = 7_310_001;
/// The advisory lock of whoever adds tokens or audit rows. The function `revocations_beside_writers` of the schema takes it too.
pub(super) const WRITERS: i64 = 7_310_002;

const BEGIN_BESIDE_WRITERS: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT revocations_beside_writers() AS revocations";
const READ_COMMITTED: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Begins a transaction that adds tokens or audit rows beside others that do.
pub(super) async fn beside_writers(pool: &PgPool) -> Result<Transaction<'static, Postgres>, PostgresError> {
    let mut transaction = begin(pool, READ_COMMITTED).await?;
    lock_shared(&mut transaction, WRITERS).await?;
    Ok(transaction)
}

/// The same on a connection that is the caller's alone, in one message; gives the counter of revocations as it stands once the lock is
/// held. Every statement of it sees what was committed before that statement.
pub(super) async fn begin_beside_writers(connection: &mut PgConnection) -> Result<i64, PostgresError> {
    let rows = sqlx::raw_sql(BEGIN_BESIDE_WRITERS).fetch_all(connection).await?;
    let counter = rows.last().ok_or(sqlx::Error::RowNotFound)?;
    Ok(counter.try_get("revocations")?)
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

/// Begins a transaction that changes signing keys: one at a time.
pub(super) async fn changing_keys(pool: &PgPool) -> Result<Transaction<'static, Postgres>, PostgresError> {
    let mut transaction = begin(pool, READ_COMMITTED).await?;
    lock(&mut transaction, KEYS).await?;
    lock_shared(&mut transaction, WRITERS).await?;
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
        let function = include_str!("../../../migrations/postgres/0003_batches_in_one_statement.sql");
        assert!(function.contains(&format!("lock_shared({WRITERS})")));
    }
}
