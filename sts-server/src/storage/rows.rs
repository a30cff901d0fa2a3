//! The rows that a store reads and writes. Times have millisecond precision in every database.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::AuditRow;

/// The version of a set of rows: a counter that every change raises, and a random value drawn by
/// every raise.
///
/// Two versions are equal only if both numbers are. The counter alone is not enough: it can go back
/// with a lost write-ahead log, and another change can raise it again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Raised by every change.
    pub counter: i64,
    /// Drawn at random by every raise; 0 before the first.
    pub generation: i64,
}

/// The versions of the tables that servers cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Version of the registry entries.
    pub registry: Version,
    /// Version of the signing keys.
    pub keys: Version,
    /// Version of the revocations, raised by every revocation and every lift.
    pub revocations: Version,
}

/// The versions in the database, and the database's own clock when they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseState {
    /// The versions of the cached tables.
    pub versions: Versions,
    /// The version of the approvals. A change that stops one raises the revocations too.
    pub approvals: Version,
    /// The time by the database's own clock.
    pub time: Timestamp,
    /// False if a synchronous standby is required and the database has none.
    pub is_synchronous: bool,
}

/// All rows of a cached table, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<Row> {
    /// The name of the table.
    pub table: &'static str,
    /// The version of the snapshot.
    pub version: Version,
    /// The rows that could be read, each with its code.
    pub rows: Vec<CodedRow<Row>>,
    /// The rows with wrong codes, and the rows that could not be read.
    pub faults: Vec<TableFault>,
    /// True if the rows are exactly those that servers wrote under this master key: none was
    /// removed or restored directly in the database.
    pub is_whole: bool,
}

/// A row with its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodedRow<Row> {
    /// The row as read from the database.
    pub row: Row,
    /// The code of the row's content under the present master key. Equal content has an equal code.
    pub code: RowCode,
    /// True if the row was stored with that code. Otherwise it was written or altered directly in
    /// the database.
    pub is_vouched: bool,
}

/// The code of a row's content.
pub type RowCode = [u8; 32];

/// A fault of a cached table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TableFault {
    /// A row was written or altered directly in the database.
    Altered {
        /// The table with the fault.
        table: &'static str,
        /// The name of the row.
        row: String,
    },
    /// A row that this version cannot read.
    Malformed {
        /// The table with the fault.
        table: &'static str,
        /// The name of the row.
        row: String,
        /// The reason why the row cannot be read.
        reason: String,
    },
    /// A row was removed or restored directly in the database, or the codes belong to another
    /// master key.
    Incomplete {
        /// The table with the fault.
        table: &'static str,
    },
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered { table, row } => write!(f, "{table}: {row:?} was written or altered outside the servers"),
            Self::Malformed { table, row, reason } => write!(f, "{table}: {row:?} cannot be read: {reason}"),
            Self::Incomplete { table } => {
                write!(f, "{table}: rows were removed or restored outside the servers")
            }
        }
    }
}

impl TableFault {
    /// Returns the name of the table with the fault.
    #[must_use]
    pub fn table(&self) -> &'static str {
        match self {
            Self::Altered { table, .. } | Self::Malformed { table, .. } | Self::Incomplete { table } => table,
        }
    }
}

impl<Row> Stored<Row> {
    /// Returns the rows with valid codes.
    pub fn vouched(self) -> impl Iterator<Item = Row> {
        self.rows.into_iter().filter(|coded| coded.is_vouched).map(|coded| coded.row)
    }

    /// Returns all rows that could be read, including rows with wrong codes.
    pub fn all(self) -> Vec<Row> {
        self.rows.into_iter().map(|coded| coded.row).collect()
    }
}

/// The three kinds of registry entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// An issuer whose tokens this service trusts.
    Issuer,
    /// An agent that requests or receives tokens.
    Agent,
    /// A permission for one agent to call another.
    Delegation,
}

