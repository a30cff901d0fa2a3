//! Rows as read from a database; the same in every database.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sqlx::{ColumnIndex, Decode, FromRow, Row};

use super::{
    AuditCheckpoint, AuditHead, AuditKeyRow, DatabaseState, EntryChange, EntryKind, EntryRow, KeyRow, StorageError,
    StoredAuditRow, TokenReference, TokenRow, UncheckedAuditRow, Version, Versions,
};

/// The versions and the time of the database.
#[derive(FromRow)]
pub(super) struct StateColumns {
    registry: i64,
    registry_generation: i64,
    keys: i64,
    keys_generation: i64,
    revocations: i64,
    revocations_generation: i64,
    approvals: i64,
    approvals_generation: i64,
    database_time: i64,
}

impl TryFrom<StateColumns> for DatabaseState {
    type Error = StorageError;

    fn try_from(columns: StateColumns) -> Result<Self, StorageError> {
        let version = |counter, generation| Version { counter, generation };
        Ok(Self {
            versions: Versions {
                registry: version(columns.registry, columns.registry_generation),
                keys: version(columns.keys, columns.keys_generation),
                revocations: version(columns.revocations, columns.revocations_generation),
            },
            approvals: version(columns.approvals, columns.approvals_generation),
            time: from_millis("counters", columns.database_time)?,
            is_synchronous: true,
        })
    }
}

/// Converts a span to milliseconds, as stored in a column.
pub(super) fn millis(span: SignedDuration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A row of `audit_keys`.
#[derive(FromRow)]
pub(super) struct AuditKeyColumns {
    name: String,
    retired_at: i64,
    sealed: Vec<u8>,
}

impl TryFrom<AuditKeyColumns> for AuditKeyRow {
    type Error = StorageError;

    fn try_from(columns: AuditKeyColumns) -> Result<Self, StorageError> {
        let retired_at = from_millis("audit_keys", columns.retired_at)?;
        Ok(Self { name: columns.name, retired_at, sealed: columns.sealed })
    }
}

/// A row of `tokens`.
#[derive(FromRow)]
pub(super) struct TokenColumns {
    jti: String,
    iss: String,
    parent_iss: Option<String>,
    parent_jti: Option<String>,
    txn: String,
    client_id: String,
    issued_at: i64,
    expires_at: i64,
}

impl TryFrom<TokenColumns> for TokenRow {
    type Error = StorageError;

    fn try_from(columns: TokenColumns) -> Result<Self, StorageError> {
        let parent = match (columns.parent_iss, columns.parent_jti) {
            (Some(iss), Some(jti)) => Some(TokenReference { iss, jti }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(StorageError::Malformed { table: "tokens", reason: "half a parent".to_owned() });
            }
        };
        Ok(Self {
            jti: columns.jti,
            iss: columns.iss,
            parent,
            txn: columns.txn,
            client_id: columns.client_id,
            issued_at: from_millis("tokens", columns.issued_at)?,
            expires_at: from_millis("tokens", columns.expires_at)?,
        })
    }
}

/// A row of `audit_events` with any content. Text is read as bytes, because `SQLite` stores text
/// that is not UTF-8.
impl<'row, R: Row> FromRow<'row, R> for StoredAuditRow
where
    &'static str: ColumnIndex<R>,
    i64: Decode<'row, R::Database>,
    Vec<u8>: Decode<'row, R::Database>,
{
    fn from_row(row: &'row R) -> Result<Self, sqlx::Error> {
        let number = |name: &'static str| row.try_get_unchecked::<i64, _>(name);
        let text = |name: &'static str| -> Result<Option<String>, sqlx::Error> {
            let bytes: Option<Vec<u8>> = row.try_get_unchecked(name)?;
            Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let unchecked = UncheckedAuditRow {
            writer: text("writer")?.unwrap_or_default(),
            writer_sequence: number("writer_sequence")?,
            at: number("at")?,
            correlation_id: text("correlation_id")?,
            txn: text("txn")?,
            jti: text("jti")?,
            body: text("body")?.unwrap_or_default(),
            mac: row.try_get_unchecked("mac")?,
        };
        Ok(Self { id: number("id")?, row: unchecked })
    }
}

/// The last row of a writer's chain in `audit_events`.
#[derive(FromRow)]
pub(super) struct AuditHeadColumns {
    writer: String,
    writer_sequence: i64,
    mac: Vec<u8>,
}

impl From<AuditHeadColumns> for AuditHead {
    fn from(columns: AuditHeadColumns) -> Self {
        Self { writer: columns.writer, writer_sequence: columns.writer_sequence, mac: columns.mac }
    }
}

/// A row of `audit_checkpoints`.
#[derive(FromRow)]
pub(super) struct AuditCheckpointColumns {
    writer: String,
    writer_sequence: i64,
    mac: Vec<u8>,
    seal: Vec<u8>,
}

impl From<AuditCheckpointColumns> for AuditCheckpoint {
    fn from(AuditCheckpointColumns { writer, writer_sequence, mac, seal }: AuditCheckpointColumns) -> Self {
        Self { writer, writer_sequence, mac, seal }
    }
}

/// Converts a timestamp column, in milliseconds since the epoch.
pub(super) fn from_millis(table: &'static str, millis: i64) -> Result<Timestamp, StorageError> {
    Timestamp::from_millisecond(millis)
        .map_err(|error| StorageError::Malformed { table, reason: format!("time out of range: {error}") })
}

/// Converts rows as read from a database to rows of the contract.
pub(super) fn rows<Columns, Row>(columns: Vec<Columns>) -> Result<Vec<Row>, StorageError>
where
    Row: TryFrom<Columns, Error = StorageError>,
{
    columns.into_iter().map(Row::try_from).collect()
}

/// Changes that name each entry once.
pub(super) struct LastChanges<'changes> {
    pub(super) deleted: Vec<(EntryKind, &'changes str)>,
    /// The entries to insert or replace.
    pub(super) put: Vec<&'changes EntryRow>,
}

/// Keeps the last change of each entry.
pub(super) fn last_changes(changes: &[EntryChange]) -> LastChanges<'_> {
    let mut last: BTreeMap<(EntryKind, &str), Option<&EntryRow>> = BTreeMap::new();
    for change in changes {
        match change {
            EntryChange::Put(entry) => last.insert((entry.kind, &entry.id), Some(entry)),
            EntryChange::Delete(kind, id) => last.insert((*kind, id), None),
        };
    }
    LastChanges {
        deleted: last.iter().filter(|(_, entry)| entry.is_none()).map(|(name, _)| *name).collect(),
        put: last.into_values().flatten().collect(),
    }
}

/// Keeps the last row of each key.
pub(super) fn last_keys(put: &[KeyRow]) -> impl Iterator<Item = &KeyRow> {
    put.iter()
        .enumerate()
        .filter(|(index, key)| !put.iter().skip(index + 1).any(|later| later.kid == key.kid))
        .map(|(_, key)| key)
}

/// Returns the parents in a lineage. Returns `None` if the lineage has no row.
pub(super) fn ancestors(rows: Vec<(Option<String>, Option<String>)>) -> Option<Vec<TokenReference>> {
    let is_recorded = !rows.is_empty();
    let parents = rows.into_iter().filter_map(|(iss, jti)| Some(TokenReference { iss: iss?, jti: jti? }));
    is_recorded.then(|| parents.collect())
}
