//! `PostgreSQL`: any number of processes, anywhere.
//!
//! Every act is one statement, and so atomic and, by the database's defaults, on the disk when it is acknowledged. The two tables begin
//! with `sts_once_`: an agent's own database can hold them.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{PgPool, Row};

use super::numbers::{Acts, PURGED_AT_ONCE, foreign, from_milliseconds, milliseconds, unavailable};
use super::{
    ABANDONED_FOR, Begun, Caller, EXPIRY_MARGIN, Held, OnceError, OnceKey, OnceStore, Operation, Spend, Ticket,
};

/// The advisory lock of whoever makes the tables.
const TABLES: i64 = 7_310_101;
const CONNECTIONS: u32 = 8;
/// How long a caller waits for a connection of this process.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);

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

/// Begins anew what has expired, and what nobody holds any more. A row whose key stands for another body stays.
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

/// Nobody loses that often against purges of what has just expired.
const ATTEMPTS: u32 = 8;

/// A store in a `PostgreSQL` database. Share it by `Arc`.
#[derive(Debug)]
pub struct PostgresOnceStore {
    pool: PgPool,
    acts: Acts,
}

impl PostgresOnceStore {
    /// Connects, and makes the tables where they are missing.
    ///
    /// # Errors
    /// [`OnceError::Unavailable`] for a malformed URL, too.
    pub async fn connect(url: &str) -> Result<Self, OnceError> {
        let options: PgConnectOptions = url.parse().map_err(unavailable)?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE_TIMEOUT);
        Self::within(pool.connect_lazy_with(options)).await
    }

    /// A store within an agent's own database. Makes the tables where they are missing.
    ///
    /// # Errors
    /// [`OnceError::Unavailable`].
    pub async fn within(pool: PgPool) -> Result<Self, OnceError> {
        let mut transaction = pool.begin().await.map_err(unavailable)?;
        // Two who make one table at once would fail, "if not exists" or not.
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(TABLES)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        for table in [VALUES, VALUES_BY_END, OPERATIONS, OPERATIONS_BY_END] {
            sqlx::query(table).execute(&mut *transaction).await.map_err(unavailable)?;
        }
        transaction.commit().await.map_err(unavailable)?;
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

fn key_bytes(key: &OnceKey) -> &[u8] {
    key.as_bytes()
}

fn ticket(row: &PgRow, operation: &Operation) -> Result<Ticket, OnceError> {
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
impl OnceStore for PostgresOnceStore {
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
