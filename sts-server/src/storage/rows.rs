//! The rows that a store reads and writes. Times have millisecond precision in every database.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::MAC_BYTES;

/// How long a row is kept after what it is about has expired: servers and databases whose clocks lie less apart than this agree
/// that it has.
pub const CLOCK_MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// When a row about something that expires at `expiry` may be forgotten.
#[must_use]
pub fn forget_at(expiry: Timestamp) -> Timestamp {
    expiry.checked_add(CLOCK_MARGIN).unwrap_or(Timestamp::MAX)
}

/// The state of a set of rows: a counter that every change raises, and a random value that every raise draws. Two states are the same
/// when both are: a counter alone can go back with a lost write-ahead log, and be raised again by another change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// Raised by every change.
    pub counter: i64,
    /// Drawn at random by every raise; 0 before the first.
    pub generation: i64,
}

/// The versions of what servers hold in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of the registry entries.
    pub registry: Version,
    /// Of the signing keys.
    pub keys: Version,
    /// Of the revocations: every revocation and every lift.
    pub revocations: Version,
}

/// The versions in the database, and its own clock when they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseState {
    /// The versions.
    pub versions: Versions,
    /// The database's own clock.
    pub time: Timestamp,
}

/// All rows of a table that servers hold in memory, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<Row> {
    /// The table.
    pub table: &'static str,
    /// The version that they belong to.
    pub version: Version,
    /// The rows that could be read, each with its code.
    pub rows: Vec<CodedRow<Row>>,
    /// The rows with wrong codes, and those that could not be read.
    pub faults: Vec<TableFault>,
    /// True if the rows are those that servers wrote: none was removed or put back past them, and the codes are of this master key.
    pub is_whole: bool,
}

/// A row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodedRow<Row> {
    /// The row.
    pub row: Row,
    /// The code that its content has under the present master key: equal content, equal code.
    pub code: RowCode,
    /// True if it was stored with that code; if not, it was written or altered past the servers.
    pub is_vouched: bool,
}

/// The code of a row's content.
pub type RowCode = [u8; 32];

/// A fault of a table that servers hold in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TableFault {
    /// A row was written or altered past the servers.
    Altered {
        /// The table.
        table: &'static str,
        /// The name of the row.
        row: String,
    },
    /// A row has a right code, and is none that this version reads.
    Malformed {
        /// The table.
        table: &'static str,
        /// The name of the row.
        row: String,
        /// The reason.
        reason: String,
    },
    /// A row was removed or put back past the servers, or the codes are of another master key.
    Incomplete {
        /// The table.
        table: &'static str,
    },
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered { table, row } => write!(f, "{table}: {row:?} was written or altered past the servers"),
            Self::Malformed { table, row, reason } => write!(f, "{table}: {row:?} cannot be read: {reason}"),
            Self::Incomplete { table } => {
                write!(f, "{table}: rows were removed or put back past the servers")
            }
        }
    }
}

impl TableFault {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &'static str {
        match self {
            Self::Altered { table, .. } | Self::Malformed { table, .. } | Self::Incomplete { table } => table,
        }
    }
}

impl<Row> Stored<Row> {
    /// The rows that a server wrote.
    pub fn vouched(self) -> impl Iterator<Item = Row> {
        self.rows.into_iter().filter(|coded| coded.is_vouched).map(|coded| coded.row)
    }

    /// All rows that could be read, those of wrong codes too.
    pub fn all(self) -> Vec<Row> {
        self.rows.into_iter().map(|coded| coded.row).collect()
    }
}

/// The three kinds of registry entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// Who signs tokens that we believe.
    Issuer,
    /// Who asks for tokens or receives them.
    Agent,
    /// Which agent may call which.
    Delegation,
}

/// Who made a registry entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A registry file.
    File,
    /// The admin API.
    Api,
}

/// A registry entry as the database holds it; (kind, id) is unique. Debug does not show the body, which may hold hashes of secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// What it is.
    pub kind: EntryKind,
    /// Its name among its kind.
    pub id: String,
    /// Who made it.
    pub origin: Origin,
    /// Whether an administrator has disabled it; an entry can also be disabled in its body.
    pub disabled_by_admin: bool,
    /// The entry as JSON.
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
}

