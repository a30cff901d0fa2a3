//! The removal of old events from the audit log.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::hmac;
use jiff::Timestamp;
use thiserror::Error;

use super::chain::{checkpoint, open_checkpoint};
use super::chain_check::ChainCheck;
use super::verify::acknowledged;
use super::{AuditFault, Event};
use crate::storage::{AuditFilter, StorageError, Store, StoredAuditRow};

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
/// # Errors
/// [`RetentionError`]; the rows removed until then stay removed, and the log verifies.
pub async fn shorten(store: &dyn Store, keys: &[hmac::Key], before: Timestamp) -> Result<u64, RetentionError> {
    let mut removed: u64 = 0;
    let mut chains = None;
    for _ in 0..PORTIONS {
        let mut rows = store.audit(&AuditFilter::default(), PORTION).await?.rows;
        let old = rows.iter().take_while(|stored| time_of(stored) < before.as_millisecond()).count();
        let is_last = old < rows.len();
        rows.truncate(old);
        if rows.is_empty() {
            break;
        }
        let chains = match &mut chains {
            Some(chains) => chains,
            none => none.insert(cut_chains(store, keys).await?),
        };
        removed = removed.saturating_add(remove(store, keys, chains, &rows).await?);
        if is_last {
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

/// Returns the ends of the removed parts of all chains.
async fn cut_chains<'a>(
    store: &dyn Store,
    keys: &'a [hmac::Key],
) -> Result<HashMap<String, ChainCheck<'a>>, StorageError> {
    let chain = |checkpoint| {
        let end = open_checkpoint(keys, &checkpoint)?;
        Some((checkpoint.writer, ChainCheck::after(keys, end)))
    };
    Ok(store.audit_checkpoints().await?.into_iter().filter_map(chain).collect())
}

/// Verifies and removes one portion of rows.
async fn remove<'a>(
    store: &dyn Store,
    keys: &'a [hmac::Key],
    chains: &mut HashMap<String, ChainCheck<'a>>,
    rows: &[StoredAuditRow],
) -> Result<u64, RetentionError> {
    let mut known = None;
    let mut cut: HashSet<&str> = HashSet::new();
    for stored in rows {
        let writer = stored.row.writer.as_str();
        let chain = chains.entry(writer.to_owned()).or_insert_with(|| ChainCheck::of_whole(keys));
        if let Some(finding) = chain.row(stored) {
            let known = match &known {
                Some(known) => known,
                None => known.insert(acknowledged(store, keys).await?),
            };
            if !known.contains(&finding.evidence) {
                return Err(RetentionError::Fault(finding.fault));
            }
        }
        cut.insert(writer);
    }
    let (Some(last), Some(key)) = (rows.last(), keys.first()) else { return Ok(0) };
    let sealed = |writer: &&str| {
        let (sequence, mac) = chains.get(*writer)?.end();
        Some(checkpoint(key, writer, sequence, &mac))
    };
    let checkpoints: Vec<_> = cut.iter().filter_map(sealed).collect();
    Ok(store.cut_audit(last.id, &checkpoints).await?)
}
