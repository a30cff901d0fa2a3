//! The verification of the audit chains.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::hmac;
use serde::Serialize;

use super::EventKind;
use super::audit_fault::{AuditFault, event_of};
use super::chain::open_checkpoint;
use super::chain_check::{ChainCheck, Finding, evidence, evidence_alone};
use crate::storage::{
    AuditCheckpoint, AuditField, AuditFilter, AuditHead, AuditMember, AuditScan, MAC_BYTES, StorageError, Store,
    StoredAuditRow, UncheckedAuditRow,
};

/// The number of rows read at once.
const PAGE: u32 = 1000;

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// The number of chains.
    pub writers: usize,
    /// The number of rows read.
    pub rows: u64,
    /// The faults, in the order of the chains.
    pub faults: Vec<AuditFault>,
    /// The faults that an operator has acknowledged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acknowledged: Vec<AuditFault>,
    /// The evidence of each of `faults`, which an acknowledgement names.
    #[serde(skip)]
    pub evidence: Vec<String>,
}

/// Reads the whole audit log and verifies every chain, also against heads that were exported
/// earlier. A chain begins at its first row, or after its checkpoint. A single key covers it from
/// there to its last row.
///
/// # Errors
/// [`StorageError`] if the whole log cannot be read.
pub async fn verify(store: &dyn Store, keys: &[hmac::Key], heads: &[AuditHead]) -> Result<AuditReport, StorageError> {
    let mut known = checkpoints(store).await?;
    loop {
        let found = read(store, Check::new(keys, heads, &known)).await?;
        if found.findings.is_empty() {
            return Ok(found.report(&HashSet::new()));
        }
        // A server may have cut the log meanwhile, which looks like missing rows.
        let latest = checkpoints(store).await?;
        if latest == known {
            return Ok(found.report(&acknowledged(store, keys).await?));
        }
        known = latest;
    }
}

/// Returns the checkpoints of all chains, read in pages.
pub(super) async fn checkpoints(store: &dyn Store) -> Result<Vec<AuditCheckpoint>, StorageError> {
    let mut checkpoints: Vec<AuditCheckpoint> = Vec::new();
    loop {
        let after = checkpoints.last().map(|checkpoint| checkpoint.writer.clone());
        let page = store.audit_checkpoints(after.as_deref(), PAGE).await?;
        let is_last = page.last().is_none_or(|last| Some(&last.writer) == after.as_ref());
        checkpoints.extend(page);
        if is_last {
            return Ok(checkpoints);
        }
    }
}

async fn read<'a>(store: &dyn Store, mut check: Check<'a>) -> Result<Check<'a>, StorageError> {
    let mut after: Option<(String, i64)> = None;
    loop {
        let place = after.as_ref().map(|(writer, sequence)| (writer.as_str(), *sequence));
        let rows = store.audit_chain(place, PAGE).await?;
        let Some(last) = rows.last() else { break };
        let next = Some((last.row.writer.clone(), last.row.writer_sequence));
        for stored in &rows {
            check.row(stored);
        }
        // A writer's name may be bytes that are not text. Reading on from it would return the same
        // page again.
        if after == next {
            break;
        }
        after = next;
    }
    check.finish();
    Ok(check)
}

/// Returns the evidence of all faults that operators have acknowledged. An acknowledgement is the
/// first row of its chain, and genuine.
pub(super) async fn acknowledged(store: &dyn Store, keys: &[hmac::Key]) -> Result<HashSet<String>, StorageError> {
    let kind = AuditMember::new(AuditField::Event, EventKind::AuditAcknowledged.as_str());
    let mut filter = AuditFilter { members: vec![vec![kind]], scan: AuditScan::EveryRow, ..AuditFilter::default() };
    let mut evidence = HashSet::new();
    loop {
        let page = store.audit(&filter, PAGE).await?;
        for stored in &page.rows {
            if ChainCheck::of_whole(keys).row(stored).is_none() {
                evidence.extend(event_of(&stored.row).and_then(|event| event.evidence));
            }
        }
        filter.after_id = page.next;
        if page.next.is_none() {
            return Ok(evidence);
        }
    }
}

/// The maximum number of faults of a chain that are kept. The last one is reported even if all
/// others were acknowledged.
const FAULTS: usize = 64;

struct Check<'a> {
    keys: &'a [hmac::Key],
    heads: HashMap<&'a str, &'a AuditHead>,
    /// The end of the removed part of each chain that was cut.
    cut: HashMap<&'a str, (i64, [u8; MAC_BYTES])>,
    chain: Option<Chain<'a>>,
    writers: usize,
    rows: u64,
    /// The faults of each faulty chain.
    findings: Vec<Vec<Finding>>,
}

