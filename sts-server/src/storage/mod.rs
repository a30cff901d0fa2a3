//! The contents of the database, as one trait with one method per atomic operation.
//!
//! What lives here: the [`Store`] trait, its rows and its errors. Each database has a folder with
//! its own plain SQL. What must never: rules. A store does not know what an issuer, a tenant or a
//! delegation is. To add a database, add `storage/<name>/`, `migrations/<name>/` and one line in
//! the conformance suite.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

mod approval_rows;
mod audit_members;
mod audit_rows;
mod audit_search;
mod coded;
mod codes;
mod columns;
mod expiry;
mod one_time;
mod rows;
mod schema;

pub mod postgres;
pub mod sqlite;
mod words;

pub use approval_rows::{
    ApprovalChange, ApprovalChanges, ApprovalConditions, ApprovalRequested, ApprovalRow, ApprovalState, HeldApprovals,
};
pub use audit_members::{AuditField, AuditMember};
pub use audit_rows::{
    AuditCheckpoint, AuditFilter, AuditHead, AuditOrder, AuditPage, AuditRow, AuditScan, DelegationUses,
    StoredAuditRow, UncheckedAuditRow,
};
pub use codes::RowCodes;
pub use expiry::{CLOCK_MARGIN, forget_at};
pub use rows::{
    AuditKeyRow, Changed, CodedRow, DatabaseState, EntryChange, EntryKind, EntryRow, Fresh, FreshState, KeyChanges,
    KeyRow, KeyState, OneTimeValue, Origin, RecordRows, RevocationKind, RevocationRow, RowCode, Stored, TableFault,
    TokenReference, TokenRow, Version, Versions,
};

/// An error of the database or of its content.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The database is unreachable, overloaded or shutting down. The same call may succeed later.
    #[error("the database cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    /// No host of the database can be used. The message names each host, and no password.
    #[error("cannot connect to the database")]
    Connect(#[source] postgres::ConnectError),
    /// The database returned an unexpected error: a bug of this service or bad content.
    #[error("the database returned an error")]
    Broken(#[source] sqlx::Error),
    /// A schema migration failed.
    #[error("failed to migrate the database")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// A newer version of the program has migrated the schema beyond what this version can use.
    #[error(
        "a newer version of sts-server has migrated the database to migration {schema}, and this version knows {known}: start a version that is at most one release older than the newest one"
    )]
    SchemaTooNew {
        /// The latest applied migration.
        schema: i64,
        /// The latest migration of this version.
        known: i64,
    },
    /// The schema lacks migrations, and this start must not apply them.
    #[error(
        "the database's schema is older than this version, which needs migration {known}: run `sts-server migrate`, or start without --no-migrate"
    )]
    SchemaTooOld {
        /// The latest migration of this version.
        known: i64,
    },
    /// A row has content that no version of this service writes.
    #[error("a row of {table} is malformed: {reason}")]
    Malformed {
        /// The table of the row.
        table: &'static str,
        /// The defect of the row.
        reason: String,
    },
    /// The codes of the rows were made under another master key, or a counter was altered directly
    /// in the database.
    #[error(
        "the counter {counter} of the database does not open under the configured master key: nothing was changed; use the master key that the database was made with, or, if rows were edited on purpose, `sts-server registry accept`"
    )]
    Foreign {
        /// The name of the counter.
        counter: String,
    },
    /// The rows have no codes, because an upgrade of the schema stopped halfway.
    #[error("the rows of the database have no codes: review them, then seal them with `sts-server registry accept`")]
    Unsealed,
    /// A pooler in front of the database cannot be used as it is configured.
    #[error("the pooler in front of PostgreSQL cannot be used: {0}")]
    Pooler(&'static str),
    /// The scheme of the database URL is not supported.
    #[error("unsupported database URL: it must begin with sqlite: or postgres:")]
    Url,
}

impl StorageError {
    /// Returns true if the same call may succeed later.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Connect(error) => error.is_outage(),
            Self::Broken(_)
            | Self::Migration(_)
            | Self::SchemaTooNew { .. }
            | Self::SchemaTooOld { .. }
            | Self::Malformed { .. }
            | Self::Foreign { .. }
            | Self::Unsealed
            | Self::Pooler(_)
            | Self::Url => false,
        }
    }
}

