//! In the memory of one process. A restart forgets everything.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sts_jose::Clock;

use super::{Begun, EXPIRY_MARGIN, Held, OnceError, OnceKey, OnceStore, Operation, Spend, Ticket};

/// What an entry costs beside its outcome: its key in two indexes, and its record. Rounded up.
const ENTRY_BYTES: usize = 256;

/// How much a store in memory holds.
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimits {
    /// Values and operations together.
    pub entries: usize,
    /// Outcomes, stored or still to come, and 256 bytes for each entry.
    pub bytes: usize,
}

impl Default for MemoryLimits {
    /// 100,000 entries, 64 MiB.
    fn default() -> Self {
        Self { entries: 100_000, bytes: 64 << 20 }
    }
}

/// A store in memory. Share it by `Arc`.
///
/// When it is full it refuses what is new ([`OnceError::Full`]), and forgets nothing that is alive: a forgotten value would be a replay. So
/// whoever may use it can fill it; where callers do not trust each other, a database serves better.
pub struct MemoryOnceStore {
    clock: Arc<dyn Clock>,
    limits: MemoryLimits,
    held: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    values: HashMap<OnceKey, Timestamp>,
    operations: HashMap<OnceKey, Record>,
    /// When each entry may go.
    ends: BTreeSet<(Timestamp, Kind, OnceKey)>,
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Value,
    Operation,
}

struct Record {
    fingerprint: [u8; 32],
    attempt: u32,
    begun_at: Timestamp,
    lease_until: Timestamp,
    expires_at: Timestamp,
    /// What is counted for the outcome: its length, or the longest that it may have as long as there is none.
    reserved: usize,
    outcome: Option<Vec<u8>>,
}

impl Record {
    /// An operation that is held is not forgotten, however long it takes.
    fn ends(&self) -> Timestamp {
        if self.outcome.is_some() { self.expires_at } else { self.expires_at.max(self.lease_until) }
    }
}

impl MemoryOnceStore {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>, limits: MemoryLimits) -> Self {
        Self { clock, limits, held: Mutex::default() }
    }

    /// The contents without what has expired, and the time.
    fn contents(&self) -> (MutexGuard<'_, Contents>, Timestamp) {
        let now = self.clock.now();
        let mut contents = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        contents.forget_expired(now);
        (contents, now)
    }

    fn check_room(&self, contents: &Contents, bytes: usize) -> Result<(), OnceError> {
        let entries = contents.values.len() + contents.operations.len();
        let is_room = entries < self.limits.entries && contents.bytes.saturating_add(bytes) <= self.limits.bytes;
        is_room.then_some(()).ok_or(OnceError::Full)
    }
}

impl Contents {
    fn forget_expired(&mut self, now: Timestamp) -> u64 {
        let mut forgotten = 0;
        while let Some(&(at, kind, key)) = self.ends.first().filter(|(at, _, _)| *at <= now) {
            self.ends.remove(&(at, kind, key));
            let reserved = match kind {
                Kind::Value => self.values.remove(&key).map(|_ends| 0),
                Kind::Operation => self.operations.remove(&key).map(|record| record.reserved),
            };
            self.bytes = self.bytes.saturating_sub(ENTRY_BYTES + reserved.unwrap_or(0));
            forgotten += 1;
        }
        forgotten
    }

    fn put(&mut self, key: OnceKey, record: Record) {
        self.ends.insert((record.ends(), Kind::Operation, key));
        self.bytes = self.bytes.saturating_add(ENTRY_BYTES + record.reserved);
        self.operations.insert(key, record);
    }

    fn take(&mut self, key: OnceKey) -> Option<Record> {
        let record = self.operations.remove(&key)?;
        self.ends.remove(&(record.ends(), Kind::Operation, key));
        self.bytes = self.bytes.saturating_sub(ENTRY_BYTES + record.reserved);
        Some(record)
    }

