//! Suppressed refusals: those of one agent or operator beyond its limit, counted into one event a
//! minute and not stored individually.
//!
//! An agent that is refused all day would otherwise fill the disk with equal events. Successes are
//! not counted here.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Sts;
use crate::rate_limits::Rate;
use crate::record::{Event, EventKind, Submission};
use crate::registry::Registry;

/// The time that one event covers.
const PERIOD: SignedDuration = SignedDuration::from_mins(1);

/// The party whose requests were refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum RefusedParty {
    /// An agent, by its id.
    Agent(String),
    /// An operator, by its name in the audit log.
    Operator(String),
}

/// The refusals of each agent and operator within the last minute, and those that were not stored.
#[derive(Debug)]
pub(crate) struct SuppressedRefusals {
    rate: Rate<RefusedParty>,
    suppressed: Mutex<HashMap<RefusedParty, Suppressed>>,
}

/// The refusals of one party that were not stored individually.
#[derive(Debug, Clone)]
struct Suppressed {
    since: Timestamp,
    reasons: BTreeMap<&'static str, u64>,
}

impl RefusedParty {
    /// Returns the agent of an event; for an instance, its class.
    pub(crate) fn agent(event: &Event, registry: &Registry) -> Self {
        Self::Agent(event.client_id.as_deref().map_or_else(String::new, |id| registry.entry_id(id).to_owned()))
    }
}

impl SuppressedRefusals {
    pub(crate) fn new(per_minute: u32) -> Self {
        let rate = Rate::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        Self { rate, suppressed: Mutex::default() }
    }

    /// Counts a refusal. If it exceeds the limit, returns the time to wait, and the caller must not
    /// store it.
    pub(crate) fn count(&self, refused: &RefusedParty, reason: &'static str, now: Timestamp) -> Option<Duration> {
        let wait = self.rate.count(refused)?;
        self.add(refused, [(reason, 1)], now);
        Some(wait)
    }

    /// Counts a refusal that is already stored, because only the commit could detect it.
    pub(crate) fn count_stored(&self, refused: &RefusedParty, now: Timestamp) {
        if self.rate.count(refused).is_some() {
            self.add(refused, [], now);
        }
    }

    /// Returns true if the limit was exceeded within the last minute.
    pub(crate) fn is_past(&self, refused: &RefusedParty) -> bool {
        self.suppressed().contains_key(refused)
    }

    fn add(&self, refused: &RefusedParty, reasons: impl IntoIterator<Item = (&'static str, u64)>, since: Timestamp) {
        let mut all = self.suppressed();
        let of = all.entry(refused.clone()).or_insert_with(|| Suppressed { since, reasons: BTreeMap::new() });
        of.since = of.since.min(since);
        for (reason, more) in reasons {
            let count = of.reasons.entry(reason).or_default();
            *count = count.saturating_add(more);
        }
    }

    /// Removes and returns the suppressed refusals that started at or before `until`.
    fn take(&self, until: Timestamp) -> Vec<(RefusedParty, Suppressed)> {
        self.suppressed().extract_if(|_, suppressed| suppressed.since <= until).collect()
    }

    fn suppressed(&self) -> MutexGuard<'_, HashMap<RefusedParty, Suppressed>> {
        self.suppressed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Suppressed {
    fn count(&self) -> u64 {
        self.reasons.values().copied().fold(0, u64::saturating_add)
    }

    /// Returns the single event that represents all of them.
    fn event(&self, refused: &RefusedParty, now: Timestamp) -> Event {
        let mut commonest: Vec<(&str, u64)> = self.reasons.iter().map(|(reason, count)| (*reason, *count)).collect();
        commonest.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let each: Vec<String> = commonest.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let mut event = Event::new(EventKind::RefusalsSuppressed, now);
        match refused {
            RefusedParty::Agent(id) => event.client_id = Some(id.clone()),
            RefusedParty::Operator(name) => event.admin = Some(name.clone()),
        }
        event.reason = commonest.first().map(|(reason, _)| (*reason).to_owned());
        event.count = Some(self.count());
        event.detail = Some(format!("not stored since {}: {}", self.since, each.join(", ")));
        event
    }
}

impl Sts {
    /// Counts a refusal of an operator. Returns true if it exceeds the limit and must not be
    /// stored.
    #[must_use]
    pub fn suppresses_refusal_of(&self, operator: &str, reason: &'static str) -> bool {
        self.refusals.count(&RefusedParty::Operator(operator.to_owned()), reason, self.now()).is_some()
    }

    /// Stores an event for each agent and operator whose refusals were suppressed a minute ago or
    /// earlier.
    pub async fn record_suppressed_refusals(&self) {
        let until = self.now().checked_sub(PERIOD).unwrap_or(Timestamp::MIN);
        self.record_suppressed(until).await;
    }

    /// Stores the remaining suppressed refusals at shutdown.
    pub async fn record_last_suppressed_refusals(&self) {
        self.record_suppressed(Timestamp::MAX).await;
    }

    async fn record_suppressed(&self, until: Timestamp) {
        let now = self.now();
        for (refused, suppressed) in self.refusals.take(until) {
            if suppressed.count() == 0 {
                continue;
            }
            let submission = Submission {
                approval: None,
                known: self.snapshot().versions(),
                single_use: Vec::new(),
                standings: Vec::new(),
                token: None,
                event: Some(suppressed.event(&refused, now)),
            };
            if let Err(error) = self.recorder.record(submission).await {
                // Kept for the next round.
                self.refusals.add(&refused, suppressed.reasons, suppressed.since);
                tracing::warn!(error = &error as &dyn std::error::Error, "failed to record suppressed refusals");
                return;
            }
        }
    }
}