/// The source of a registry entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The entry comes from a registry file.
    File,
    /// The entry was made through the admin API.
    Api,
}

/// A registry entry as stored; (kind, id) is unique. `Debug` omits the body, which may hold hashes
/// of secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// The name of the entry, unique in its kind.
    pub id: String,
    /// The source of the entry.
    pub origin: Origin,
    /// True if an administrator disabled the entry. The body can disable an entry too.
    pub disabled_by_admin: bool,
    /// The entry, as JSON.
    pub body: String,
}

impl fmt::Debug for EntryRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRow")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("origin", &self.origin)
            .field("disabled_by_admin", &self.disabled_by_admin)
            .finish_non_exhaustive()
    }
}

/// One change of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryChange {
    /// Inserts the entry, or replaces the one of the same kind and id.
    Put(EntryRow),
    /// Deletes the entry of this kind and id, if there is one.
    Delete(EntryKind, String),
    /// Sets the generation of the last applied registry file.
    Generation(i64),
}

/// The result of a change that expected a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The change was applied and led to this version.
    Applied(Version),
    /// The rows have changed since they were read, and nothing was written. Read them again and
    /// decide again.
    Conflict,
}

/// The lifecycle state of a signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyState {
    /// The key is published but does not sign yet.
    Next,
    /// The key is published and signs.
    Active,
    /// The key no longer signs. It stays published while a token that it signed may be valid.
    Retired,
}

/// A signing key as stored, sealed under the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// The key identifier; unique.
    pub kid: String,
    /// The JOSE name of the key's algorithm.
    pub algorithm: String,
    /// The lifecycle state of the key.
    pub state: KeyState,
    /// The time of the key's creation.
    pub created_at: Timestamp,
    /// The time at which the key entered its present state.
    pub state_since: Timestamp,
    /// The longest lifetime of any token that the key has signed or may sign.
    pub longest_life: SignedDuration,
    /// The sealed private key.
    pub sealed: Vec<u8>,
}

/// A change of signing keys, applied in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// The keys to delete, by `kid`.
    pub delete: Vec<String>,
    /// The keys to insert, or to replace entirely if the `kid` exists.
    pub put: Vec<KeyRow>,
    /// The former audit keys to insert, or to replace entirely if the name exists.
    pub audit_keys: Vec<AuditKeyRow>,
}

/// The key of audit chains written under a former master key, sealed under the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditKeyRow {
    /// The name of the key; unique.
    pub name: String,
    /// The time at which the former master key was replaced.
    pub retired_at: Timestamp,
    /// The sealed audit key.
    pub sealed: Vec<u8>,
}

/// The kind of a revocation. Each store chooses how to encode it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevocationKind {
    /// A single token: `issuer` minted it, and `value` is its `jti`.
    Token,
    /// A single outside token, without its descendants. It started a transaction that was revoked.
    TokenAlone,
    /// A single transaction: `value` is its `txn`.
    Transaction,
    /// A single user. With `issuer`, `value` is the user's name at the issuer that first named the
    /// user. Without `issuer`, `value` is that name or the `sub` of minted tokens.
    Subject,
    /// A single agent: `value` is its id.
    Agent,
    /// A single tenant: `value` is its name.
    Tenant,
}

/// A revocation in force; (kind, issuer, value) is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationRow {
    /// The kind of the revocation.
    pub kind: RevocationKind,
    /// The issuer that defines `value`, for kinds that need one.
    pub issuer: Option<String>,
    /// The identifier of the revoked party, transaction or token.
    pub value: String,
    /// Tokens issued at or before this time are rejected.
    pub at: Timestamp,
    /// The time after which no token that the revocation covers can be valid.
    pub expires_at: Timestamp,
    /// The counter that the change raised. The store sets it and ignores the caller's value.
    pub version: i64,
    /// The transaction of a revoked token of this service, while the token is recorded. The store
    /// sets it.
    pub txn: Option<String>,
}