struct Chain<'a> {
    writer: String,
    check: ChainCheck<'a>,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    fn new(keys: &'a [hmac::Key], heads: &'a [AuditHead], checkpoints: &'a [AuditCheckpoint]) -> Self {
        let heads = heads.iter().map(|head| (head.writer.as_str(), head)).collect();
        let opened = |checkpoint: &'a AuditCheckpoint| {
            open_checkpoint(keys, checkpoint).map(|end| (checkpoint.writer.as_str(), end))
        };
        let cut = checkpoints.iter().filter_map(opened).collect();
        Self { keys, heads, cut, chain: None, writers: 0, rows: 0, findings: Vec::new() }
    }

    fn row(&mut self, stored: &StoredAuditRow) {
        let row = &stored.row;
        self.rows += 1;
        let mut chain = match self.chain.take() {
            Some(chain) if chain.writer == row.writer => chain,
            finished => {
                self.end(finished);
                self.writers += 1;
                self.begin(row)
            }
        };
        let finding = chain.check.row(stored).or_else(|| self.replaced(stored));
        if chain.findings.len() < FAULTS {
            chain.findings.extend(finding);
        }
        self.chain = Some(chain);
    }

    fn begin(&self, row: &UncheckedAuditRow) -> Chain<'a> {
        let check = match self.cut.get(row.writer.as_str()) {
            Some(end) => ChainCheck::after(self.keys, *end),
            None => ChainCheck::of_whole(self.keys),
        };
        Chain { writer: row.writer.clone(), check, findings: Vec::new() }
    }

    /// Returns the fault of a row at the place of an exported head that is a different row.
    fn replaced(&self, stored: &StoredAuditRow) -> Option<Finding> {
        let row = &stored.row;
        let head = self.heads.get(row.writer.as_str())?;
        if head.writer_sequence != row.writer_sequence || head.mac == row.mac {
            return None;
        }
        let fault = AuditFault::Replaced { writer: row.writer.clone(), sequence: row.writer_sequence };
        Some(Finding { evidence: evidence(&fault, stored), fault })
    }

    /// Ends a chain and checks that it reaches the place of its exported head.
    fn end(&mut self, chain: Option<Chain<'_>>) {
        let Some(Chain { writer, check, mut findings }) = chain else { return };
        if let Some(head) = self.heads.remove(writer.as_str())
            && check.sequence() < head.writer_sequence
        {
            let fault = AuditFault::Cut { writer, last: check.sequence(), head: head.writer_sequence };
            findings.push(Finding { evidence: evidence_alone(&fault), fault });
        }
        self.findings.extend(Some(findings).filter(|findings| !findings.is_empty()));
    }

    /// Ends the last chain, and finds the exported heads whose whole chain is gone.
    fn finish(&mut self) {
        let last = self.chain.take();
        self.end(last);
        let mut gone: Vec<_> = std::mem::take(&mut self.heads).into_values().collect();
        gone.sort_by(|left, right| left.writer.cmp(&right.writer));
        for head in gone {
            let is_removed = |(sequence, mac): &(i64, [u8; MAC_BYTES])| {
                *sequence > head.writer_sequence || (*sequence == head.writer_sequence && mac.as_slice() == head.mac)
            };
            if !self.cut.get(head.writer.as_str()).is_some_and(is_removed) {
                let fault = AuditFault::Cut { writer: head.writer.clone(), last: 0, head: head.writer_sequence };
                self.findings.push(vec![Finding { evidence: evidence_alone(&fault), fault }]);
            }
        }
    }

    /// Returns the report, given the evidence of the acknowledged faults.
    fn report(self, known: &HashSet<String>) -> AuditReport {
        let mut report = AuditReport {
            writers: self.writers,
            rows: self.rows,
            faults: Vec::new(),
            acknowledged: Vec::new(),
            evidence: Vec::new(),
        };
        for findings in self.findings {
            let is_known = |finding: &Finding| known.contains(&finding.evidence);
            let first = findings.iter().position(|finding| !is_known(finding));
            let first = first.or((findings.len() >= FAULTS).then_some(FAULTS - 1));
            for (index, Finding { fault, evidence }) in findings.into_iter().enumerate() {
                if Some(index) == first {
                    report.faults.push(fault);
                    report.evidence.push(evidence);
                    break;
                }
                report.acknowledged.push(fault);
            }
        }
        report
    }
}
