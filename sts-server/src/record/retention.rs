//! The removal of old events from the audit log.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use thiserror::Error;

use super::chain::{checkpoint, open_checkpoint};
use super::chain_check::{ChainCheck, Finding};
use super::verify::acknowledged;
use super::{AuditFault, Event};
use crate::storage::{AuditCheckpoint, AuditFilter, StorageError, Store, StoredAuditRow};

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
/// Several servers may shorten the log at once. A server that finds another at work returns, and
/// its next call continues.
///
/// # Errors
/// [`RetentionError`]; the rows removed until then stay removed, and the log verifies.
pub async fn shorten(store: &dyn Store, keys: &[hmac::Key], before: Timestamp) -> Result<u64, RetentionError> {
    let mut removal = Removal { store, keys, acknowledged: None };
    let mut removed: u64 = 0;
    for _ in 0..PORTIONS {
        let mut rows = store.audit(&AuditFilter::default(), PORTION).await?.rows;
        let old = rows.iter().take_while(|stored| time_of(stored) < before.as_millisecond()).count();
        let is_last = old < rows.len();
        rows.truncate(old);
        let Some(last) = rows.last() else { break };
        let Some(checkpoints) = removal.checkpoints(&rows).await? else { break };
        let count = store.cut_audit(last.id, &checkpoints).await?;
        removed = removed.saturating_add(count);
        if is_last || usize::try_from(count).is_ok_and(|count| count < rows.len()) {
            break;
        }
    }
    Ok(removed)
}

/// Returns the time of an event, in milliseconds since the epoch. Prefers the body, which the code
/// covers, to the column.
fn time_of(stored: &StoredAuditRow) -> i64 {
    let event: Option<Event> = serde_json::from_str(&stored.row.body).ok();
    event.map_or(stored.row.at, |event| event.at.as_millisecond())
}

struct Removal<'a> {
    store: &'a dyn Store,
    keys: &'a [hmac::Key],
    /// The evidence of the acknowledged faults, read when there is a fault.
    acknowledged: Option<HashSet<String>>,
}

impl<'a> Removal<'a> {
    /// Verifies the first rows of the log. Returns the checkpoints after them, or `None` if another
    /// server has removed some of them meanwhile.
    async fn checkpoints(&mut self, rows: &[StoredAuditRow]) -> Result<Option<Vec<AuditCheckpoint>>, RetentionError> {
        let Some(key) = self.keys.first() else { return Ok(None) };
        let mut chains = self.cut_chains().await?;
        let mut findings = Vec::new();
        let mut cut: HashSet<&str> = HashSet::new();
        for stored in rows {
            let writer = stored.row.writer.as_str();
            let chain = chains.entry(writer.to_owned()).or_insert_with(|| ChainCheck::of_whole(self.keys));
            findings.extend(chain.row(stored));
            cut.insert(writer);
        }
        // The checkpoints were read after the rows. If another server cut the log in between, they do
        // not fit: then the first row is gone, because every cut begins there.
        if !findings.is_empty() && !self.is_first(rows.first()).await? {
            return Ok(None);
        }
        self.refuse_unknown(findings).await?;
        let sealed = |writer: &str| {
            let (sequence, mac) = chains.get(writer)?.end();
            Some(checkpoint(key, writer, sequence, &mac))
        };
        Ok(Some(cut.into_iter().filter_map(sealed).collect()))
    }

    /// Returns the ends of the removed parts of all chains.
    async fn cut_chains(&self) -> Result<HashMap<String, ChainCheck<'a>>, StorageError> {
        let chain = |checkpoint| {
            let end = open_checkpoint(self.keys, &checkpoint)?;
            Some((checkpoint.writer, ChainCheck::after(self.keys, end)))
        };
        Ok(self.store.audit_checkpoints().await?.into_iter().filter_map(chain).collect())
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
