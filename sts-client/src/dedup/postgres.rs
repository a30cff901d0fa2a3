//! The `PostgreSQL` store: any number of processes on any machines.
//!
//! Every operation is one statement and therefore atomic. By the database's defaults it is durable
//! when it is acknowledged. The names of the two tables start with `sts_once_`, so that an agent's
//! own database can hold them.

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{FromRow, PgPool};

use super::DedupError;
use super::sql::{ACQUIRE_TIMEOUT, BegunRow, Bound, Database, OperationRow, SqlDedupStore, Statements, unavailable};

/// The advisory lock under which the tables are created.
const TABLES: i64 = 7_310_101;
const CONNECTIONS: u32 = 8;

const VALUES: &str = "CREATE TABLE IF NOT EXISTS sts_once_values (
    key BYTEA PRIMARY KEY,
    ends_at_ms BIGINT NOT NULL
)";
const VALUES_BY_END: &str = "CREATE INDEX IF NOT EXISTS sts_once_values_ends ON sts_once_values (ends_at_ms)";
const OPERATIONS: &str = "CREATE TABLE IF NOT EXISTS sts_once_operations (
    key BYTEA PRIMARY KEY,
    fingerprint BYTEA NOT NULL,
    attempt BIGINT NOT NULL,
    begun_at_ms BIGINT NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    outcome BYTEA
)";
const OPERATIONS_BY_END: &str =
    "CREATE INDEX IF NOT EXISTS sts_once_operations_ends ON sts_once_operations (expires_at_ms)";

const SPEND: &str = "
    INSERT INTO sts_once_values (key, ends_at_ms)
    VALUES ($1, GREATEST($2, (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT) + $3)
    ON CONFLICT (key) DO NOTHING";

/// Starts an operation again if it has expired or no caller holds it any more. A row whose key
/// belongs to another body stays.
const BEGIN: &str = "
    INSERT INTO sts_once_operations AS held
        (key, fingerprint, attempt, begun_at_ms, lease_until_ms, expires_at_ms, outcome)
    VALUES ($1, $2, 1, (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT, (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT + $3, (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT + $4, NULL)
    ON CONFLICT (key) DO UPDATE SET
        fingerprint = excluded.fingerprint,
        attempt = CASE WHEN held.expires_at_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT THEN 1 ELSE held.attempt + 1 END,
        begun_at_ms = excluded.begun_at_ms,
        lease_until_ms = excluded.lease_until_ms,
        expires_at_ms = excluded.expires_at_ms,
        outcome = NULL
    WHERE (held.outcome IS NULL AND held.lease_until_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT
            AND (held.fingerprint = excluded.fingerprint OR held.expires_at_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT))
        OR (held.outcome IS NOT NULL AND held.expires_at_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT)
    RETURNING attempt, begun_at_ms";

const READ: &str = "
    SELECT fingerprint, outcome, lease_until_ms - (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT AS lease_ms
    FROM sts_once_operations WHERE key = $1";

const RENEW: &str = "
    UPDATE sts_once_operations SET lease_until_ms = (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT + $4
    WHERE key = $1 AND attempt = $2 AND begun_at_ms = $3 AND outcome IS NULL";

const ABANDON: &str = "
    UPDATE sts_once_operations SET lease_until_ms = (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT,
        expires_at_ms = LEAST(expires_at_ms, (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT + $4)
    WHERE key = $1 AND attempt = $2 AND begun_at_ms = $3 AND outcome IS NULL";

const FINISH: &str = "
    UPDATE sts_once_operations SET outcome = $4, expires_at_ms = (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT + $5
    WHERE key = $1 AND attempt = $2 AND begun_at_ms = $3 AND outcome IS NULL";

const PURGE_VALUES: &str = "
    DELETE FROM sts_once_values WHERE key IN
        (SELECT key FROM sts_once_values WHERE ends_at_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT LIMIT $1)";

const PURGE_OPERATIONS: &str = "
    DELETE FROM sts_once_operations WHERE key IN (
        SELECT key FROM sts_once_operations
        WHERE expires_at_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT AND (outcome IS NOT NULL OR lease_until_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT) LIMIT $1)";

/// A deduplication store in a `PostgreSQL` database. Share it by `Arc`.
pub type PostgresDedupStore = SqlDedupStore<PostgresDatabase>;

/// A pool of connections to a `PostgreSQL` database.
#[derive(Debug)]
pub struct PostgresDatabase(PgPool);

impl PostgresDedupStore {
    /// Connects, and creates the tables if they are missing.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use sts_client::dedup::PostgresDedupStore;
    /// use sts_client::idempotency::Idempotency;
    ///
    /// let store = PostgresDedupStore::connect("postgres://inventory@db.shop.example/inventory").await?;
    /// let idempotency = Idempotency::new(Arc::new(store));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`DedupError::Unavailable`], also for a malformed URL.
    pub async fn connect(url: &str) -> Result<Self, DedupError> {
        let options: PgConnectOptions = url.parse().map_err(unavailable)?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT);
        Self::within(pool.connect_lazy_with(options)).await
    }

    /// Makes a store in an agent's own database. Creates the tables if they are missing.
    ///
    /// # Errors
    /// [`DedupError::Unavailable`] if the tables cannot be created.
    pub async fn within(pool: PgPool) -> Result<Self, DedupError> {
        let mut transaction = pool.begin().await.map_err(unavailable)?;
        // Two processes that create one table at the same time would fail, even with "if not
        // exists".
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(TABLES)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        for table in [VALUES, VALUES_BY_END, OPERATIONS, OPERATIONS_BY_END] {
            sqlx::query(table).execute(&mut *transaction).await.map_err(unavailable)?;
        }
        transaction.commit().await.map_err(unavailable)?;
        Ok(Self::new(PostgresDatabase(pool)))
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    const STATEMENTS: Statements = Statements {
        spend: SPEND,
        renew: RENEW,
        finish: FINISH,
        abandon: ABANDON,
        purges: [PURGE_VALUES, PURGE_OPERATIONS],
    };

    async fn execute(&self, statement: &'static str, values: &[Bound<'_>]) -> Result<u64, sqlx::Error> {
        let query = values.iter().fold(sqlx::query(statement), |query, value| match *value {
            Bound::Bytes(bytes) => query.bind(bytes),
            Bound::Number(number) => query.bind(number),
        });
        Ok(query.execute(&self.0).await?.rows_affected())
    }

    async fn begun(&self, values: &[Bound<'_>]) -> Result<Option<BegunRow>, sqlx::Error> {
        fetch(&self.0, BEGIN, values).await
    }

    async fn operation(&self, values: &[Bound<'_>]) -> Result<Option<OperationRow>, sqlx::Error> {
        fetch(&self.0, READ, values).await
    }
}

/// Returns the first row. Reads all rows, so that the statement runs to completion.
async fn fetch<T>(pool: &PgPool, statement: &'static str, values: &[Bound<'_>]) -> Result<Option<T>, sqlx::Error>
where
    T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let query = values.iter().fold(sqlx::query_as(statement), |query, value| match *value {
        Bound::Bytes(bytes) => query.bind(bytes),
        Bound::Number(number) => query.bind(number),
    });
    Ok(query.fetch_all(pool).await?.into_iter().next())
}
