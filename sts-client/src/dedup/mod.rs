//! Single-use values and idempotent operations.
//!
//! What lives here: the contract ([`DedupStore`]) and its stores. [`MemoryDedupStore`] serves one process; `SqliteDedupStore` (feature
//! `sqlite`) and `PostgresDedupStore` (feature `postgres`) serve any number, and hold across restarts. All pass one conformance suite. What
//! must never: the meaning of a value or an operation, and HTTP. Another database is a file beside `postgres` and a line in the suite.

mod caller_key;
mod key;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use caller_key::CallerKey;
pub use key::DedupKey;
pub use memory::{MemoryDedupStore, MemoryLimits};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresDatabase, PostgresDedupStore};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::SqlDedupStore;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteDatabase, SqliteDedupStore};

/// The time for which a spent value is remembered beyond its expiry. The store's clock differs from that of the message's verifier, and a
/// value that is forgotten too early allows a replay.
pub const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// The time for which the record of an abandoned operation is kept: long enough for the retries of one client to find their count in
/// [`Ticket::attempt`], short enough that an outage leaves nothing behind.
pub const ABANDONED_FOR: Duration = Duration::from_secs(10 * 60);

/// The length up to which an outcome finds room in a store that is full: enough to say that an operation is done.
pub const SMALL_OUTCOME_BYTES: usize = 64;

/// A deduplication store. Each method is one atomic act, among all processes that use the same database.
///
/// Expiry goes by the store's own clock: the one that a store in memory is given, and the database's time in a database.
///
/// An error is an outage: the value may be spent and the operation may have begun, so that the caller must do nothing.
#[async_trait]
pub trait DedupStore: fmt::Debug + Send + Sync {
    /// Spends a value. Of all calls that spend it, at once or one after the other, exactly one returns [`Spend::First`].
    ///
    /// The value is remembered until [`EXPIRY_MARGIN`] after `expires_at`, at least. A store with little room counts it against the share
    /// of `caller`.
    ///
    /// # Errors
    /// [`DedupError`]: it may be spent or not.
    async fn spend(&self, key: DedupKey, caller: CallerKey, expires_at: Timestamp) -> Result<Spend, DedupError>;

    /// Begins an operation, unless it has been done, is being done, or its key stands for another body.
    ///
    /// The caller that gets [`Begun::Started`] holds the lease and must [`finish`](Self::finish) or [`abandon`](Self::abandon), and
    /// [`renew`](Self::renew) before the lease ends. If it does not, the operation may begin anew after the lease.
    ///
    /// # Errors
    /// [`DedupError`]: it may have begun or not. If it has, its lease ends by itself.
    async fn begin(&self, operation: &Operation) -> Result<Begun, DedupError>;

    /// Holds an operation for another `lease`, from now on.
    ///
    /// # Errors
    /// [`DedupError`]: the lease may have been prolonged or not.
    async fn renew(&self, ticket: &Ticket, lease: Duration) -> Result<Held, DedupError>;

    /// Stores the outcome, for [`Operation::expires_in`] from now on. May be repeated after an error.
    ///
    /// # Errors
    /// [`DedupError::Full`]: the outcome was not stored, and the operation is still held. An outcome of up to [`SMALL_OUTCOME_BYTES`] always
    /// finds room. [`DedupError::Unavailable`]: it may be stored or not.
    async fn finish(&self, ticket: &Ticket, outcome: &[u8]) -> Result<Held, DedupError>;

    /// Ends an operation without an outcome: a repetition with the same body starts it again. Its key stands for its body for another
    /// [`ABANDONED_FOR`] at most, or until the room is needed.
    ///
    /// # Errors
    /// [`DedupError`]: its lease then ends by itself.
    async fn abandon(&self, ticket: &Ticket) -> Result<Held, DedupError>;

    /// Forgets expired entries; returns their number. The stores also call it now and then.
    ///
    /// # Errors
    /// [`DedupError`].
    async fn purge(&self) -> Result<u64, DedupError>;
}

/// The result of spending a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a value that was seen before is a replay"]
pub enum Spend {
    /// The value was not spent before.
    First,
    /// A replay.
    SeenBefore,
}

/// An operation that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Its key.
    pub key: DedupKey,
    /// SHA-256 over everything in which a repetition must equal the first.
    pub fingerprint: [u8; 32],
    /// The time for which it is held without a renewal.
    pub lease: Duration,
    /// The time for which its outcome is kept.
    pub expires_in: Duration,
    /// The caller against whose share a store with little room counts it.
    pub caller: CallerKey,
}

/// The result of [`DedupStore::begin`].
#[derive(Debug)]
#[must_use = "only the holder of a `Started` ticket may do the work"]
pub enum Begun {
    /// The caller holds the operation.
    Started(Ticket),
    /// Another caller holds the operation.
    InFlight {
        /// The time until the lease ends, unless it is renewed.
        retry_after: Duration,
    },
    /// The operation is done.
    Done {
        /// The outcome that [`DedupStore::finish`] stored.
        outcome: Vec<u8>,
    },
    /// The key stands for an operation with another body.
    Conflict,
}

/// The proof of holding an operation, made by a store. No two tickets of one key are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The operation.
    pub key: DedupKey,
    /// 1 at the first attempt. From 2 on, earlier attempts were abandoned within [`ABANDONED_FOR`] or lost their lease, and may have had an
    /// effect.
    pub attempt: u32,
    /// The time at which this attempt began, in milliseconds by the store's clock.
    pub begun_at_ms: i64,
    /// [`Operation::expires_in`].
    pub expires_in: Duration,
}

/// The result of a call with a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an operation that was lost may be done a second time"]
pub enum Held {
    /// The ticket held its operation.
    Yes,
    /// The lease had ended and another caller has begun anew, or the operation was ended before. Nothing was changed.
    No,
}

/// A failure of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DedupError {
    /// The store has no room, or the caller has used up its share. The store forgets no live entry to make room.
    #[error("the deduplication store is full, or the caller's share of it is used up")]
    Full,
    /// The database is out of reach, or not what it should be.
    #[error("the deduplication store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
