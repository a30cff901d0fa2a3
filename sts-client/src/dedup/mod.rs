//! Single-use values and idempotent operations.
//!
//! What lives here: the contract ([`DedupStore`]) and its stores. [`MemoryDedupStore`] serves one
//! process. `SqliteDedupStore` (feature `sqlite`) and `PostgresDedupStore` (feature `postgres`)
//! serve any number of processes, and keep entries across restarts. All pass one conformance suite.
//! What must never: the meaning of a value or an operation, and HTTP. For another database, add a
//! file beside `postgres` and a line in the suite.

mod by_url;
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

pub(crate) use by_url::StoreByUrl;
pub use caller_key::CallerKey;
pub use key::DedupKey;
pub use memory::{MemoryDedupStore, MemoryLimits};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresDatabase, PostgresDedupStore};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::SqlDedupStore;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteDatabase, SqliteDedupStore};

/// The time for which a spent value is remembered after its expiry. The store's clock can differ
/// from the clock of the message's verifier. A value that is forgotten too early allows a replay.
pub const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// The time for which the record of an abandoned operation is kept. It is long enough for the
/// retries of one client to find their count in [`Ticket::attempt`]. It is short enough that an
/// outage leaves no records behind.
pub const ABANDONED_FOR: Duration = Duration::from_secs(10 * 60);

/// The maximum size of an outcome that a full store still accepts: enough to record that an
/// operation is done.
pub const SMALL_OUTCOME_BYTES: usize = 64;

/// A deduplication store. Each method is atomic among all processes that use the same database.
///
/// Expiry uses the store's own clock: the given clock in memory, and the database's time in a
/// database.
///
/// An error is an outage: the value may be spent and the operation may have started, so the caller
/// must not do the work.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use sts_client::dedup::{CallerKey, DedupKey, DedupStore as _, MemoryDedupStore, MemoryLimits, Spend};
/// use sts_client::{Clock as _, SystemClock};
///
/// let store = MemoryDedupStore::new(Arc::new(SystemClock), MemoryLimits::default());
/// let alice = CallerKey::new(["acme", "alice"]);
///
/// let message = DedupKey::new("message", ["0b8e8a4e"]);
/// let expires_at = SystemClock.now() + Duration::from_secs(60);
/// assert_eq!(store.spend(message, alice, expires_at).await?, Spend::First);
/// assert_eq!(store.spend(message, alice, expires_at).await?, Spend::SeenBefore);
/// # Ok(()) }
/// ```
#[async_trait]
pub trait DedupStore: fmt::Debug + Send + Sync {
    /// Spends a value. Of all calls that spend it, concurrently or later, exactly one returns
    /// [`Spend::First`].
    ///
    /// The value is remembered at least until [`EXPIRY_MARGIN`] after `expires_at`. A store with
    /// little room counts it against the share of `caller`.
    ///
    /// # Errors
    /// [`DedupError`]: the value may be spent or not.
    async fn spend(&self, key: DedupKey, caller: CallerKey, expires_at: Timestamp) -> Result<Spend, DedupError>;

    /// Starts an operation, unless it is done, is in progress, or its key belongs to another body.
    ///
    /// The caller that gets [`Begun::Started`] holds the lease and must call
    /// [`finish`](Self::finish) or [`abandon`](Self::abandon). It must call [`renew`](Self::renew)
    /// before the lease expires. Otherwise another caller may start the operation again after that.
    ///
    /// # Errors
    /// [`DedupError`]: the operation may have started or not. If it has, its lease expires without
    /// further calls.
    async fn begin(&self, operation: &Operation) -> Result<Begun, DedupError>;

    /// Renews the lease of an operation: `lease` from now on.
    ///
    /// # Errors
    /// [`DedupError`]: the lease may have been prolonged or not.
    async fn renew(&self, ticket: &Ticket, lease: Duration) -> Result<Held, DedupError>;

    /// Stores the outcome, for [`Operation::expires_in`] from now on. The caller may repeat this
    /// after an error.
    ///
    /// # Errors
    /// [`DedupError::Full`]: the outcome was not stored, and the caller still holds the operation.
    /// An outcome of up to [`SMALL_OUTCOME_BYTES`] always fits. [`DedupError::Unavailable`]: it may
    /// be stored or not.
    async fn finish(&self, ticket: &Ticket, outcome: &[u8]) -> Result<Held, DedupError>;

