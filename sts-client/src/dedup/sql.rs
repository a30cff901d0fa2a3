//! The Rust code that the SQL stores share. Each database has its own statements and runs them.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    ABANDONED_FOR, Begun, CallerKey, DedupError, DedupKey, DedupStore, EXPIRY_MARGIN, Held, Operation, Spend, Ticket,
};

/// The number of calls between two purges.
const CALLS_PER_PURGE: u32 = 1_000;
/// The maximum number of rows that one purge removes from each table, so that no purge takes long.
const PURGED_AT_ONCE: i64 = 2_000;
/// The maximum number of tries when rows expire between two statements.
const ATTEMPTS: u32 = 8;
/// The time limit for a connection from the pool.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);

/// The statements of a database. Each is atomic.
#[derive(Debug)]
pub struct Statements {
    pub(super) spend: &'static str,
    pub(super) renew: &'static str,
    pub(super) finish: &'static str,
    pub(super) abandon: &'static str,
    /// The purges of values and of operations, in this order.
    pub(super) purges: [&'static str; 2],
}

/// A value that a statement binds.
#[derive(Debug, Clone, Copy)]
pub enum Bound<'a> {
    Bytes(&'a [u8]),
    Number(i64),
}

/// An operation that has started: its attempt, and its start time.
pub(super) type BegunRow = (i64, i64);

/// An operation in the store: its fingerprint, its outcome, and the milliseconds until its lease
/// expires.
pub(super) type OperationRow = (Vec<u8>, Option<Vec<u8>>, i64);

/// The database interface that the stores use.
#[async_trait]
pub trait Database: fmt::Debug + Send + Sync {
    const STATEMENTS: Statements;

    /// Runs a statement; returns the number of rows that it changed.
    async fn execute(&self, statement: &'static str, values: &[Bound<'_>]) -> Result<u64, sqlx::Error>;

    async fn begun(&self, values: &[Bound<'_>]) -> Result<Option<BegunRow>, sqlx::Error>;

    async fn operation(&self, values: &[Bound<'_>]) -> Result<Option<OperationRow>, sqlx::Error>;
}

/// A deduplication store in an SQL database. Share it by `Arc`.
///
/// ```
/// # use sts_client::dedup::{DedupStore, SqlDedupStore};
/// fn shared<D>(store: SqlDedupStore<D>) -> std::sync::Arc<dyn DedupStore>
/// where
///     SqlDedupStore<D>: DedupStore + 'static,
/// {
///     std::sync::Arc::new(store)
/// }
/// ```
#[derive(Debug)]
pub struct SqlDedupStore<D> {
    database: D,
    calls: AtomicU32,
}

impl<D> SqlDedupStore<D> {
    pub(super) fn new(database: D) -> Self {
        Self { database, calls: AtomicU32::new(0) }
    }
}

impl<D: Database> SqlDedupStore<D> {
    async fn execute(&self, statement: &'static str, values: &[Bound<'_>]) -> Result<u64, DedupError> {
        self.database.execute(statement, values).await.map_err(unavailable)
    }

    /// Runs a statement on the operation of a ticket.
    async fn update(&self, statement: &'static str, ticket: &Ticket, values: &[Bound<'_>]) -> Result<Held, DedupError> {
        let holder = [key(&ticket.key), Bound::Number(ticket.attempt.into()), Bound::Number(ticket.begun_at_ms)];
        let changed_rows = self.execute(statement, &[&holder, values].concat()).await?;
        Ok(if changed_rows == 0 { Held::No } else { Held::Yes })
    }

    /// Counts the call, and purges after every thousandth. A failed purge does not fail the call.
    async fn count_call(&self) {
        if self.calls.fetch_add(1, Ordering::Relaxed) % CALLS_PER_PURGE != CALLS_PER_PURGE - 1 {
            return;
        }
        if let Err(error) = self.purge().await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "failed to purge expired deduplication entries");
        }
    }

    /// Returns the state of an operation that may not start; `None` if it has just expired.
    async fn read(&self, operation: &Operation) -> Result<Option<Begun>, DedupError> {
        let row = self.database.operation(&[key(&operation.key)]).await.map_err(unavailable)?;
        Ok(row.map(|(fingerprint, outcome, lease_ms)| match outcome {
            _ if fingerprint != operation.fingerprint => Begun::Conflict,
            Some(outcome) => Begun::Done { outcome },
            None => Begun::InFlight { retry_after: Duration::from_millis(u64::try_from(lease_ms).unwrap_or(0)) },
        }))
    }
}

#[async_trait]
impl<D: Database> DedupStore for SqlDedupStore<D> {
    async fn spend(&self, spent: DedupKey, _caller: CallerKey, expires_at: Timestamp) -> Result<Spend, DedupError> {
        self.count_call().await;
        let values = [key(&spent), Bound::Number(expires_at.as_millisecond()), milliseconds(EXPIRY_MARGIN)];
        let changed_rows = self.execute(D::STATEMENTS.spend, &values).await?;
        Ok(if changed_rows == 0 { Spend::SeenBefore } else { Spend::First })
    }

    async fn begin(&self, operation: &Operation) -> Result<Begun, DedupError> {
        self.count_call().await;
        let (lease, expires_in) = (milliseconds(operation.lease), milliseconds(operation.expires_in));
        let values = [key(&operation.key), Bound::Bytes(&operation.fingerprint), lease, expires_in];
        for _ in 0..ATTEMPTS {
            if let Some((attempt, begun_at_ms)) = self.database.begun(&values).await.map_err(unavailable)? {
                let attempt = u32::try_from(attempt).or(Err(foreign("an attempt out of range")))?;
                let (key, expires_in) = (operation.key, operation.expires_in);
                return Ok(Begun::Started(Ticket { key, attempt, begun_at_ms, expires_in }));
            }
            if let Some(begun) = self.read(operation).await? {
                return Ok(begun);
            }
        }
        Err(foreign("the operation was retried too often"))
    }

    async fn renew(&self, ticket: &Ticket, lease: Duration) -> Result<Held, DedupError> {
        self.update(D::STATEMENTS.renew, ticket, &[milliseconds(lease)]).await
    }

    async fn finish(&self, ticket: &Ticket, outcome: &[u8]) -> Result<Held, DedupError> {
        let values = [Bound::Bytes(outcome), milliseconds(ticket.expires_in)];
        self.update(D::STATEMENTS.finish, ticket, &values).await
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<Held, DedupError> {
        self.update(D::STATEMENTS.abandon, ticket, &[milliseconds(ABANDONED_FOR)]).await
    }

    async fn purge(&self) -> Result<u64, DedupError> {
        let mut purged = 0;
        for statement in D::STATEMENTS.purges {
            purged += self.execute(statement, &[Bound::Number(PURGED_AT_ONCE)]).await?;
        }
        Ok(purged)
    }
}

fn key(key: &DedupKey) -> Bound<'_> {
    Bound::Bytes(key.as_bytes())
}

fn milliseconds(duration: Duration) -> Bound<'static> {
    Bound::Number(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4))
}

/// Makes [`DedupError::Unavailable`] from a database error.
pub(super) fn unavailable(error: sqlx::Error) -> DedupError {
    DedupError::Unavailable(error.into())
}

/// Makes the error for a row that this crate did not write, or an unsupported database.
pub(super) fn foreign(what: &'static str) -> DedupError {
    DedupError::Unavailable(what.into())
}
