//! The verification of the audit chains.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use serde::Serialize;

use super::Event;
use super::chain::{GENESIS, code};
use crate::storage::{AuditHead, MAC_BYTES, StorageError, Store, StoredAuditRow, UncheckedAuditRow};

/// The number of rows read at once.
const PAGE: u32 = 1000;

/// A fault of the audit log. Only the first fault of every chain is reported, because later rows of
/// the chain prove nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum AuditFault {
    /// A row is missing at this place of a chain, because it was removed or moved.
    Missing {
        /// The name of the chain.
        writer: String,
        /// The first empty place.
        sequence: i64,
    },
    /// The row at this place was edited, moved or not written by this service.
    Altered {
        /// The name of the chain.
        writer: String,
        /// The place of the row.
        sequence: i64,
    },
    /// The row at this place was moved among the rows of other chains: its id does not follow the
    /// preceding row's.
    Reordered {
        /// The name of the chain.
        writer: String,
        /// The place of the row.
        sequence: i64,
    },
    /// The chain ends before the place of an exported head.
    Cut {
        /// The name of the chain.
        writer: String,
        /// The last existing place; 0 if the whole chain is gone.
        last: i64,
        /// The place of the exported head.
        head: i64,
    },
    /// The row at the place of an exported head is a different row.
    Replaced {
        /// The name of the chain.
        writer: String,
        /// The place of the row.
        sequence: i64,
    },
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// The number of chains.
    pub writers: usize,
    /// The number of rows read.
    pub rows: u64,
    /// The faults, in the order of the chains.
    pub faults: Vec<AuditFault>,
}

/// Reads the whole audit log and verifies every chain, also against heads that were exported
/// earlier. A single key covers a chain from its first row to its last.
///
/// # Errors
/// [`StorageError`] if the whole log cannot be read.
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
        // A writer's name may be bytes that are not text. Reading on from it would return the same
        // page again.
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
    /// The key of the chain's first row; `None` if none of the keys fits.
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

    /// Ends a chain and checks that it reaches the place of its exported head.
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

/// Returns the event of a row, or `None` if no version of this service writes such a row.
///
/// Such a row has no event or no code, or its search columns contradict its event; the code does
/// not cover these columns. This function does not check the code itself.
#[must_use]
pub fn event_of(row: &UncheckedAuditRow) -> Option<Event> {
    let event: Event = serde_json::from_str(&row.body).ok()?;
    let agree = event.at.as_millisecond() == row.at
        && event.correlation_id == row.correlation_id
        && event.txn == row.txn
        && event.jti == row.jti;
    (agree && row.mac.len() == MAC_BYTES).then_some(event)
}
