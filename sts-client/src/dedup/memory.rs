//! The deduplication store in the memory of one process. A restart loses its entries.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sts_jose::Clock;

use super::{
    ABANDONED_FOR, Begun, CallerKey, DedupError, DedupKey, DedupStore, EXPIRY_MARGIN, Held, Operation,
    SMALL_OUTCOME_BYTES, Spend, Ticket,
};

/// The memory of an entry without its outcome: its key in two indexes, its record, and a small
/// outcome. Rounded up.
const ENTRY_BYTES: usize = 256;

/// The limits of a store in memory.
///
/// ```
/// use sts_client::dedup::MemoryLimits;
///
/// let limits = MemoryLimits { bytes: 256 << 20, ..MemoryLimits::default() };
/// assert_eq!(limits.entries, 100_000);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimits {
    /// The maximum number of values and operations together.
    pub entries: usize,
    /// The maximum size in bytes: the stored outcomes, plus 256 bytes for each entry.
    pub bytes: usize,
}

impl Default for MemoryLimits {
    /// Returns the limits of 100,000 entries and 64 MiB.
    fn default() -> Self {
        Self { entries: 100_000, bytes: 64 << 20 }
    }
}

/// A deduplication store in memory. Share it by `Arc`.
///
/// When it is full it refuses new entries ([`DedupError::Full`]). It removes no live entry, because
/// a forgotten value would allow a replay. It removes records of abandoned operations to make room,
/// the oldest first.
///
/// **Each caller's share is bounded**: a new entry is refused when its caller holds more than the
/// free space. A single caller fills at most half of the store. Two callers fill at most a third
/// each. `n` callers leave an `n + 1`th part for the next caller.
///
/// ```
/// use std::sync::Arc;
///
/// use sts_client::SystemClock;
/// use sts_client::dedup::{MemoryLimits, MemoryDedupStore};
///
/// let limits = MemoryLimits { bytes: 256 << 20, ..MemoryLimits::default() };
/// let store = Arc::new(MemoryDedupStore::new(Arc::new(SystemClock), limits));
/// ```
pub struct MemoryDedupStore {
    clock: Arc<dyn Clock>,
    limits: MemoryLimits,
    held: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    values: HashMap<DedupKey, SpentValue>,
    operations: HashMap<DedupKey, Record>,
    /// The time at which each entry may be removed.
    ends: BTreeSet<(Timestamp, Kind, DedupKey)>,
    /// The abandoned operations among the entries. They may be removed when their room is needed.
    abandoned: BTreeSet<(Timestamp, DedupKey)>,
    /// The usage of each caller that has entries.
    callers: HashMap<CallerKey, Usage>,
    total: Usage,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Value,
    Operation,
}

struct SpentValue {
    caller: CallerKey,
    ends_at: Timestamp,
}

struct Record {
    caller: CallerKey,
    fingerprint: [u8; 32],
    attempt: u32,
    begun_at: Timestamp,
    lease_until: Timestamp,
    expires_at: Timestamp,
    state: State,
}

enum State {
    Held,
    Abandoned,
    Done(Vec<u8>),
}

/// A number of entries, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    entries: usize,
    bytes: usize,
}

impl Record {
    /// Returns the time at which the entry may be removed. An operation that is held is never
    /// removed.
    fn ends(&self) -> Timestamp {
        match self.state {
            State::Held => self.expires_at.max(self.lease_until),
            State::Abandoned | State::Done(_) => self.expires_at,
        }
    }

    fn usage(&self) -> Usage {
        match &self.state {
            State::Held | State::Abandoned => Usage::ENTRY,
            State::Done(outcome) => Usage::ENTRY.plus(Usage::of_outcome(outcome)),
        }
    }
}

impl Usage {
    const ENTRY: Self = Self { entries: 1, bytes: ENTRY_BYTES };

