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

/// The change counters, and the database's time when they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Raised by every change of registry entries.
    pub registry: i64,
    /// Raised by every change of signing keys.
    pub keys: i64,
    /// Raised by every revocation and every lift.
    pub revocations: i64,
    /// The database's own clock.
    pub database_time: Timestamp,
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
    /// It holds; the counter is now this.
    Applied(i64),
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
    /// The revocations that the caller's snapshot does not hold yet.
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
