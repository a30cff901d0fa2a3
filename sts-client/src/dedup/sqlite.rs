//! The `SQLite` store: one file, any number of processes on one machine.
//!
//! Every operation is one statement and therefore atomic. It is durable when it is acknowledged
//! (WAL, `synchronous = FULL`). The names of the two tables start with `sts_once_`, so that an
//! agent's own database can hold them.

use std::fs::OpenOptions;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, FromRow, SqlitePool};

use super::DedupError;
use super::sql::{
    ACQUIRE_TIMEOUT, BegunRow, Bound, Database, OperationRow, SqlDedupStore, Statements, foreign, unavailable,
};

/// The time for which a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of attempts to enter WAL mode, and the pause between them.
const WAL_ATTEMPTS: u32 = 50;
const WAL_PAUSE: Duration = Duration::from_millis(50);

const VALUES: &str = "CREATE TABLE IF NOT EXISTS sts_once_values (
    key BLOB PRIMARY KEY,
    ends_at_ms BIGINT NOT NULL
) WITHOUT ROWID";
const VALUES_BY_END: &str = "CREATE INDEX IF NOT EXISTS sts_once_values_ends ON sts_once_values (ends_at_ms)";
const OPERATIONS: &str = "CREATE TABLE IF NOT EXISTS sts_once_operations (
    key BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    attempt BIGINT NOT NULL,
    begun_at_ms BIGINT NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    outcome BLOB
)";
const OPERATIONS_BY_END: &str =
    "CREATE INDEX IF NOT EXISTS sts_once_operations_ends ON sts_once_operations (expires_at_ms)";

const SPEND: &str = "
    INSERT INTO sts_once_values (key, ends_at_ms)
    VALUES ($1, max($2, CAST(unixepoch('subsec') * 1000 AS INTEGER)) + $3)
    ON CONFLICT (key) DO NOTHING";

/// Starts an operation again if it has expired or no caller holds it any more. A row whose key
/// belongs to another body stays.
const BEGIN: &str = "
    INSERT INTO sts_once_operations AS held
        (key, fingerprint, attempt, begun_at_ms, lease_until_ms, expires_at_ms, outcome)
    VALUES ($1, $2, 1, CAST(unixepoch('subsec') * 1000 AS INTEGER), CAST(unixepoch('subsec') * 1000 AS INTEGER) + $3, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $4, NULL)
    ON CONFLICT (key) DO UPDATE SET
        fingerprint = excluded.fingerprint,
        attempt = CASE WHEN held.expires_at_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER) THEN 1 ELSE held.attempt + 1 END,
        begun_at_ms = excluded.begun_at_ms,
        lease_until_ms = excluded.lease_until_ms,
        expires_at_ms = excluded.expires_at_ms,
        outcome = NULL
    WHERE (held.outcome IS NULL AND held.lease_until_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)
            AND (held.fingerprint = excluded.fingerprint OR held.expires_at_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)))
        OR (held.outcome IS NOT NULL AND held.expires_at_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER))
    RETURNING attempt, begun_at_ms";

const READ: &str = "
    SELECT fingerprint, outcome, lease_until_ms - CAST(unixepoch('subsec') * 1000 AS INTEGER) AS lease_ms
    FROM sts_once_operations WHERE key = $1";

const RENEW: &str = "
    UPDATE sts_once_operations SET lease_until_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $4
    WHERE key = $1 AND attempt = $2 AND begun_at_ms = $3 AND outcome IS NULL";

const ABANDON: &str = "
    UPDATE sts_once_operations SET lease_until_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER),
        expires_at_ms = min(expires_at_ms, CAST(unixepoch('subsec') * 1000 AS INTEGER) + $4)
    WHERE key = $1 AND attempt = $2 AND begun_at_ms = $3 AND outcome IS NULL";

const FINISH: &str = "
    UPDATE sts_once_operations SET outcome = $4, expires_at_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) + $5
    WHERE key = $1 AND attempt = $2 AND begun_at_ms = $3 AND outcome IS NULL";

const PURGE_VALUES: &str = "
    DELETE FROM sts_once_values WHERE key IN
        (SELECT key FROM sts_once_values WHERE ends_at_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER) LIMIT $1)";

const PURGE_OPERATIONS: &str = "
    DELETE FROM sts_once_operations WHERE key IN (
        SELECT key FROM sts_once_operations
        WHERE expires_at_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER) AND (outcome IS NOT NULL OR lease_until_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)) LIMIT $1)";

/// A deduplication store in a `SQLite` database. Share it by `Arc`.
pub type SqliteDedupStore = SqlDedupStore<SqliteDatabase>;

/// A pool of connections to a `SQLite` database.
#[derive(Debug)]
pub struct SqliteDatabase(SqlitePool);

impl SqliteDedupStore {
    /// Opens the file of this URL (`sqlite://once.db`). Creates the file, readable by its owner
    /// only, and the tables if they are missing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// use sts_client::dedup::SqliteDedupStore;
    ///
    /// let store = SqliteDedupStore::open(&format!("sqlite://{}", folder.path().join("once.db").display())).await?;
    /// assert!(SqliteDedupStore::open("sqlite::memory:").await.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`DedupError::Unavailable`], also for a malformed URL, and for a database in memory: use
    /// [`MemoryDedupStore`](super::MemoryDedupStore) instead.
    pub async fn open(url: &str) -> Result<Self, DedupError> {
        if url.contains(":memory:") || url.contains("mode=memory") {
            return Err(foreign("a sqlite database in memory is not served"));
        }
        let options = SqliteConnectOptions::from_str(url)
            .map_err(unavailable)?
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        create(options.get_filename())?;
        enter_wal(&options).await?;
        let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT);
        Self::within(pool.connect_lazy_with(options)).await
    }

    /// Makes a store in an agent's own database. Creates the tables if they are missing. The
    /// options of the pool determine its durability.
    ///
    /// # Errors
    /// [`DedupError::Unavailable`] if the tables cannot be created.
    pub async fn within(pool: SqlitePool) -> Result<Self, DedupError> {
        for table in [VALUES, VALUES_BY_END, OPERATIONS, OPERATIONS_BY_END] {
            sqlx::query(table).execute(&pool).await.map_err(unavailable)?;
        }
        Ok(Self::new(SqliteDatabase(pool)))
    }
}

/// Creates the file if it is missing, readable by its owner only. It holds answers to users.
fn create(path: &Path) -> Result<(), DedupError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| unavailable(sqlx::Error::Io(error)))?;
    Ok(())
}

/// Switches the file to WAL mode, which is permanent. `SQLite` does not wait for the required lock,
/// so this retries.
async fn enter_wal(options: &SqliteConnectOptions) -> Result<(), DedupError> {
    let mut attempts = WAL_ATTEMPTS;
    loop {
        attempts = attempts.saturating_sub(1);
        match options.connect().await {
            Ok(connection) => return connection.close().await.map_err(unavailable),
            Err(_busy) if attempts > 0 => tokio::time::sleep(WAL_PAUSE).await,
            Err(error) => return Err(unavailable(error)),
        }
    }
}

#[async_trait]
impl Database for SqliteDatabase {
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
async fn fetch<T>(pool: &SqlitePool, statement: &'static str, values: &[Bound<'_>]) -> Result<Option<T>, sqlx::Error>
where
    T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    let query = values.iter().fold(sqlx::query_as(statement), |query, value| match *value {
        Bound::Bytes(bytes) => query.bind(bytes),
        Bound::Number(number) => query.bind(number),
    });
    Ok(query.fetch_all(pool).await?.into_iter().next())
}