/// What became of a change that expected a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It holds; the version is now this.
    Applied(Version),
    /// Someone else changed the rows meanwhile: read again and decide again. Nothing was written.
    Conflict,
}

/// The life of a signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyState {
    /// Published, does not sign yet.
    Next,
    /// Signs.
    Active,
    /// Signs no more; published as long as a token of it may live.
    Retired,
}

/// A signing key as the database holds it: sealed under the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// The key's identifier; unique.
    pub kid: String,
    /// The JOSE name of its algorithm.
    pub algorithm: String,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it entered its present state.
    pub state_since: Timestamp,
    /// The longest life of any token that was or may be signed with it.
    pub longest_life: SignedDuration,
    /// The sealed private key.
    pub sealed: Vec<u8>,
}

/// A change of signing keys, applied in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// Keys to delete, by kid.
    pub delete: Vec<String>,
    /// Keys to insert, or to replace whole where the kid is known.
    pub put: Vec<KeyRow>,
    /// Former audit keys to insert, or to replace whole where the name is known.
    pub audit_keys: Vec<AuditKeyRow>,
}

/// The key of audit chains that were written under a former master key: sealed under the present one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditKeyRow {
    /// Its name; unique.
    pub name: String,
    /// When the master key that it came from was replaced.
    pub retired_at: Timestamp,
    /// The sealed key.
    pub sealed: Vec<u8>,
}

/// What a revocation is about; how a store spells it is its own affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevocationKind {
    /// One token: `issuer` is who minted it, `value` its `jti`.
    Token,
    /// One outside token, without its descendants: one that began a transaction which was revoked.
    TokenAlone,
    /// One transaction: `value` is its `txn`.
    Transaction,
    /// One user: `issuer` is who first named the user, and `value` the name there; without `issuer`, `value` is that name or the
    /// `sub` of minted tokens.
    Subject,
    /// One agent: `value` is its id.
    Agent,
    /// One tenant: `value` is it.
    Tenant,
}

/// A standing revocation; (kind, issuer, value) is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationRow {
    /// What it is about.
    pub kind: RevocationKind,
    /// In whose namespace `value` is a name, where that matters.
    pub issuer: Option<String>,
    /// What is revoked.
    pub value: String,
    /// Tokens issued at or before this are refused.
    pub at: Timestamp,
    /// When nothing that it covers can be alive any more.
    pub expires_at: Timestamp,
    /// The counter that the change raised; set by the store, whatever a caller says.
    pub version: i64,
    /// The transaction of a revoked token of this service, as long as the token is recorded; set by the store.
    pub txn: Option<String>,
}

impl Stored<EntryRow> {
    /// All entries that could be read. One that was written or altered past the servers reads as disabled by an administrator, which
    /// a new body does not lift.
    pub fn entries(self) -> Vec<EntryRow> {
        let entry = |coded: CodedRow<EntryRow>| EntryRow {
            disabled_by_admin: coded.row.disabled_by_admin || !coded.is_vouched,
            ..coded.row
        };
        self.rows.into_iter().map(entry).collect()
    }

    /// True if this entry was written or altered past the servers.
    #[must_use]
    pub fn is_altered(&self, kind: EntryKind, id: &str) -> bool {
        self.rows.iter().any(|coded| !coded.is_vouched && coded.row.kind == kind && coded.row.id == id)
    }
}

impl Stored<RevocationRow> {
    /// Without those that have expired at `now`, in milliseconds since the epoch. One that was altered past the servers stops what it
    /// names without end: its times are not believed. Where one cannot be read, the table is not whole.
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
    /// The revocation of a token that goes with this one.
    pub(super) fn of_token(&self, (iss, jti): (String, String)) -> Self {
        Self { kind: RevocationKind::TokenAlone, issuer: Some(iss), value: jti, ..self.clone() }
    }
}

/// A value that is accepted once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OneTimeValue {
    /// Keeps the values of different clients and kinds apart.
    pub namespace: String,
    /// The value.
    pub value: String,
    /// When the row may be forgotten: [`forget_at`] the moment from which the value is refused anyway.
    pub expires_at: Timestamp,
}

