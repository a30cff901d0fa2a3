//! The rows of the audit log, and the searches of it.

use jiff::Timestamp;

use super::MAC_BYTES;
use super::audit_members::{AuditField, AuditMember, SUMMARY_IDS};

/// An audit event, sealed into its writer's chain; (writer, `writer_sequence`) is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The writer whose chain contains the row.
    pub writer: String,
    /// The row's place in that chain, from 1 without gaps.
    pub writer_sequence: i64,
    /// The time of the event.
    pub at: Timestamp,
    /// The correlation id of the request. Earlier versions searched by it; the body has it too.
    pub correlation_id: Option<String>,
    /// The `txn` of the transaction, as `correlation_id`.
    pub txn: Option<String>,
    /// The `jti` of the token, as `correlation_id`.
    pub jti: Option<String>,
    /// The event as JSON: the text that the code covers.
    pub body: String,
    /// The code of this row and of the preceding row in the chain.
    pub mac: [u8; MAC_BYTES],
}

/// An audit row with its place in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuditRow {
    /// A number that grows from row to row, with gaps. The code does not cover it.
    pub id: i64,
    /// The content of the row.
    pub row: UncheckedAuditRow,
}

/// An audit row as stored. It may have been edited in the database, so nothing about it is assumed.
/// A malformed row must not hide the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncheckedAuditRow {
    /// The writer whose chain contains the row.
    pub writer: String,
    /// The row's place in that chain.
    pub writer_sequence: i64,
    /// The time of the event, in milliseconds since the epoch.
    pub at: i64,
    /// The correlation id of the request.
    pub correlation_id: Option<String>,
    /// The `txn` of the transaction.
    pub txn: Option<String>,
    /// The `jti` of the token.
    pub jti: Option<String>,
    /// The event as JSON; empty when it is longer than [`AUDIT_PAGE_BYTES`](super::AUDIT_PAGE_BYTES).
    pub body: String,
    /// The code of the row, of any length.
    pub mac: Vec<u8>,
}

impl UncheckedAuditRow {
    /// Returns the row as it was written, or `None` if no server writes such a row.
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

/// The last row of a writer's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// The writer of the chain.
    pub writer: String,
    /// The place of its last row.
    pub writer_sequence: i64,
    /// The stored code of its last row.
    pub mac: Vec<u8>,
}

/// The order of a search of the audit log, by `id`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditOrder {
    /// Events in the order in which they were committed.
    #[default]
    OldestFirst,
    /// The latest event first.
    NewestFirst,
}

/// The rows that a search by members reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuditScan {
    /// Those of segments whose summary may hold the members.
    #[default]
    Summarized,
    /// Every row. The codes do not cover summaries, and so a verification trusts none.
    EveryRow,
}

/// A selection of audit rows. An absent field selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// The order of the rows.
    pub order: AuditOrder,
    /// Only rows that follow the row with this id, in `order`.
    pub after_id: Option<i64>,
    /// Only events at or after this time.
    pub since: Option<Timestamp>,
    /// Only events at or before this time.
    pub until: Option<Timestamp>,
    /// Only events of this correlation id.
    pub correlation_id: Option<String>,
    /// Only events of this transaction.
    pub txn: Option<String>,
    /// Only events of this token.
    pub jti: Option<String>,
    /// Only events that have, of each of these lists, at least one member.
    pub members: Vec<Vec<AuditMember>>,
    /// The rows that the search reads.
    pub scan: AuditScan,
}

impl AuditFilter {
    /// Returns all members that the filter demands: of each list, at least one.
    pub(super) fn members(&self) -> Vec<Vec<AuditMember>> {
        let identifiers = [
            (AuditField::CorrelationId, &self.correlation_id),
            (AuditField::Txn, &self.txn),
            (AuditField::Jti, &self.jti),
        ];
        let named = identifiers.into_iter().filter_map(|(field, value)| Some((field, value.as_deref()?)));
        named.map(|(field, value)| vec![AuditMember::new(field, value)]).chain(self.members.iter().cloned()).collect()
    }
}

/// A page of audit rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The rows, in the order of the filter.
    pub rows: Vec<StoredAuditRow>,
    /// The `after_id` of the next page. `None` if the search has reached the end of the log.
    pub next: Option<i64>,
}

/// The last uses of delegations. Only tokens that the audit log has count as uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegationUses {
    /// The delegations that were used, with the time of the last use.
    pub used: Vec<(String, Timestamp)>,
    /// The id of the last event that is summarized. Uses in later events are in the audit log alone.
    pub counted_through: Option<i64>,
    /// False while uses in events up to that one are not counted: an earlier release summarized them.
    pub is_whole: bool,
}

impl DelegationUses {
    /// Creates the uses from their rows, and from the last segment that is summarized.
    pub(super) fn new(rows: Vec<(String, i64)>, last_summarized: Option<i64>, is_whole: bool) -> Self {
        let used = rows.into_iter().filter_map(|(id, at)| Some((id, Timestamp::from_millisecond(at).ok()?)));
        let through = |segment: i64| segment.saturating_add(1).saturating_mul(SUMMARY_IDS).saturating_sub(1);
        Self { used: used.collect(), counted_through: last_summarized.map(through), is_whole }
    }
}

/// The end of the part of a chain that was removed from the database on purpose. The chain
/// continues after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditCheckpoint {
    /// The writer of the chain; unique.
    pub writer: String,
    /// The place of the last removed row.
    pub writer_sequence: i64,
    /// The code of that row.
    pub mac: Vec<u8>,
    /// The code of this checkpoint.
    pub seal: Vec<u8>,
}