    /// Returns the memory of an outcome beyond the part that its entry accounts for.
    fn of_outcome(outcome: &[u8]) -> Self {
        Self { entries: 0, bytes: if outcome.len() <= SMALL_OUTCOME_BYTES { 0 } else { outcome.len() } }
    }

    fn plus(self, other: Self) -> Self {
        Self { entries: self.entries.saturating_add(other.entries), bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn minus(self, other: Self) -> Self {
        Self { entries: self.entries.saturating_sub(other.entries), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    fn is_within(self, other: Self) -> bool {
        self.entries <= other.entries && self.bytes <= other.bytes
    }
}

impl MemoryDedupStore {
    /// Makes an empty store with these limits. Expiry uses `clock`.
    pub fn new(clock: Arc<dyn Clock>, limits: MemoryLimits) -> Self {
        Self { clock, limits, held: Mutex::default() }
    }

    /// Returns the contents without expired entries, and the time.
    fn contents(&self) -> (MutexGuard<'_, Contents>, Timestamp) {
        let now = self.clock.now();
        let mut contents = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        contents.forget_expired(now);
        (contents, now)
    }

    /// Makes room for an addition of a caller. Removes abandoned operations if necessary.
    fn make_room(&self, contents: &mut Contents, caller: CallerKey, added: Usage) -> Result<(), DedupError> {
        let limits = Usage { entries: self.limits.entries, bytes: self.limits.bytes };
        loop {
            let held = contents.callers.get(&caller).copied().unwrap_or_default();
            if held.plus(added).is_within(limits.minus(contents.total)) {
                return Ok(());
            }
            let Some(&(_, oldest)) = contents.abandoned.first() else { return Err(DedupError::Full) };
            contents.take(oldest);
        }
    }
}

impl Contents {
    fn forget_expired(&mut self, now: Timestamp) -> u64 {
        let mut forgotten = 0;
        while let Some(&(_, kind, key)) = self.ends.first().filter(|(at, _, _)| *at <= now) {
            match kind {
                Kind::Value => self.forget_value(key),
                Kind::Operation => drop(self.take(key)),
            }
            forgotten += 1;
        }
        forgotten
    }

    fn remember_value(&mut self, key: DedupKey, value: SpentValue) {
        self.ends.insert((value.ends_at, Kind::Value, key));
        self.add(value.caller, Usage::ENTRY);
        self.values.insert(key, value);
    }

    fn forget_value(&mut self, key: DedupKey) {
        let Some(value) = self.values.remove(&key) else { return };
        self.ends.remove(&(value.ends_at, Kind::Value, key));
        self.subtract(value.caller, Usage::ENTRY);
    }

    fn put(&mut self, key: DedupKey, record: Record) {
        self.ends.insert((record.ends(), Kind::Operation, key));
        if matches!(record.state, State::Abandoned) {
            self.abandoned.insert((record.ends(), key));
        }
        self.add(record.caller, record.usage());
        self.operations.insert(key, record);
    }

    fn take(&mut self, key: DedupKey) -> Option<Record> {
        let record = self.operations.remove(&key)?;
        self.ends.remove(&(record.ends(), Kind::Operation, key));
        self.abandoned.remove(&(record.ends(), key));
        self.subtract(record.caller, record.usage());
        Some(record)
    }

    fn add(&mut self, caller: CallerKey, usage: Usage) {
        self.total = self.total.plus(usage);
        let held = self.callers.entry(caller).or_default();
        *held = held.plus(usage);
    }

    fn subtract(&mut self, caller: CallerKey, usage: Usage) {
        self.total = self.total.minus(usage);
        let left = self.callers.get(&caller).copied().unwrap_or_default().minus(usage);
        if left == Usage::default() {
            self.callers.remove(&caller);
        } else {
            self.callers.insert(caller, left);
        }
    }

    /// Returns the operation of a ticket, if the ticket still holds it.
    fn held(&self, ticket: &Ticket) -> Option<&Record> {
        self.operations.get(&ticket.key).filter(|record| {
            let begun_at = record.begun_at.as_millisecond();
            matches!(record.state, State::Held) && record.attempt == ticket.attempt && begun_at == ticket.begun_at_ms
        })
    }

    /// Changes the operation of a ticket, if the ticket still holds it.
    fn change(&mut self, ticket: &Ticket, change: impl FnOnce(&mut Record)) -> Held {
        if self.held(ticket).is_none() {
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
impl DedupStore for MemoryDedupStore {
    async fn spend(&self, key: DedupKey, caller: CallerKey, expires_at: Timestamp) -> Result<Spend, DedupError> {
        let (mut contents, now) = self.contents();
        if contents.values.contains_key(&key) {
            return Ok(Spend::SeenBefore);
        }
        self.make_room(&mut contents, caller, Usage::ENTRY)?;
        // Remember a value that has already expired, too.
        let ends_at = after(expires_at, EXPIRY_MARGIN).max(after(now, EXPIRY_MARGIN));
        contents.remember_value(key, SpentValue { caller, ends_at });
        Ok(Spend::First)
    }

    async fn begin(&self, operation: &Operation) -> Result<Begun, DedupError> {
        let (mut contents, now) = self.contents();
        let attempt = match contents.operations.get(&operation.key) {
            Some(record) if record.fingerprint != operation.fingerprint => return Ok(Begun::Conflict),
            Some(record) => match &record.state {
                State::Done(outcome) => return Ok(Begun::Done { outcome: outcome.clone() }),
                State::Held if record.lease_until > now => {
                    let retry_after = Duration::try_from(now.duration_until(record.lease_until)).unwrap_or_default();
                    return Ok(Begun::InFlight { retry_after });
                }
                State::Held | State::Abandoned => record.attempt.saturating_add(1),
            },
            None => {
                self.make_room(&mut contents, operation.caller, Usage::ENTRY)?;
                1
            }
        };
        contents.take(operation.key);
        let record = Record {
            caller: operation.caller,
            fingerprint: operation.fingerprint,
            attempt,
            begun_at: now,
            lease_until: after(now, operation.lease),
            expires_at: after(now, operation.expires_in),
            state: State::Held,
        };
        contents.put(operation.key, record);
        Ok(Begun::Started(Ticket {
            key: operation.key,
            attempt,
            begun_at_ms: now.as_millisecond(),
            expires_in: operation.expires_in,
        }))
    }

    async fn renew(&self, ticket: &Ticket, lease: Duration) -> Result<Held, DedupError> {
        let (mut contents, now) = self.contents();
        Ok(contents.change(ticket, |record| record.lease_until = after(now, lease)))
    }

    async fn finish(&self, ticket: &Ticket, outcome: &[u8]) -> Result<Held, DedupError> {
        let (mut contents, now) = self.contents();
        let Some(caller) = contents.held(ticket).map(|record| record.caller) else { return Ok(Held::No) };
        let added = Usage::of_outcome(outcome);
        if added != Usage::default() {
            self.make_room(&mut contents, caller, added)?;
        }
        Ok(contents.change(ticket, |record| {
            record.expires_at = after(now, ticket.expires_in);
            record.state = State::Done(outcome.to_vec());
        }))
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<Held, DedupError> {
        let (mut contents, now) = self.contents();
        Ok(contents.change(ticket, |record| {
            record.expires_at = record.expires_at.min(after(now, ABANDONED_FOR));
            record.state = State::Abandoned;
        }))
    }

    async fn purge(&self) -> Result<u64, DedupError> {
        let now = self.clock.now();
        Ok(self.held.lock().unwrap_or_else(PoisonError::into_inner).forget_expired(now))
    }
}

impl fmt::Debug for MemoryDedupStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDedupStore").field("limits", &self.limits).finish_non_exhaustive()
    }
}
