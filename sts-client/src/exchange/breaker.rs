//! Leaves an STS alone for a while after it has failed several times in a row.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::has_passed;

/// So many calls in a row must end in an outage.
const OUTAGES: u32 = 5;

/// So long no call is let through then.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// Counts the calls that end in an outage, one after the other.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    outages: u32,
    opened_at: Option<Timestamp>,
    /// The number of the call that is let through to see whether the STS is back.
    probe: Option<u64>,
    calls: u64,
}

/// How a call that was let through ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The STS answered, if only by a refusal or by 429.
    Answered,
    /// The STS was out of reach.
    Outage,
    /// Says nothing about the STS: it was never asked.
    Unknown,
}

/// Leave to make one call. Dropped without a verdict it counts as unknown, so that a call that is given up blocks no later one.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    breaker: &'a Breaker,
    call: u64,
}

impl Breaker {
    /// Leave to call now; `None` while the STS is left alone.
    pub(super) fn admit(&self, now: Timestamp) -> Option<Leave<'_>> {
        let mut state = self.lock();
        let call = state.calls;
        if let Some(opened_at) = state.opened_at {
            if state.probe.is_some() || !has_passed(opened_at, now, OPEN_FOR) {
                return None;
            }
            state.probe = Some(call);
        }
        state.calls += 1;
        Some(Leave { breaker: self, call })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave<'_> {
    /// Says how the call ended.
    pub(super) fn settle(self, verdict: Verdict, now: Timestamp) {
        let mut state = self.breaker.lock();
        match verdict {
            Verdict::Answered => {
                state.outages = 0;
                state.opened_at = None;
            }
            Verdict::Outage => {
                state.outages = state.outages.saturating_add(1);
                // A call that began before the breaker opened does not keep it open for longer; the probe does.
                let opens = state.opened_at.is_none() || state.probe == Some(self.call);
                if state.outages >= OUTAGES && opens {
                    state.opened_at = Some(now);
                }
            }
            Verdict::Unknown => {}
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.lock();
        if state.probe == Some(self.call) {
            state.probe = None;
        }
    }
}
