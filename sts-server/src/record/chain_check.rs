//! The check of audit chains, row by row.

use std::collections::HashMap;

use aws_lc_rs::{digest, hmac};
use sts_jose::hex;

use super::audit_fault::{AuditFault, event_of};
use super::chain::{GENESIS, code, open_checkpoint};
use crate::storage::{AuditCheckpoint, MAC_BYTES, StoredAuditRow};

/// The place in a chain up to which its rows were checked.
#[derive(Debug)]
pub(super) struct ChainCheck<'a> {
    keys: &'a [hmac::Key],
    /// The key of the chain; `None` before its first genuine row.
    key: Option<&'a hmac::Key>,
    sequence: i64,
    id: i64,
    last: [u8; MAC_BYTES],
}

/// A fault, and the digest of its place and of the row that shows it. Another place and a further
/// edit of the row are other faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) fault: AuditFault,
    pub(super) evidence: String,
}

impl<'a> ChainCheck<'a> {
    /// Starts the check of a chain after the row at `sequence`, which has the code `last`.
    pub(super) fn after(keys: &'a [hmac::Key], (sequence, last): (i64, [u8; MAC_BYTES])) -> Self {
        Self { keys, key: None, sequence, id: i64::MIN, last }
    }

    /// Starts the check of a chain at its first row.
    pub(super) fn of_whole(keys: &'a [hmac::Key]) -> Self {
        Self::after(keys, (0, GENESIS))
    }

    /// Returns the place of the last row.
    pub(super) fn sequence(&self) -> i64 {
        self.sequence
    }

    /// Returns the place and the code of the last row.
    pub(super) fn end(&self) -> (i64, [u8; MAC_BYTES]) {
        (self.sequence, self.last)
    }

    /// Checks the next row. After a fault, the check continues behind the faulty row.
    pub(super) fn row(&mut self, stored: &StoredAuditRow) -> Option<Finding> {
        let row = &stored.row;
        let fault = self.fault(stored);
        self.sequence = row.writer_sequence;
        self.id = stored.id;
        self.last = row.mac.as_slice().try_into().unwrap_or(GENESIS);
        fault.map(|fault| Finding { evidence: evidence(&fault, stored), fault })
    }

    fn fault(&mut self, stored: &StoredAuditRow) -> Option<AuditFault> {
        let row = &stored.row;
        let (writer, sequence) = (row.writer.clone(), row.writer_sequence);
        let due = self.sequence.saturating_add(1);
        if sequence != due {
            return Some(AuditFault::Missing { writer, sequence: due });
        }
        let is_genuine = |key: &&hmac::Key| code(key, &writer, sequence, &self.last, &row.body).as_slice() == row.mac;
        match self.key {
            Some(key) if is_genuine(&key) => {}
            Some(_) => return Some(AuditFault::Altered { writer, sequence }),
            None => match self.keys.iter().find(is_genuine) {
                Some(key) => self.key = Some(key),
                None => return Some(AuditFault::Altered { writer, sequence }),
            },
        }
        if event_of(row).is_none() {
            return Some(AuditFault::Altered { writer, sequence });
        }
        (stored.id <= self.id).then_some(AuditFault::Reordered { writer, sequence })
    }
}

/// The checks of all chains, whose rows come in the order of the log.
#[derive(Debug)]
pub(super) struct ChainChecks<'a> {
    keys: &'a [hmac::Key],
    chains: HashMap<String, ChainCheck<'a>>,
}

impl<'a> ChainChecks<'a> {
    /// Starts the check of each chain after its checkpoint, or at its first row.
    pub(super) fn after(keys: &'a [hmac::Key], checkpoints: &[AuditCheckpoint]) -> Self {
        let mut checks = Self { keys, chains: HashMap::new() };
        for checkpoint in checkpoints {
            if let Some(end) = open_checkpoint(keys, checkpoint) {
                checks.begin(checkpoint.writer.clone(), end);
            }
        }
        checks
    }

    /// Starts the check of a chain after the row at this place, which has this code.
    pub(super) fn begin(&mut self, writer: String, end: (i64, [u8; MAC_BYTES])) {
        self.chains.insert(writer, ChainCheck::after(self.keys, end));
    }

    /// Checks the next row of the log.
    pub(super) fn row(&mut self, stored: &StoredAuditRow) -> Option<Finding> {
        let chain = self.chains.entry(stored.row.writer.clone()).or_insert_with(|| ChainCheck::of_whole(self.keys));
        chain.row(stored)
    }

    /// Returns the place and the code of the last row of a chain, or `None` for an unknown chain.
    pub(super) fn end(&self, writer: &str) -> Option<(i64, [u8; MAC_BYTES])> {
        self.chains.get(writer).map(ChainCheck::end)
    }

    /// Returns the number of chains.
    pub(super) fn count(&self) -> usize {
        self.chains.len()
    }
}

/// The bytes of an absent column. No text has them.
const ABSENT: &[u8] = &[0xff];

/// Returns the digest of a fault and of the row that shows it, with every column: the code of the
/// row covers neither its id nor its search columns.
pub(super) fn evidence(fault: &AuditFault, stored: &StoredAuditRow) -> String {
    let row = &stored.row;
    let column = |text: &'_ Option<String>| text.clone().map_or_else(|| ABSENT.to_vec(), String::into_bytes);
    let [name, writer, sequence, last] = parts_of(fault);
    digest_of(&[
        &name,
        &writer,
        &sequence,
        &last,
        &stored.id.to_be_bytes(),
        row.writer.as_bytes(),
        &row.writer_sequence.to_be_bytes(),
        &row.at.to_be_bytes(),
        &column(&row.correlation_id),
        &column(&row.txn),
        &column(&row.jti),
        &row.mac,
        row.body.as_bytes(),
    ])
}

/// Returns the digest of a fault that no row shows.
pub(super) fn evidence_alone(fault: &AuditFault) -> String {
    let [name, writer, sequence, last] = parts_of(fault);
    digest_of(&[&name, &writer, &sequence, &last])
}

/// Returns the bytes of a fault. The log holds digests of them, and so they never change.
fn parts_of(fault: &AuditFault) -> [Vec<u8>; 4] {
    let (writer, sequence) = fault.row();
    let last = match fault {
        AuditFault::Cut { last, .. } => last.to_be_bytes().to_vec(),
        AuditFault::Missing { .. }
        | AuditFault::Altered { .. }
        | AuditFault::Reordered { .. }
        | AuditFault::Replaced { .. } => ABSENT.to_vec(),
    };
    [fault.name().into(), writer.into(), sequence.to_be_bytes().to_vec(), last]
}

fn digest_of(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    hex(context.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::UncheckedAuditRow;

    /// The log holds such digests: another version must find the same.
    #[test]
    fn evidence_never_changes() {
        let cut = AuditFault::Cut { writer: "w".to_owned(), last: 3, head: 9 };
        assert_eq!(evidence_alone(&cut), "e9eeaa1aa38da2424e4d746dbf34c38246b4d55893abc32dee708be06104c1b8");
        let missing = AuditFault::Missing { writer: "w".to_owned(), sequence: 2 };
        let row = UncheckedAuditRow {
            writer: "w".to_owned(),
            writer_sequence: 3,
            at: 1000,
            correlation_id: None,
            txn: Some("t".to_owned()),
            jti: None,
            body: "{}".to_owned(),
            mac: vec![0; MAC_BYTES],
        };
        let evidence = evidence(&missing, &StoredAuditRow { id: 7, row });
        assert_eq!(evidence, "001863be750df714b03906144e3fc78cc099d299bbd12345f9cb84118290965c");
    }
}
