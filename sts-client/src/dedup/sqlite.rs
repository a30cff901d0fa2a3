//! `SQLite`: one file, any number of processes on one machine.
//!
//! Every act is one statement, and so atomic; it is on the disk when it is acknowledged (WAL, `synchronous = FULL`). The two tables begin
//! with `sts_once_`: an agent's own database can hold them.

use std::fs::OpenOptions;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqlitePool};

use super::numbers::{Acts, PURGED_AT_ONCE, foreign, from_milliseconds, milliseconds, unavailable};
use super::{
    ABANDONED_FOR, Begun, Caller, EXPIRY_MARGIN, Held, OnceError, OnceKey, OnceStore, Operation, Spend, Ticket,
};

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often, and how far apart, the entry into WAL is tried.
const WAL_ATTEMPTS: u32 = 50;
const WAL_PAUSE: Duration = Duration::from_millis(50);
/// How long a caller waits for a connection of this process.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);

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

/// Begins anew what has expired, and what nobody holds any more. A row whose key stands for another body stays.
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

/// Nobody loses that often against purges of what has just expired.
const ATTEMPTS: u32 = 8;

/// A store in a `SQLite` database. Share it by `Arc`.
#[derive(Debug)]
pub struct SqliteOnceStore {
    pool: SqlitePool,
    acts: Acts,
}

impl SqliteOnceStore {
    /// Opens the file of this URL (`sqlite://once.db`), and makes it, readable by its owner only, and its tables where they are missing.
    ///
    /// # Errors
    /// [`OnceError::Unavailable`] for a malformed URL, too, and for a database in memory, for which there is
    /// [`MemoryOnceStore`](super::MemoryOnceStore).
    pub async fn open(url: &str) -> Result<Self, OnceError> {
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

    /// A store within an agent's own database. Makes the tables where they are missing. How durable it is, is for the pool's options to say.
    ///
    /// # Errors
    /// [`OnceError::Unavailable`].
    pub async fn within(pool: SqlitePool) -> Result<Self, OnceError> {
        for table in [VALUES, VALUES_BY_END, OPERATIONS, OPERATIONS_BY_END] {
            sqlx::query(table).execute(&pool).await.map_err(unavailable)?;
        }
        Ok(Self { pool, acts: Acts::default() })
    }

    /// The operation as it stands, for whoever may not begin it. `None` when it has just gone.
    async fn read(&self, operation: &Operation) -> Result<Option<Begun>, OnceError> {
        let rows =
            sqlx::query(READ).bind(key_bytes(&operation.key)).fetch_all(&self.pool).await.map_err(unavailable)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let fingerprint: Vec<u8> = row.try_get("fingerprint").map_err(unavailable)?;
        if fingerprint != operation.fingerprint {
            return Ok(Some(Begun::Conflict));
        }
        let outcome: Option<Vec<u8>> = row.try_get("outcome").map_err(unavailable)?;
        if let Some(outcome) = outcome {
            return Ok(Some(Begun::Done { outcome }));
        }
        let lease: i64 = row.try_get("lease_ms").map_err(unavailable)?;
        Ok(Some(Begun::InFlight { retry_after: from_milliseconds(lease) }))
    }
}

/// Makes the file when it is missing. It holds what was answered to users.
fn create(path: &Path) -> Result<(), OnceError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| unavailable(sqlx::Error::Io(error)))?;
    Ok(())
}

/// Brings the file into WAL, where it stays. `SQLite` does not wait for the lock that this needs, when others do the same.
async fn enter_wal(options: &SqliteConnectOptions) -> Result<(), OnceError> {
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

fn key_bytes(key: &OnceKey) -> &[u8] {
    key.as_bytes()
}

fn ticket(row: &SqliteRow, operation: &Operation) -> Result<Ticket, OnceError> {
    let attempt: i64 = row.try_get("attempt").map_err(unavailable)?;
    Ok(Ticket {
        key: operation.key,
        attempt: u32::try_from(attempt).or(Err(foreign("an attempt out of range")))?,
        begun_at_ms: row.try_get("begun_at_ms").map_err(unavailable)?,
        expires_in: operation.expires_in,
    })
}

fn held(changed_rows: u64) -> Held {
    if changed_rows == 0 { Held::No } else { Held::Yes }
}

#[async_trait]
impl OnceStore for SqliteOnceStore {
    async fn spend(&self, key: OnceKey, _caller: Caller, expires_at: Timestamp) -> Result<Spend, OnceError> {
        self.acts.count(self).await;
        let done = sqlx::query(SPEND)
            .bind(key_bytes(&key))
            .bind(expires_at.as_millisecond())
            .bind(milliseconds(EXPIRY_MARGIN))
            .execute(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(if done.rows_affected() == 0 { Spend::SeenBefore } else { Spend::First })
    }

    async fn begin(&self, operation: &Operation) -> Result<Begun, OnceError> {
        self.acts.count(self).await;
        for _ in 0..ATTEMPTS {
            let begun = sqlx::query(BEGIN)
                .bind(key_bytes(&operation.key))
                .bind(operation.fingerprint.as_slice())
                .bind(milliseconds(operation.lease))
                .bind(milliseconds(operation.expires_in))
                .fetch_all(&self.pool)
                .await
                .map_err(unavailable)?;
            if let Some(row) = begun.first() {
                return Ok(Begun::Started(ticket(row, operation)?));
            }
            if let Some(begun) = self.read(operation).await? {
                return Ok(begun);
            }
        }
        Err(foreign("the operation came and went too often"))
    }

    async fn renew(&self, ticket: &Ticket, lease: Duration) -> Result<Held, OnceError> {
        let done = sqlx::query(RENEW)
            .bind(key_bytes(&ticket.key))
            .bind(i64::from(ticket.attempt))
            .bind(ticket.begun_at_ms)
            .bind(milliseconds(lease))
            .execute(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(held(done.rows_affected()))
    }

    async fn finish(&self, ticket: &Ticket, outcome: &[u8]) -> Result<Held, OnceError> {
        let done = sqlx::query(FINISH)
            .bind(key_bytes(&ticket.key))
            .bind(i64::from(ticket.attempt))
            .bind(ticket.begun_at_ms)
            .bind(outcome)
            .bind(milliseconds(ticket.expires_in))
            .execute(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(held(done.rows_affected()))
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<Held, OnceError> {
        let done = sqlx::query(ABANDON)
            .bind(key_bytes(&ticket.key))
            .bind(i64::from(ticket.attempt))
            .bind(ticket.begun_at_ms)
            .bind(milliseconds(ABANDONED_FOR))
            .execute(&self.pool)
            .await
            .map_err(unavailable)?;
        Ok(held(done.rows_affected()))
    }

    async fn purge(&self) -> Result<u64, OnceError> {
        let mut purged = 0;
        for statement in [PURGE_VALUES, PURGE_OPERATIONS] {
            let done = sqlx::query(statement).bind(PURGED_AT_ONCE).execute(&self.pool).await.map_err(unavailable)?;
            purged += done.rows_affected();
        }
        Ok(purged)
    }
}
