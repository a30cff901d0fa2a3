//! The chain of audit rows: each row has a code over itself and the preceding row.
//!
//! Every recorder writes a separate chain, so that recorders do not wait for each other. An
//! operation outside a recorder writes a separate chain too.
//!
//! The key of the code is derived from the master key. A party that can only write to the database
//! cannot alter, insert, move or remove a row of a chain undetected. The exception is the end of a
//! chain: only an exported head detects a removal there.

use aws_lc_rs::hmac;
use sts_jose::{Entropy, hex};

use super::{Event, bounds};
use crate::storage::{AuditCheckpoint, AuditRow, MAC_BYTES};

/// The code that precedes the first row.
pub(super) const GENESIS: [u8; MAC_BYTES] = [0; MAC_BYTES];

const DOMAIN: &[u8] = b"agent-sts audit 1";
const CHECKPOINT_DOMAIN: &[u8] = b"agent-sts audit checkpoint 1";
/// The bytes of a random name. It is in every row, and twice on disk, so it is short.
const WRITER_BYTES: usize = 10;

/// The writer of a growing chain.
pub struct AuditWriter {
    key: hmac::Key,
    writer: String,
    end: ChainEnd,
}

/// The position and code of the last row of a chain.
#[derive(Clone, Copy)]
pub(super) struct ChainEnd {
    sequence: i64,
    mac: [u8; MAC_BYTES],
}

impl AuditWriter {
    /// Starts a new chain with a random name.
    #[must_use]
    pub fn new(key: hmac::Key, entropy: &dyn Entropy) -> Self {
        let mut name = [0_u8; WRITER_BYTES];
        entropy.fill(&mut name);
        Self { key, writer: hex(&name), end: ChainEnd { sequence: 0, mac: GENESIS } }
    }

    /// Returns the present end of the chain.
    pub(super) fn end(&self) -> ChainEnd {
        self.end
    }

    /// Discards the rows after this end, none of which was written.
    pub(super) fn rewind(&mut self, end: ChainEnd) {
        self.end = end;
    }

    /// Seals a single event as a separate chain. Used for rare operations outside the recorder.
    /// Only an exported head can show that such a row was removed.
    #[must_use]
    pub fn seal_alone(key: &hmac::Key, entropy: &dyn Entropy, event: &Event) -> AuditRow {
        Self::new(key.clone(), entropy).seal(event)
    }

    /// Seals several events as a separate chain, so that only removal of the last event stays
    /// undetected.
    #[must_use]
    pub fn seal_together(key: &hmac::Key, entropy: &dyn Entropy, events: &[Event]) -> Vec<AuditRow> {
        let mut writer = Self::new(key.clone(), entropy);
        events.iter().map(|event| writer.seal(event)).collect()
    }

    /// Seals an event as the next row, within the size limits of events. Every stored event passes
    /// through here.
    pub fn seal(&mut self, event: &Event) -> AuditRow {
        let (event, body) = bounds::bounded(event);
        let sequence = self.end.sequence.saturating_add(1);
        let mac = code(&self.key, &self.writer, sequence, &self.end.mac, &body);
        self.end = ChainEnd { sequence, mac };
        AuditRow {
            writer: self.writer.clone(),
            writer_sequence: sequence,
            at: event.at,
            correlation_id: None,
            txn: None,
            jti: None,
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

/// Seals the end of the removed part of a chain.
pub(super) fn checkpoint(
    key: &hmac::Key,
    writer: &str,
    writer_sequence: i64,
    mac: &[u8; MAC_BYTES],
) -> AuditCheckpoint {
    let seal = checkpoint_seal(key, writer, writer_sequence, mac).to_vec();
    AuditCheckpoint { writer: writer.to_owned(), writer_sequence, mac: mac.to_vec(), seal }
}

/// Returns the place and the code at which the removed part of a chain ends, or `None` if no server
/// with one of these keys sealed the checkpoint.
pub(super) fn open_checkpoint(keys: &[hmac::Key], checkpoint: &AuditCheckpoint) -> Option<(i64, [u8; MAC_BYTES])> {
    let mac: [u8; MAC_BYTES] = checkpoint.mac.as_slice().try_into().ok()?;
    let is_sealed = |key: &hmac::Key| {
        checkpoint_seal(key, &checkpoint.writer, checkpoint.writer_sequence, &mac).as_slice() == checkpoint.seal
    };
    keys.iter().any(is_sealed).then_some((checkpoint.writer_sequence, mac))
}

fn checkpoint_seal(key: &hmac::Key, writer: &str, writer_sequence: i64, mac: &[u8; MAC_BYTES]) -> [u8; MAC_BYTES] {
    let mut context = hmac::Context::with_key(key);
    context.update(CHECKPOINT_DOMAIN);
    context.update(&u64::try_from(writer.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(writer.as_bytes());
    context.update(&writer_sequence.to_be_bytes());
    context.update(mac);
    let mut seal = GENESIS;
    seal.copy_from_slice(context.sign().as_ref());
    seal
}

/// Returns the code of a row. Every part has a fixed length or a length before it, so different
/// rows have different inputs.
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
