//! The check of the audit chains.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use serde::Serialize;

use super::Event;
use super::chain::{GENESIS, code};
use crate::storage::{AuditHead, MAC_BYTES, StorageError, Store, StoredAuditRow, UncheckedAuditRow};

/// How many rows are read at once.
const PAGE: u32 = 1000;

/// What is wrong with the audit log. The first fault of every chain is named; what follows it in the chain says no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum AuditFault {
    /// A row is missing at this place of a chain: it was removed, or moved.
    Missing {
        /// The chain.
        writer: String,
        /// The first place that is empty.
        sequence: i64,
    },
    /// The row at this place was edited, moved or not written by this service.
    Altered {
        /// The chain.
        writer: String,
        /// The place.
        sequence: i64,
    },
    /// The row at this place was moved among the rows of other chains: its id does not follow that of the row before it.
    Reordered {
        /// The chain.
        writer: String,
        /// The place.
        sequence: i64,
    },
    /// The chain ends before the place that an exported head names.
    Cut {
        /// The chain.
        writer: String,
        /// The last place that is there; 0 when the whole chain is gone.
        last: i64,
        /// The place that the head names.
        head: i64,
    },
    /// The row at the place of an exported head is another one.
    Replaced {
        /// The chain.
        writer: String,
        /// The place.
        sequence: i64,
    },
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// How many chains there are.
    pub writers: usize,
    /// How many rows were read.
    pub rows: u64,
    /// What is wrong, in the order of the chains.
    pub faults: Vec<AuditFault>,
}

/// Reads the whole audit log and checks every chain, and the log against heads that were exported earlier. A chain is written under one
/// of the keys, from its first row to its last.
///
/// # Errors
/// [`StorageError`] when the log cannot be read to its end.
pub async fn verify(store: &dyn Store, keys: &[hmac::Key], heads: &[AuditHead]) -> Result<AuditReport, StorageError> {
    let mut check = Check::new(keys, heads);
    let mut after: Option<(String, i64)> = None;
    loop {
        let place = after.as_ref().map(|(writer, sequence)| (writer.as_str(), *sequence));
        let rows = store.audit_chain(place, PAGE).await?;
        let Some(last) = rows.last() else { break };
        let next = Some((last.row.writer.clone(), last.row.writer_sequence));
        for stored in &rows {
            check.row(stored);
        }
        // The name of a writer may be bytes that are no text: reading on from it would begin with it again.
        if after == next {
            break;
        }
        after = next;
    }
    Ok(check.finish())
}

struct Check<'a> {
    keys: &'a [hmac::Key],
    heads: HashMap<&'a str, &'a AuditHead>,
    chain: Option<Chain<'a>>,
    report: AuditReport,
}

struct Chain<'a> {
    /// The key that its first row was written under; none of the keys, if there is none.
    key: Option<&'a hmac::Key>,
    writer: String,
    sequence: i64,
    id: i64,
    last: [u8; MAC_BYTES],
    faulty: bool,
}

impl<'a> Check<'a> {
    fn new(keys: &'a [hmac::Key], heads: &'a [AuditHead]) -> Self {
        let heads = heads.iter().map(|head| (head.writer.as_str(), head)).collect();
        Self { keys, heads, chain: None, report: AuditReport { writers: 0, rows: 0, faults: Vec::new() } }
    }

    fn row(&mut self, stored: &StoredAuditRow) {
        let row = &stored.row;
        self.report.rows += 1;
        let mut chain = match self.chain.take() {
            Some(chain) if chain.writer == row.writer => chain,
            finished => {
                self.end(finished);
                self.report.writers += 1;
                self.begin(row)
            }
        };
        let fault = if chain.faulty { None } else { self.fault(&chain, stored) };
        chain.faulty |= fault.is_some();
        self.report.faults.extend(fault);
        chain.sequence = row.writer_sequence;
        chain.id = stored.id;
        chain.last = row.mac.as_slice().try_into().unwrap_or(GENESIS);
        self.chain = Some(chain);
    }

    fn begin(&self, row: &UncheckedAuditRow) -> Chain<'a> {
        let writes =
            |key: &&hmac::Key| code(key, &row.writer, row.writer_sequence, &GENESIS, &row.body).as_slice() == row.mac;
        let key = self.keys.iter().find(writes);
        Chain { key, writer: row.writer.clone(), sequence: 0, id: i64::MIN, last: GENESIS, faulty: false }
    }

    fn fault(&self, chain: &Chain<'_>, stored: &StoredAuditRow) -> Option<AuditFault> {
        let row = &stored.row;
        let (writer, sequence) = (row.writer.clone(), row.writer_sequence);
        let due = chain.sequence.saturating_add(1);
        if sequence != due {
            return Some(AuditFault::Missing { writer, sequence: due });
        }
        let expected = chain.key.map(|key| code(key, &writer, sequence, &chain.last, &row.body));
        let is_genuine = expected.is_some_and(|expected| expected.as_slice() == row.mac);
        if !is_genuine || event_of(row).is_none() {
            return Some(AuditFault::Altered { writer, sequence });
        }
        if stored.id <= chain.id {
            return Some(AuditFault::Reordered { writer, sequence });
        }
        let head = self.heads.get(writer.as_str());
        if head.is_some_and(|head| head.writer_sequence == sequence && head.mac != row.mac) {
            return Some(AuditFault::Replaced { writer, sequence });
        }
        None
    }

    /// A chain is read to its end: it must reach as far as its head says.
    fn end(&mut self, chain: Option<Chain<'_>>) {
        let Some(chain) = chain else { return };
        let Some(head) = self.heads.remove(chain.writer.as_str()) else { return };
        if chain.sequence < head.writer_sequence && !chain.faulty {
            let (last, head) = (chain.sequence, head.writer_sequence);
            self.report.faults.push(AuditFault::Cut { writer: chain.writer, last, head });
        }
    }

    fn finish(mut self) -> AuditReport {
        let last = self.chain.take();
        self.end(last);
        let mut gone: Vec<_> = self.heads.into_values().collect();
        gone.sort_by(|left, right| left.writer.cmp(&right.writer));
        self.report.faults.extend(gone.into_iter().map(|head| AuditFault::Cut {
            writer: head.writer.clone(),
            last: 0,
            head: head.writer_sequence,
        }));
        self.report
    }
}

/// The event of a row; none of a row that no version of this service writes: one without an event or without a code, or one whose
/// columns for search, which the code does not cover, say something else than its event. The code itself is not checked.
#[must_use]
pub fn event_of(row: &UncheckedAuditRow) -> Option<Event> {
    let event: Event = serde_json::from_str(&row.body).ok()?;
    let agree = event.at.as_millisecond() == row.at
        && event.correlation_id == row.correlation_id
        && event.txn == row.txn
        && event.jti == row.jti;
    (agree && row.mac.len() == MAC_BYTES).then_some(event)
}
