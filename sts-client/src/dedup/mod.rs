//! What counts once: one-time values, and operations that a repetition must not do again.
//!
//! What lives here: the contract ([`OnceStore`]) and its stores. [`MemoryOnceStore`] serves one process; `SqliteOnceStore` (feature
//! `sqlite`) and `PostgresOnceStore` (feature `postgres`) serve any number, and hold across restarts. All pass one conformance suite. What
//! must never: what a value or an operation means, and HTTP. Another database is a file beside `postgres` and a line in the suite.

mod caller;
mod key;
mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod numbers;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use caller::Caller;
pub use key::OnceKey;
pub use memory::{MemoryLimits, MemoryOnceStore};
#[cfg(feature = "postgres")]
pub use postgres::PostgresOnceStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteOnceStore;

/// How long a spent value is remembered beyond its expiry. Whoever judges whether a message has expired has another clock than the store,
/// and a value that is forgotten too early is a replay.
pub const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// The time for which the record of an abandoned operation is kept: long enough for the retries of one client to find their count in
/// [`Ticket::attempt`], short enough that an outage leaves nothing behind.
pub const ABANDONED_FOR: Duration = Duration::from_secs(10 * 60);

/// The length up to which an outcome finds room in a store that is full: enough to say that an operation is done.
pub const SMALL_OUTCOME_BYTES: usize = 64;

/// Remembers what has been done. Each method is one atomic act, among all who use the same database.
///
/// Expiry goes by the store's own clock: the one that a store in memory is given, and the database's time in a database.
///
/// An error is an outage: nobody knows whether the value was spent or the operation has begun, and whoever asked must do nothing.
#[async_trait]
pub trait OnceStore: fmt::Debug + Send + Sync {
    /// Spends a value. Of any number who spend it, at once or one after the other, one alone is told [`Spend::First`].
    ///
    /// The value is remembered until [`EXPIRY_MARGIN`] after `expires_at`, at least. A store with little room counts it against the share
    /// of `caller`.
    ///
    /// # Errors
    /// [`OnceError`]: it may be spent or not.
    async fn spend(&self, key: OnceKey, caller: Caller, expires_at: Timestamp) -> Result<Spend, OnceError>;

    /// Begins an operation, unless it has been done, is being done, or its key stands for another body.
    ///
    /// Whoever is told [`Begun::Started`] holds the lease and must [`finish`](Self::finish) or [`abandon`](Self::abandon), and
    /// [`renew`](Self::renew) before the lease ends. When it dies instead, the operation may begin anew once the lease has ended.
    ///
    /// # Errors
    /// [`OnceError`]: it may have begun or not. If it has, its lease ends by itself.
    async fn begin(&self, operation: &Operation) -> Result<Begun, OnceError>;

    /// Holds an operation for another `lease`, from now on.
    ///
    /// # Errors
    /// [`OnceError`]: the lease may have been prolonged or not.
    async fn renew(&self, ticket: &Ticket, lease: Duration) -> Result<Held, OnceError>;

    /// Stores the outcome, for [`Operation::expires_in`] from now on. May be repeated after an error.
    ///
    /// # Errors
    /// [`OnceError::Full`]: the outcome was not stored, and the operation is still held. An outcome of up to [`SMALL_OUTCOME_BYTES`] always
    /// finds room. [`OnceError::Unavailable`]: it may be stored or not.
    async fn finish(&self, ticket: &Ticket, outcome: &[u8]) -> Result<Held, OnceError>;

    /// Ends an operation without an outcome: a repetition with the same body starts it again. Its key stands for its body for another
    /// [`ABANDONED_FOR`] at most, or until the room is needed.
    ///
    /// # Errors
    /// [`OnceError`]: its lease then ends by itself.
    async fn abandon(&self, ticket: &Ticket) -> Result<Held, OnceError>;

    /// Forgets what has expired, and says how much it was. The stores do so by themselves now and then.
    ///
    /// # Errors
    /// [`OnceError`].
    async fn purge(&self) -> Result<u64, OnceError>;
}

/// Whether a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a value that was seen before is a replay"]
pub enum Spend {
    /// Nobody has spent it before.
    First,
    /// A replay.
    SeenBefore,
}

/// An operation that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Which one it is.
    pub key: OnceKey,
    /// SHA-256 over whatever a repetition must have in common with the first.
    pub fingerprint: [u8; 32],
    /// How long it is held without being renewed.
    pub lease: Duration,
    /// The time for which its outcome is kept.
    pub expires_in: Duration,
    /// The caller against whose share a store with little room counts it.
    pub caller: Caller,
}

/// What came of beginning.
#[derive(Debug)]
#[must_use = "nothing may be done but by whoever has started it"]
pub enum Begun {
    /// It is yours to do.
    Started(Ticket),
    /// Somebody is doing it.
    InFlight {
        /// When the lease ends, unless it is renewed.
        retry_after: Duration,
    },
    /// It has been done.
    Done {
        /// What [`OnceStore::finish`] stored.
        outcome: Vec<u8>,
    },
    /// The key stands for an operation with another body.
    Conflict,
}

/// Who holds an operation. For stores to make; of equal keys no two tickets are ever alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The operation.
    pub key: OnceKey,
    /// 1 at the first attempt. From 2 on, earlier ones were abandoned within [`ABANDONED_FOR`] or died, and may have had their effect.
    pub attempt: u32,
    /// When this attempt began, in milliseconds by the store's clock.
    pub begun_at_ms: i64,
    /// [`Operation::expires_in`].
    pub expires_in: Duration,
}

/// Whether a ticket still held its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an operation that was lost may be done a second time"]
pub enum Held {
    /// It did.
    Yes,
    /// The lease had ended and somebody else has begun anew, or the operation has been ended before. Nothing was changed.
    No,
}

/// A store cannot answer now.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError {
    /// The store has no room, or the caller has used up its share. The store forgets nothing that is alive to make some.
    #[error("the deduplication store is full, or the caller's share of it is used up")]
    Full,
    /// The database is out of reach, or not what it should be.
    #[error("the deduplication store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