    /// Changes the operation of a ticket, if it still holds it.
    fn change(&mut self, ticket: &Ticket, change: impl FnOnce(&mut Record)) -> Held {
        let holds = |record: &&Record| {
            let begun_at = record.begun_at.as_millisecond();
            record.outcome.is_none() && record.attempt == ticket.attempt && begun_at == ticket.begun_at_ms
        };
        if self.operations.get(&ticket.key).filter(holds).is_none() {
            return Held::No;
        }
        if let Some(mut record) = self.take(ticket.key) {
            change(&mut record);
            self.put(ticket.key, record);
        }
        Held::Yes
    }
}

fn after(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[async_trait]
impl OnceStore for MemoryOnceStore {
    async fn spend(&self, key: OnceKey, expires_at: Timestamp) -> Result<Spend, OnceError> {
        let (mut contents, now) = self.contents();
        if contents.values.contains_key(&key) {
            return Ok(Spend::SeenBefore);
        }
        self.check_room(&contents, ENTRY_BYTES)?;
        // What has expired already is remembered too, until whoever comes next.
        let ends = after(expires_at, EXPIRY_MARGIN).max(after(now, EXPIRY_MARGIN));
        contents.values.insert(key, ends);
        contents.ends.insert((ends, Kind::Value, key));
        contents.bytes = contents.bytes.saturating_add(ENTRY_BYTES);
        Ok(Spend::First)
    }

    async fn begin(&self, operation: &Operation) -> Result<Begun, OnceError> {
        let (mut contents, now) = self.contents();
        let mut attempt = 1;
        if let Some(record) = contents.operations.get(&operation.key) {
            if record.fingerprint != operation.fingerprint {
                return Ok(Begun::Conflict);
            }
            if let Some(outcome) = &record.outcome {
                return Ok(Begun::Done { outcome: outcome.clone() });
            }
            if record.lease_until > now {
                let retry_after = Duration::try_from(now.duration_until(record.lease_until)).unwrap_or_default();
                return Ok(Begun::InFlight { retry_after });
            }
            attempt = record.attempt.saturating_add(1);
        } else {
            self.check_room(&contents, ENTRY_BYTES.saturating_add(operation.max_outcome_bytes))?;
        }
        contents.take(operation.key);
        let record = Record {
            fingerprint: operation.fingerprint,
            attempt,
            begun_at: now,
            lease_until: after(now, operation.lease),
            expires_at: after(now, operation.expires_in),
            reserved: operation.max_outcome_bytes,
            outcome: None,
        };
        contents.put(operation.key, record);
        Ok(Begun::Started(Ticket {
            key: operation.key,
            attempt,
            begun_at_ms: now.as_millisecond(),
            expires_in: operation.expires_in,
        }))
    }

    async fn renew(&self, ticket: &Ticket, lease: Duration) -> Result<Held, OnceError> {
        let (mut contents, now) = self.contents();
        Ok(contents.change(ticket, |record| record.lease_until = after(now, lease)))
    }

    async fn finish(&self, ticket: &Ticket, outcome: &[u8]) -> Result<Held, OnceError> {
        let (mut contents, now) = self.contents();
        let is_too_long = |record: &Record| record.outcome.is_none() && outcome.len() > record.reserved;
        if contents.operations.get(&ticket.key).is_some_and(is_too_long) {
            return Err(OnceError::Full);
        }
        Ok(contents.change(ticket, |record| {
            record.expires_at = after(now, ticket.expires_in);
            record.reserved = outcome.len();
            record.outcome = Some(outcome.to_vec());
        }))
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<Held, OnceError> {
        let (mut contents, now) = self.contents();
        Ok(contents.change(ticket, |record| record.lease_until = now))
    }

    async fn purge(&self) -> Result<u64, OnceError> {
        let now = self.clock.now();
        Ok(self.held.lock().unwrap_or_else(PoisonError::into_inner).forget_expired(now))
    }
}

impl fmt::Debug for MemoryOnceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOnceStore").field("limits", &self.limits).finish_non_exhaustive()
    }
}