    /// Ends an operation without an outcome. A repetition with the same body starts it again. Its
    /// key stays bound to its body for at most [`ABANDONED_FOR`], or until the store needs the
    /// room.
    ///
    /// # Errors
    /// [`DedupError`]: the lease then expires without further calls.
    async fn abandon(&self, ticket: &Ticket) -> Result<Held, DedupError>;

    /// Removes expired entries; returns their number. The stores also do this from time to time.
    ///
    /// # Errors
    /// [`DedupError`]: some entries may be removed.
    async fn purge(&self) -> Result<u64, DedupError>;
}

/// The result of spending a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a value that was seen before is a replay and must be refused"]
pub enum Spend {
    /// The value was not spent before.
    First,
    /// The value was spent before: a replay.
    SeenBefore,
}

/// An operation to start.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// The key of the operation.
    pub key: DedupKey,
    /// SHA-256 over everything that must be equal in a repetition.
    pub fingerprint: [u8; 32],
    /// The time for which the lease lasts without a renewal.
    pub lease: Duration,
    /// The time for which its outcome is kept.
    pub expires_in: Duration,
    /// The caller whose share the operation counts against in a store with little room.
    pub caller: CallerKey,
}

/// The result of [`DedupStore::begin`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use sts_client::dedup::{Begun, CallerKey, DedupKey, DedupStore as _, Held, MemoryDedupStore, MemoryLimits, Operation};
/// use sts_client::SystemClock;
///
/// let store = MemoryDedupStore::new(Arc::new(SystemClock), MemoryLimits::default());
/// let alice = CallerKey::new(["acme", "alice"]);
///
/// let operation = Operation {
///     key: DedupKey::new("order", ["7"]),
///     fingerprint: *DedupKey::new("body", ["40 packets"]).as_bytes(),
///     lease: Duration::from_secs(60),
///     expires_in: Duration::from_secs(24 * 60 * 60),
///     caller: alice,
/// };
/// let Begun::Started(ticket) = store.begin(&operation).await? else { panic!("the first") };
/// assert!(matches!(store.begin(&operation).await?, Begun::InFlight { .. }));
/// assert_eq!(store.finish(&ticket, b"ordered").await?, Held::Yes);
/// assert!(matches!(store.begin(&operation).await?, Begun::Done { outcome } if outcome == b"ordered"));
/// let other = Operation { fingerprint: [0; 32], ..operation };
/// assert!(matches!(store.begin(&other).await?, Begun::Conflict));
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "only the holder of a `Started` ticket may run the operation"]
pub enum Begun {
    /// The caller holds the operation.
    Started(Ticket),
    /// Another caller holds the operation.
    InFlight {
        /// The time until the lease expires, unless it is renewed.
        retry_after: Duration,
    },
    /// The operation is done.
    Done {
        /// The outcome that [`DedupStore::finish`] stored.
        outcome: Vec<u8>,
    },
    /// The key belongs to an operation with another body.
    Conflict,
}

/// The proof that the caller holds an operation. Only a store makes tickets, and no two tickets of
/// one key are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The key of the operation.
    pub key: DedupKey,
    /// The number of the attempt, from 1. From 2 on, earlier attempts were abandoned within
    /// [`ABANDONED_FOR`] or lost their lease, and may have had an effect.
    pub attempt: u32,
    /// The time at which this attempt started, in milliseconds by the store's clock.
    pub begun_at_ms: i64,
    /// The time for which the outcome is kept: [`Operation::expires_in`].
    pub expires_in: Duration,
}

/// The result of a call with a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an operation whose lease was lost may run twice"]
pub enum Held {
    /// The ticket held its operation.
    Yes,
    /// The lease had expired and another caller has started the operation, or the operation had
    /// ended. Nothing was changed.
    No,
}

/// A failure of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DedupError {
    /// The store is full, or the caller has used up its share. The store removes no live entry to
    /// make room.
    #[error("the deduplication store is full, or the caller's share of it is used up")]
    Full,
    /// The database is unreachable, or has unexpected contents.
    #[error("the deduplication store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
