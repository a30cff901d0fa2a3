//! What the database holds, as one trait with one method per atomic act.
//!
//! What lives here: the [`Store`] trait, its rows and its errors; each database has a folder with plain SQL of its own.
//! What must never: rules. A store does not know what an issuer, a tenant or a delegation is. To add a database, add
//! `storage/<name>/`, `migrations/<name>/` and one line in the conformance suite.

use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

mod audit_bounds;
mod coded;
mod codes;
mod columns;
mod one_time;
mod rows;

pub mod postgres;
pub mod sqlite;
mod words;

pub use codes::RowCodes;
pub use rows::{
    AuditFilter, AuditHead, AuditKeyRow, AuditRow, CLOCK_MARGIN, Changed, CodedRow, DatabaseState, EntryChange,
    EntryKind, EntryRow, Fresh, FreshState, KeyChanges, KeyRow, KeyState, OneTimeValue, Origin, RecordRows,
    RevocationKind, RevocationRow, RowCode, Stored, StoredAuditRow, TableFault, TokenReference, TokenRow,
    UncheckedAuditRow, Version, Versions, forget_at,
};

/// Why a database did not answer.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The database is out of reach, overloaded or shutting down: the same call may succeed later.
    #[error("the database is out of reach")]
    Unavailable(#[source] sqlx::Error),
    /// The database answered with what it should not: a fault of ours or of its content.
    #[error("the database answered with an error")]
    Broken(#[source] sqlx::Error),
    /// A migration failed.
    #[error("the database could not be migrated")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A row holds what no version of this service writes.
    #[error("a row of {table} is malformed: {reason}")]
    Malformed {
        /// The table.
        table: &'static str,
        /// What is wrong with the row.
        reason: String,
    },
    /// The codes of the rows were not made under the configured master key, or a counter was altered past the servers.
    #[error(
        "the counter {counter} of the database does not open under the configured master key: nothing was changed; use the master key that the database was made with, or, if rows were edited on purpose, `sts-server registry accept`"
    )]
    Foreign {
        /// The counter.
        counter: String,
    },
    /// The rows have no codes: an upgrade of the schema ended halfway.
    #[error("the rows of the database have no codes: review them, then seal them with `sts-server registry accept`")]
    Unsealed,
    /// The address of the database is not one that is served.
    #[error("the database URL is not served: it must begin with sqlite: or postgres:")]
    Url,
}

impl StorageError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Broken(_)
            | Self::Migration(_)
            | Self::Malformed { .. }
            | Self::Foreign { .. }
            | Self::Unsealed
            | Self::Url => false,
        }
    }
}