/// Names a token: ours or an outside issuer's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenReference {
    /// Who minted it.
    pub iss: String,
    /// Its `jti`; of an outside token without one, `sha256:` and the digest of the whole token in base64url.
    pub jti: String,
}

/// A token that this service minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its identifier; unique.
    pub jti: String,
    /// Who minted it: this service's issuer.
    pub iss: String,
    /// The token that it was exchanged for; none for a service account's.
    pub parent: Option<TokenReference>,
    /// Its transaction.
    pub txn: String,
    /// The agent that it was issued to.
    pub client_id: String,
    /// When it was minted.
    pub issued_at: Timestamp,
    /// When the row may be forgotten: [`forget_at`] its death.
    pub expires_at: Timestamp,
}

/// An audit event, sealed into its writer's chain; (writer, `writer_sequence`) is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Whose chain the row is in.
    pub writer: String,
    /// Its place there, from 1 without gaps.
    pub writer_sequence: i64,
    /// When the event happened.
    pub at: Timestamp,
    /// The correlation id of the request, for search.
    pub correlation_id: Option<String>,
    /// The transaction, for search.
    pub txn: Option<String>,
    /// The token, for search.
    pub jti: Option<String>,
    /// The event as JSON: the text that the code covers.
    pub body: String,
    /// The code over the row and the one before it in the chain.
    pub mac: [u8; MAC_BYTES],
}

/// An audit row with its place in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuditRow {
    /// Grows from row to row, with gaps; not covered by the code.
    pub id: i64,
    /// The row.
    pub row: UncheckedAuditRow,
}

/// An audit row as the database holds it. It may have been edited there, so nothing about it is taken for granted: one malformed row
/// must not hide the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncheckedAuditRow {
    /// The writer of the chain.
    pub writer: String,
    /// Its place there.
    pub writer_sequence: i64,
    /// The time of the event, in milliseconds since the epoch.
    pub at: i64,
    /// The correlation id of the request.
    pub correlation_id: Option<String>,
    /// The transaction.
    pub txn: Option<String>,
    /// The token.
    pub jti: Option<String>,
    /// The event as JSON; empty when it is longer than [`AUDIT_PAGE_BYTES`](super::AUDIT_PAGE_BYTES).
    pub body: String,
    /// The code.
    pub mac: Vec<u8>,
}

impl UncheckedAuditRow {
    /// The row as it was written, if it has the form of one that is written.
    #[must_use]
    pub fn well_formed(&self) -> Option<AuditRow> {
        Some(AuditRow {
            writer: self.writer.clone(),
            writer_sequence: self.writer_sequence,
            at: Timestamp::from_millisecond(self.at).ok()?,
            correlation_id: self.correlation_id.clone(),
            txn: self.txn.clone(),
            jti: self.jti.clone(),
            body: self.body.clone(),
            mac: self.mac.as_slice().try_into().ok()?,
        })
    }
}

/// The last row of a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The writer.
    pub writer: String,
    /// The place of its last row.
    pub writer_sequence: i64,
    /// The code of its last row, as it stands there.
    pub mac: Vec<u8>,
}

/// Which audit rows to read; a field that is absent selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only rows with a greater id.
    pub after_id: Option<i64>,
    /// Only events at or after this.
    pub since: Option<Timestamp>,
    /// Only events of this correlation id.
    pub correlation_id: Option<String>,
    /// Only events of this transaction.
    pub txn: Option<String>,
    /// Only events of this token.
    pub jti: Option<String>,
}

/// What the record transaction found before it writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fresh {
    /// For each one-time value of the batch, whether it was spent now; false is a replay.
    pub spent: Vec<bool>,
    /// The state of the database, where it differs from the one that the caller knows.
    pub changed: Option<FreshState>,
}

/// The state of the database where it is not the one that the caller knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreshState {
    /// The versions in the database.
    pub versions: Versions,
    /// The revocations that the caller may not know; all that stand, where what it knows is not what they followed from.
    pub revocations: Vec<RevocationRow>,
}

/// What the record transaction writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordRows {
    /// The tokens of the batch.
    pub tokens: Vec<TokenRow>,
    /// The events of the batch.
    pub audit: Vec<AuditRow>,
}
