//! The chain of audit rows: each row bears a code over itself and the row before it.
//!
//! Every recorder writes a chain of its own, so that no two wait for each other, and so does whatever happens outside of one. The key of the code is derived from the master
//! key: whoever can only write the database can neither alter, insert, move nor remove a row of a chain unseen, save at its end;
//! an exported head finds that too.

use aws_lc_rs::hmac;
use sts_jose::Entropy;

use super::{Event, bounds};
use crate::storage::{AuditRow, MAC_BYTES};

/// The code before the first row.
pub(super) const GENESIS: [u8; MAC_BYTES] = [0; MAC_BYTES];

const DOMAIN: &[u8] = b"agent-sts audit 1";
const WRITER_BYTES: usize = 16;

/// The end of a chain that grows.
pub struct AuditWriter {
    key: hmac::Key,
    writer: String,
    end: ChainEnd,
}

/// The last row of a chain.
#[derive(Clone, Copy)]
pub(super) struct ChainEnd {
    sequence: i64,
    mac: [u8; MAC_BYTES],
}

impl AuditWriter {
    /// Begins a new chain with a random name.
    #[must_use]
    pub fn new(key: hmac::Key, entropy: &dyn Entropy) -> Self {
        let mut name = [0_u8; WRITER_BYTES];
        entropy.fill(&mut name);
        Self {
            key,
            writer: uuid::Uuid::from_bytes(name).simple().to_string(),
            end: ChainEnd { sequence: 0, mac: GENESIS },
        }
    }

    /// Where the chain ends now.
    pub(super) fn end(&self) -> ChainEnd {
        self.end
    }

    /// Takes back the rows after this end, none of which was written.
    pub(super) fn rewind(&mut self, end: ChainEnd) {
        self.end = end;
    }

    /// Seals one event as a chain of its own: for what happens rarely, and not through the recorder. That such a row was removed
    /// whole shows only against a head that was exported before.
    #[must_use]
    pub fn seal_alone(key: &hmac::Key, entropy: &dyn Entropy, event: &Event) -> AuditRow {
        Self::new(key.clone(), entropy).seal(event)
    }

    /// Seals several events as a chain of their own, so that none of them can be removed unseen but the last.
    #[must_use]
    pub fn seal_together(key: &hmac::Key, entropy: &dyn Entropy, events: &[Event]) -> Vec<AuditRow> {
        let mut writer = Self::new(key.clone(), entropy);
        events.iter().map(|event| writer.seal(event)).collect()
    }

    /// Seals an event as the next row, within the bounds of events: every stored event goes through here.
    pub fn seal(&mut self, event: &Event) -> AuditRow {
        let (event, body) = bounds::bounded(event);
        let sequence = self.end.sequence.saturating_add(1);
        let mac = code(&self.key, &self.writer, sequence, &self.end.mac, &body);
        self.end = ChainEnd { sequence, mac };
        AuditRow {
            writer: self.writer.clone(),
            writer_sequence: sequence,
            at: event.at,
            correlation_id: event.correlation_id.clone(),
            txn: event.txn.clone(),
            jti: event.jti.clone(),
            body,
            mac,
        }
    }
}

impl std::fmt::Debug for AuditWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditWriter")
            .field("writer", &self.writer)
            .field("sequence", &self.end.sequence)
            .finish_non_exhaustive()
    }
}

/// The code of a row. Every part has a fixed length or its length before it, so no two rows have the same input.
pub(super) fn code(
    key: &hmac::Key,
    writer: &str,
    sequence: i64,
    previous: &[u8; MAC_BYTES],
    body: &str,
) -> [u8; MAC_BYTES] {
    let mut context = hmac::Context::with_key(key);
    context.update(DOMAIN);
    for text in [writer, body] {
        context.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(text.as_bytes());
    }
    context.update(&sequence.to_be_bytes());
    context.update(previous);
    let mut mac = GENESIS;
    mac.copy_from_slice(context.sign().as_ref());
    mac
}