/// One database, shared by any number of servers. Every method fails with [`StorageError`]: what is an outage may be tried again.
/// Every method is one atomic act: it holds whole or not at all; save
/// [`Store::purge`], which deletes in portions.
///
/// Three versions make changes visible: of the registry, the keys and the revocations. A change of such rows raises its version in the
/// same transaction, so a server that polls [`Store::state`] knows what to read again. Every change first opens the counter that it
/// raises: under another master key nothing changes ([`StorageError::Foreign`]).
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Brings the schema up to date; safe when several servers start at once. Rows of a schema that had no codes are sealed as they
    /// stand.
    async fn migrate(&self) -> Result<(), StorageError>;

    /// The versions and the database's own time; also the readiness probe. One read.
    async fn state(&self) -> Result<DatabaseState, StorageError>;

    /// Returns when a version may have been raised, and never where the database does not announce that. Changes between two
    /// calls are not lost; of several callers at once, one hears of it. Announcements can fail to come: a follower asks
    /// [`Store::state`] now and then all the same.
    async fn changed(&self);

    /// All registry entries with the version they belong to, read in one snapshot.
    async fn entries(&self) -> Result<Stored<EntryRow>, StorageError>;

    /// Puts and deletes registry entries, unless the version is no longer `expected`.
    async fn change_entries(
        &self,
        expected: Version,
        changes: &[EntryChange],
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError>;

    /// All signing keys with the version they belong to, read in one snapshot.
    async fn keys(&self) -> Result<Stored<KeyRow>, StorageError>;

    /// Inserts, moves and deletes signing keys, unless the version is no longer `expected`. Under an advisory lock where the
    /// database has them.
    async fn change_keys(
        &self,
        expected: Version,
        changes: &KeyChanges,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError>;

    /// As [`Store::change_keys`], and every row that has a right code gets the one that it has under `next`. This store keeps its own
    /// codes: open another for what comes after.
    async fn reseal(
        &self,
        expected: Version,
        changes: &KeyChanges,
        next: &RowCodes,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError>;

    /// Gives every row the code that it has under this master key, and raises all versions.
    async fn accept(&self, audit: &[AuditRow]) -> Result<(), StorageError>;

    /// The faults of the tables that servers hold in memory: what was written past them.
    async fn inspect(&self) -> Result<Vec<TableFault>, StorageError>;

    /// The audit keys of former master keys, in the order of their names. They change with the version of the signing keys.
    async fn audit_keys(&self) -> Result<Vec<AuditKeyRow>, StorageError>;

    /// All revocations that have not expired by the database's time, with the version they belong to, read in one snapshot.
    async fn revocations(&self) -> Result<Stored<RevocationRow>, StorageError>;

    /// The revocations that were added after `known`, and the version that they lead to. `None` where `known` is too long ago, or not
    /// what the present version followed from.
    async fn revocations_after(&self, known: Version) -> Result<Option<(Version, Vec<RevocationRow>)>, StorageError>;

    /// Adds a revocation, whose `at` is raised to the database's time of the act. For a transaction, one for each outside token that
    /// began it too. Raises the version; every added row has the raised counter as its `version`. A row that already stands for the
    /// same (kind, issuer, value) is replaced if the new one reaches further (later `at` or `expires_at`: the later of each is kept).
    ///
    /// Excludes [`Store::record`]: when this has returned, no token that the revocation covers can still be recorded by a caller
    /// that heeds [`Fresh::changed`]. Returns the raised version and how many rows were added or replaced.
    async fn revoke(&self, revocation: &RevocationRow, audit: &[AuditRow]) -> Result<(Version, u64), StorageError>;

    /// Removes the revocation of exactly this kind, issuer and value; false when there was none. Raises the version if there was one,
    /// so that it follows from no earlier one: [`Store::revocations_after`] gives none for those.
    async fn lift(
        &self,
        kind: RevocationKind,
        issuer: Option<&str>,
        value: &str,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError>;

    /// Commits a batch of decisions: one transaction, one multi-row statement per table.
    ///
    /// Inside the transaction it first spends `one_time` values (in order; of equal ones the first wins) and compares the versions with
    /// all of `known`, which the decisions were made under; gives both to `decide`; inserts the rows that it returns; and commits. If
    /// `decide` is called again, nothing of what it returned before is written. On an error the caller cannot know whether the
    /// transaction committed.
    async fn record(
        &self,
        known: &[Versions],
        one_time: &[OneTimeValue],
        decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
    ) -> Result<(), StorageError>;

    /// Adds audit rows that stand for no token.
    async fn append_audit(&self, audit: &[AuditRow]) -> Result<(), StorageError>;

    /// The recorded token of this `jti`, dead or alive, until it is purged.
    async fn token(&self, jti: &str) -> Result<Option<TokenRow>, StorageError>;

    /// The tokens that this one of ours descends from, its parent first; none where it is not recorded, or was purged.
    async fn ancestors(&self, jti: &str) -> Result<Option<Vec<TokenReference>>, StorageError>;

    /// Up to `limit` audit rows that match, oldest first (by `id`), and fewer once their bodies have [`AUDIT_PAGE_BYTES`]. Reading on from
    /// the last `id` misses no row, and takes no lock that a writer waits for. Events that differ by more than three minutes from the
    /// order of their ids may be left out of a search by time.
    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError>;

    /// Up to `limit` audit rows in the order (writer, `writer_sequence`), after the given place, and fewer once their bodies have
    /// [`AUDIT_PAGE_BYTES`]; for verification.
    async fn audit_chain(&self, after: Option<(&str, i64)>, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError>;

    /// The last row of every writer, in the order of the writers.
    async fn audit_heads(&self) -> Result<Vec<AuditHead>, StorageError>;

    /// Deletes tokens, one-time values and revocations that have expired by the database's time; how many rows went.
    async fn purge(&self) -> Result<u64, StorageError>;

    /// The same database for the acts of operators: what they read takes none of the connections by which a server follows the
    /// database and revokes. None where there is nothing to set apart.
    fn for_operators(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Closes all connections.
    async fn close(&self);
}

/// Opens the database of this URL, whose rows are sealed under `codes`: `sqlite:` (the file is made when it is missing, its directory is
/// not) or `postgres:`, with up to `max_connections` connections (`PostgreSQL` only). A `PostgreSQL` server need not be there yet.
///
/// # Errors
///
/// [`StorageError::Url`] for another scheme, [`StorageError::Broken`] for a URL or a file that cannot be used,
/// [`StorageError::Unavailable`] for a `SQLite` file that is locked or on a disk that does not answer.
pub async fn open(url: &str, max_connections: u32, codes: RowCodes) -> Result<Arc<dyn Store>, StorageError> {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme);
    match scheme {
        Some("sqlite") => Ok(Arc::new(sqlite::SqliteStore::open(url, codes).await?)),
        Some("postgres" | "postgresql") => Ok(Arc::new(postgres::PostgresStore::open(url, max_connections, codes)?)),
        _ => Err(StorageError::Url),
    }
}

/// The longest text, in bytes, that every database takes in a column that it indexes: every text of a row but `body`. Such text holds
/// no U+0000, nor does a `body`. Whoever makes a row keeps to both: one row that does not fails the whole batch.
pub const KEY_TEXT_BYTES: usize = 1_024;

/// The most bytes of bodies that a page of audit rows has before its last row; a longer body is not read at all.
pub const AUDIT_PAGE_BYTES: usize = 1024 * 1024;

/// The length of an audit row's code, in bytes (HMAC-SHA-256).
pub const MAC_BYTES: usize = 32;