impl Stored<EntryRow> {
    /// Returns all entries that could be read. An entry that was written or altered directly in the
    /// database reads as disabled by an administrator. A new body does not lift that.
    pub fn entries(self) -> Vec<EntryRow> {
        let entry = |coded: CodedRow<EntryRow>| EntryRow {
            disabled_by_admin: coded.row.disabled_by_admin || !coded.is_vouched,
            ..coded.row
        };
        self.rows.into_iter().map(entry).collect()
    }

    /// True if this entry was written or altered directly in the database.
    #[must_use]
    pub fn is_altered(&self, kind: EntryKind, id: &str) -> bool {
        self.rows.iter().any(|coded| !coded.is_vouched && coded.row.kind == kind && coded.row.id == id)
    }
}

impl Stored<RevocationRow> {
    /// Drops revocations that have expired at `now`, in milliseconds since the epoch.
    ///
    /// The times of an altered revocation are not trusted, so it keeps revoking its target without
    /// end. If a row cannot be read, the table is not whole.
    pub(super) fn alive(mut self, now: i64) -> Self {
        for coded in self.rows.iter_mut().filter(|coded| !coded.is_vouched) {
            (coded.row.at, coded.row.expires_at) = (Timestamp::MAX, Timestamp::MAX);
        }
        self.rows.retain(|coded| coded.row.expires_at.as_millisecond() > now);
        let is_unread = self.faults.iter().any(|fault| matches!(fault, TableFault::Malformed { .. }));
        if is_unread && self.is_whole {
            self.is_whole = false;
            self.faults.push(TableFault::Incomplete { table: self.table });
        }
        self
    }
}

impl RevocationRow {
    /// Returns the revocation of a single outside token that goes with this revocation.
    pub(super) fn of_token(&self, (iss, jti): (String, String)) -> Self {
        Self { kind: RevocationKind::TokenAlone, issuer: Some(iss), value: jti, ..self.clone() }
    }
}

/// A value that is accepted once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OneTimeValue {
    /// Separates the values of different clients and kinds.
    pub namespace: String,
    /// The text of the value.
    pub value: String,
    /// The time from which the row may be deleted: [`forget_at`](super::forget_at) of the time from which the value
    /// is rejected anyway.
    pub expires_at: Timestamp,
}

/// A reference to a token of this service or of an outside issuer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenReference {
    /// The issuer that minted the token.
    pub iss: String,
    /// The token's `jti`. For an outside token without a `jti`: `sha256:` and the digest of the
    /// whole token in base64url.
    pub jti: String,
}

/// A token that this service minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// The `jti` of the token; unique.
    pub jti: String,
    /// The issuer of the token: this service.
    pub iss: String,
    /// The token that was exchanged for this one; `None` for a token of a service account.
    pub parent: Option<TokenReference>,
    /// The `txn` of the token's transaction.
    pub txn: String,
    /// The agent that the token was issued to.
    pub client_id: String,
    /// The time of issue.
    pub issued_at: Timestamp,
    /// The time from which the row may be deleted: [`forget_at`](super::forget_at) of the token's expiry.
    pub expires_at: Timestamp,
}

/// The findings of the record transaction before it writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fresh {
    /// For each one-time value of the batch, true if this transaction spent it; false is a replay.
    pub spent: Vec<bool>,
    /// The state of the database, if it differs from the caller's.
    pub changed: Option<FreshState>,
}

/// The state of the database, which differs from the caller's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreshState {
    /// The versions in the database.
    pub versions: Versions,
    /// The revocations that the caller may not know. All revocations, if the present version does
    /// not follow from the caller's.
    pub revocations: Vec<RevocationRow>,
}

/// The rows that the record transaction writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordRows {
    /// The tokens of the batch.
    pub tokens: Vec<TokenRow>,
    /// The events of the batch.
    pub audit: Vec<AuditRow>,
}
