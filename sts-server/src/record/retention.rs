//! The removal of old events from the audit log.

use std::collections::{BTreeSet, HashMap, HashSet};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use thiserror::Error;

use super::AuditFault;
use super::chain::checkpoint;
use super::chain_check::{ChainChecks, Finding};
use super::verify::acknowledged;
use crate::storage::{AuditCheckpoint, AuditFilter, AuditOrder, MAC_BYTES, StorageError, Store, StoredAuditRow};

/// The number of rows that are removed in a transaction.
const PORTION: u32 = 1000;
/// The maximum number of portions that a call removes. The next call continues.
const PORTIONS: u32 = 200;

/// Old events were not removed.
#[derive(Debug, Error)]
pub enum RetentionError {
    /// The database failed.
    #[error("the audit log cannot be shortened")]
    Storage(#[from] StorageError),
    /// A row does not verify. It is kept as evidence, and so is every later row.
    #[error(
        "the audit log has a fault at row {}:{}, so it is not shortened: see `sts-server audit verify`; after the fault is explained, `sts-server audit acknowledge` lets the removal continue",
        .0.row().0, .0.row().1
    )]
    Fault(AuditFault),
}

/// Removes the rows at the beginning of the log whose events are older than `before`.
///
/// The rows are verified first. Each cut chain gets a checkpoint, sealed under the first key, after
/// which it verifies as before. Removes at most 200,000 rows. Returns the number of removed rows.
///
/// The newest row stays: `SQLite` would give its id to the next one, and followers would miss it.
///
/// Several servers may shorten the log at once. A server that finds another at work returns, and
/// its next call continues.
///
/// # Errors
/// [`RetentionError`]; the rows removed until then stay removed, and the log verifies.
pub async fn shorten(store: &dyn Store, keys: &[hmac::Key], before: Timestamp) -> Result<u64, RetentionError> {
    let newest = AuditFilter { order: AuditOrder::NewestFirst, ..AuditFilter::default() };
    let newest = store.audit(&newest, 1).await?.rows.first().map_or(i64::MIN, |stored| stored.id);
    let mut removal = Removal { store, keys, before, newest, acknowledged: None };
    let mut removed: u64 = 0;
    for _ in 0..PORTIONS {
        let rows = store.audit(&AuditFilter::default(), PORTION).await?.rows;
        let Some(portion) = removal.portion(&rows).await? else { break };
        let count = store.cut_audit(portion.through_id, &portion.checkpoints).await?;
        removed = removed.saturating_add(count);
        if count < portion.rows {
            break;
        }
    }
    Ok(removed)
}

/// Returns true if a row without a fault is not older than `before`. Its column agrees with its
/// event, which the code covers.
///
/// A row with a fault may show any time: its age is taken to be that of the row before it.
pub(super) fn is_recent(stored: &StoredAuditRow, finding: Option<&Finding>, before: Timestamp) -> bool {
    finding.is_none() && stored.row.at >= before.as_millisecond()
}

struct Removal<'a> {
    store: &'a dyn Store,
    keys: &'a [hmac::Key],
    before: Timestamp,
    /// The id of the newest row.
    newest: i64,
    /// The evidence of the acknowledged faults, read when there is a fault.
    acknowledged: Option<HashSet<String>>,
}

/// Rows at the beginning of the log that are to be removed.
struct Portion {
    through_id: i64,
    rows: u64,
    checkpoints: Vec<AuditCheckpoint>,
}

impl Removal<'_> {
    /// Returns the old ones of the first rows of the log, after it has verified them. Returns `None`
    /// if there are none, or if another server has removed some of them meanwhile.
    async fn portion(&mut self, rows: &[StoredAuditRow]) -> Result<Option<Portion>, RetentionError> {
        let writers: BTreeSet<&str> = rows.iter().map(|stored| stored.row.writer.as_str()).collect();
        let writers: Vec<&str> = writers.into_iter().collect();
        let mut chains = ChainChecks::after(self.keys, &self.store.audit_checkpoints_of(&writers).await?);
        let mut findings = Vec::new();
        let mut ends: HashMap<&str, (i64, [u8; MAC_BYTES])> = HashMap::new();
        let mut portion = Portion { through_id: i64::MIN, rows: 0, checkpoints: Vec::new() };
        for stored in rows {
            if stored.id >= self.newest {
                break;
            }
            let finding = chains.row(stored);
            if is_recent(stored, finding.as_ref(), self.before) {
                break;
            }
            let writer = stored.row.writer.as_str();
            ends.extend(chains.end(writer).map(|end| (writer, end)));
            findings.extend(finding);
            portion.rows = portion.rows.saturating_add(1);
            portion.through_id = stored.id;
        }
        // The checkpoints were read after the rows. If another server cut the log in between, they do
        // not fit: then the first row is gone, because every cut begins there.
        if !findings.is_empty() && !self.is_first(rows.first()).await? {
            return Ok(None);
        }
        self.refuse_unknown(findings).await?;
        let Some(key) = self.keys.first().filter(|_| portion.rows > 0) else { return Ok(None) };
        let sealed =
            |(writer, (sequence, mac)): (&str, (i64, [u8; MAC_BYTES]))| checkpoint(key, writer, sequence, &mac);
        portion.checkpoints = ends.into_iter().map(sealed).collect();
        Ok(Some(portion))
    }

    /// Returns true if the log begins with this row.
    async fn is_first(&self, row: Option<&StoredAuditRow>) -> Result<bool, StorageError> {
        let page = self.store.audit(&AuditFilter::default(), 1).await?;
        Ok(page.rows.first().map(|first| first.id) == row.map(|row| row.id))
    }

    /// Fails on the first fault that no operator has acknowledged.
    async fn refuse_unknown(&mut self, findings: Vec<Finding>) -> Result<(), RetentionError> {
        for finding in findings {
            let known = match &self.acknowledged {
                Some(known) => known,
                None => self.acknowledged.insert(acknowledged(self.store, self.keys).await?),
            };
            if !known.contains(&finding.evidence) {
                return Err(RetentionError::Fault(finding.fault));
            }
        }
        Ok(())
    }
}