/// A database, shared by any number of servers.
///
/// Every method fails with [`StorageError`]; the caller may retry an outage. Every method is
/// atomic: it applies fully or not at all. The exception is [`Store::purge`], which deletes in
/// portions.
///
/// Three versions make changes visible: of the registry, of the keys and of the revocations. A
/// change raises the version of its table in the same transaction. A server that polls
/// [`Store::state`] therefore knows which tables to read again. Every change first opens the
/// counter that it raises. Under another master key that fails and nothing changes
/// ([`StorageError::Foreign`]).
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Migrates the schema to the latest version. Several servers may start at once. Rows of a
    /// schema without codes are sealed unchanged. A newer schema stays as it is, if this version can
    /// work with it.
    async fn migrate(&self) -> Result<(), StorageError>;

    /// Checks that this version can work with the schema as it is. Changes nothing.
    async fn check_schema(&self) -> Result<(), StorageError>;

    /// Returns the versions and the database's own time, in one read. Also the readiness probe.
    async fn state(&self) -> Result<DatabaseState, StorageError>;

    /// Waits for a change notification. Never resolves on a database that has none (`SQLite`).
    ///
    /// Changes between two calls are not lost. If several callers wait at once, only one wakes up
    /// per notification. Notifications can get lost, so a follower also polls [`Store::state`].
    async fn changed(&self);

    /// Returns all registry entries and their version, read in one snapshot.
    async fn entries(&self) -> Result<Stored<EntryRow>, StorageError>;

    /// Returns the generation of the last applied registry file; 0 if it had none.
    async fn registry_generation(&self) -> Result<i64, StorageError>;

    /// Puts and deletes registry entries, unless the version is no longer `expected`.
    async fn change_entries(
        &self,
        expected: Version,
        changes: &[EntryChange],
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError>;

    /// Returns all signing keys and their version, read in one snapshot.
    async fn keys(&self) -> Result<Stored<KeyRow>, StorageError>;

    /// Inserts, moves and deletes signing keys, unless the version is no longer `expected`. Takes
    /// an advisory lock if the database has them.
    async fn change_keys(
        &self,
        expected: Version,
        changes: &KeyChanges,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError>;

    /// Does the same as [`Store::change_keys`], and gives every row with a valid code its code
    /// under `next`. This store keeps its own codes: open another store for later calls.
    async fn reseal(
        &self,
        expected: Version,
        changes: &KeyChanges,
        next: &RowCodes,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError>;

    /// Gives every row its code under this master key, and raises all versions.
    async fn accept(&self, audit: &[AuditRow]) -> Result<(), StorageError>;

    /// Returns the faults of the tables that servers cache: rows that were changed directly in the
    /// database.
    async fn inspect(&self) -> Result<Vec<TableFault>, StorageError>;

    /// Fails with [`StorageError::Foreign`] unless the counters open under this master key. Checked
    /// before a write that raises no counter and that another master key must not make.
    async fn check_codes(&self) -> Result<(), StorageError>;

    /// Returns the audit keys of former master keys, ordered by name. They share the version of the
    /// signing keys.
    async fn audit_keys(&self) -> Result<Vec<AuditKeyRow>, StorageError>;

    /// Returns all revocations that have not expired by the database's time, and their version,
    /// read in one snapshot.
    async fn revocations(&self) -> Result<Stored<RevocationRow>, StorageError>;

    /// Returns the revocations added after `known`, and the resulting version. Returns `None` if
    /// `known` is too old or is not a predecessor of the present version.
    async fn revocations_after(&self, known: Version) -> Result<Option<(Version, Vec<RevocationRow>)>, StorageError>;

    /// Adds a revocation and raises the version. The revocation's `at` is raised to the database's
    /// current time.
    ///
    /// Revoking a transaction also adds a row for each outside token that started it. Every added
    /// row gets the raised counter as its `version`. An existing row for the same (kind, issuer,
    /// value) is replaced if the new `at` or `expires_at` is later. The later value of each is
    /// kept.
    ///
    /// Open approvals that a revocation of a user, an agent or a tenant covers are ended.
    ///
    /// Excludes [`Store::record`]. After this call returns, no caller that heeds [`Fresh::changed`]
    /// can record a token that the revocation covers. Returns the raised version and the number of
    /// added or replaced rows.
    async fn revoke(&self, revocation: &RevocationRow, audit: &[AuditRow]) -> Result<(Version, u64), StorageError>;

    /// Removes the revocation with exactly this kind, issuer and value. Returns false if there was
    /// none.
    ///
    /// A removal raises the version to one that follows from no earlier version.
    /// [`Store::revocations_after`] then returns `None` for the earlier ones.
    async fn lift(
        &self,
        kind: RevocationKind,
        issuer: Option<&str>,
        value: &str,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError>;

    /// Returns all approvals and their version, read in one snapshot.
    async fn approvals(&self) -> Result<Stored<ApprovalRow>, StorageError>;

    /// Returns the approvals that changed after `held`, read in one snapshot. Returns `None` if the
    /// result would not be exactly the set of rows that servers wrote. The caller reads all then.
    async fn approvals_after(&self, held: &HeldApprovals) -> Result<Option<ApprovalChanges>, StorageError>;

    /// Returns open approvals that have expired at `now`, the oldest first, up to a bounded number.
    async fn expired_approvals(&self, now: Timestamp) -> Result<Vec<ApprovalRow>, StorageError>;

    /// Closes expired approvals that are still stored as before, each with its event. Returns their
    /// number.
    async fn close_approvals(&self, changes: &[ApprovalChange]) -> Result<u64, StorageError>;

    /// Adds a pending approval, unless the revocations are no longer `known`, an equal approval
    /// stands or was denied, the quota of its user is used up, or too many wait.
    async fn request_approval(
        &self,
        approval: &ApprovalRow,
        conditions: ApprovalConditions,
        audit: &[AuditRow],
    ) -> Result<ApprovalRequested, StorageError>;

    /// Replaces an approval that is still stored as `before`; returns false if it is not. Only its
    /// state, expiry and content may differ.
    ///
    /// Excludes [`Store::record`]. A change of a granted approval raises the revocations too. After
    /// this call returns, no caller that heeds [`Fresh::changed`] can record a decision made under
    /// it.
    async fn change_approval(
        &self,
        before: &ApprovalRow,
        after: &ApprovalRow,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError>;

    /// Commits a batch of decisions: one transaction, one multi-row statement per table.
    ///
    /// The transaction first spends the `one_time` values, in order; the first of equal values
    /// wins. It compares the current versions with all of `known`, the versions that the decisions
    /// were made under. It passes both results to `decide`, inserts the returned rows, and commits.
    ///
    /// If `decide` is called again, the rows that it returned before are discarded. After an error
    /// the caller cannot know if the transaction committed.
    async fn record(
        &self,
        known: &[Versions],
        one_time: &[OneTimeValue],
        decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
    ) -> Result<(), StorageError>;

    /// Commits durably, without a change. Fails if [`Store::record`] could not commit now.
    async fn probe(&self) -> Result<(), StorageError>;

    /// Adds audit rows that belong to no token.
    async fn append_audit(&self, audit: &[AuditRow]) -> Result<(), StorageError>;

    /// Returns the recorded token with this `jti`, even if expired, until it is purged.
    async fn token(&self, jti: &str) -> Result<Option<TokenRow>, StorageError>;

    /// Returns the ancestors of this token, its parent first. Returns `None` if the token is not
    /// recorded or was purged.
    async fn ancestors(&self, jti: &str) -> Result<Option<Vec<TokenReference>>, StorageError>;

    /// Returns up to `limit` matching audit rows, ordered by `id`.
    ///
    /// A page ends early once its bodies reach [`AUDIT_PAGE_BYTES`], and after a bounded number of
    /// rows that were read and did not match. A page without rows can therefore have a next page.
    ///
    /// A caller that continues from the last `id`, oldest first, misses no row. The read takes no
    /// lock that blocks writers. A search by time may miss events that differ by more than three
    /// minutes from the order of their ids.
    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<AuditPage, StorageError>;

    /// Returns up to `limit` audit rows after the given place, ordered by (writer,
    /// `writer_sequence`). For verification. A page ends early once its bodies reach
    /// [`AUDIT_PAGE_BYTES`].
    async fn audit_chain(&self, after: Option<(&str, i64)>, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError>;

    /// Returns the last row of every writer, ordered by writer.
    async fn audit_heads(&self) -> Result<Vec<AuditHead>, StorageError>;

    /// Returns the checkpoints of up to `limit` chains that were cut, after this writer, ordered by
    /// writer.
    async fn audit_checkpoints(&self, after: Option<&str>, limit: u32) -> Result<Vec<AuditCheckpoint>, StorageError>;

    /// Returns the checkpoints of these writers that have one, ordered by writer.
    async fn audit_checkpoints_of(&self, writers: &[&str]) -> Result<Vec<AuditCheckpoint>, StorageError>;

    /// Deletes the audit rows up to this id, and adds the checkpoints of their chains. A checkpoint
    /// replaces an earlier one of its chain, never a later one. Returns the number of deleted rows.
    async fn cut_audit(&self, through_id: i64, checkpoints: &[AuditCheckpoint]) -> Result<u64, StorageError>;

    /// Summarizes the segments of the audit log that no row can join any more, so that searches pass
    /// over those without their values, and counts the uses in them. Returns the number of summarized segments, a few at once.
    async fn summarize_audit(&self) -> Result<u64, StorageError>;

    /// Returns the last uses of these delegations, as far as they are counted.
    async fn delegation_uses(&self, delegations: &[&str]) -> Result<DelegationUses, StorageError>;

    /// Deletes expired tokens, one-time values and revocations, and closed approvals a day later, by the database's time. Returns the
    /// number of deleted rows.
    async fn purge(&self) -> Result<u64, StorageError>;

    /// Returns a handle to the same database for operator requests. Its reads use none of the
    /// connections by which a server follows the database and revokes. Returns `None` if the
    /// database does not separate connections.
    fn for_operators(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Closes all connections.
    async fn close(&self);
}

/// The place of a database, and the way to connect to it.
#[derive(Clone)]
pub struct Location {
    /// `sqlite:` creates a missing file, but not its directory. `postgres:` may name several hosts.
    pub url: String,
    /// The most connections to PostgreSQL for requests.
    pub max_connections: u32,
    /// The file with the password to PostgreSQL, read at each connect.
    pub password_file: Option<PathBuf>,
    /// False behind a pooler that lends connections of PostgreSQL for single transactions.
    pub listens: bool,
    /// True if PostgreSQL must have a synchronous standby.
    pub requires_synchronous: bool,
}

impl Location {
    /// Returns the location of this URL, without a password file.
    #[must_use]
    pub fn new(url: &str, max_connections: u32) -> Self {
        Self { url: url.to_owned(), max_connections, password_file: None, listens: true, requires_synchronous: false }
    }
}

/// Opens the database of this URL, as [`open_at`] does.
///
/// # Errors
///
/// As for [`open_at`].
pub async fn open(url: &str, max_connections: u32, codes: RowCodes) -> Result<Arc<dyn Store>, StorageError> {
    open_at(&Location::new(url, max_connections), codes).await
}

/// Opens the database at this location, whose rows are sealed under `codes`. The server of a
/// `postgres:` database may start later.
///
/// # Errors
///
/// [`StorageError::Url`] for another scheme, [`StorageError::Broken`] for a URL or a file that
/// cannot be used, [`StorageError::Unavailable`] for a `SQLite` file that is locked or on a disk
/// that does not respond.
pub async fn open_at(location: &Location, codes: RowCodes) -> Result<Arc<dyn Store>, StorageError> {
    let scheme = location.url.split_once(':').map(|(scheme, _)| scheme);
    match scheme {
        Some("sqlite") => Ok(Arc::new(sqlite::SqliteStore::open(&location.url, codes).await?)),
        Some("postgres" | "postgresql") => Ok(Arc::new(postgres::PostgresStore::open(location, codes)?)),
        _ => Err(StorageError::Url),
    }
}

/// The longest text, in bytes, that every database accepts in an indexed column. It applies to
/// every text of a row except `body`. No text may contain U+0000, `body` included. The code that
/// builds a row must keep both limits: one invalid row fails the whole batch.
pub const KEY_TEXT_BYTES: usize = 1_024;

/// The maximum bytes of bodies on a page of audit rows before its last row. A longer body is not
/// read.
pub const AUDIT_PAGE_BYTES: usize = 1024 * 1024;

/// The length of an audit row's code, in bytes (HMAC-SHA-256).
pub const MAC_BYTES: usize = 32;
