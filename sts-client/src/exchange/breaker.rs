//! Leaves an STS alone for a while after it has failed several times in a row.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sts_jose::has_passed;

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
        if state.opened_at.is_some() {
            if state.probe.is_some() || !has_passed(state.opened_at, now, OPEN_FOR) {
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

#[cfg(test)]
mod tests {
    use sts_jose::{Clock as _, ManualClock};

    use super::*;

    /// An open breaker, and a clock that stands at the moment when it opened.
    fn open() -> (Breaker, ManualClock) {
        let (breaker, clock) = (Breaker::default(), ManualClock::new(Timestamp::UNIX_EPOCH));
        for _ in 0..OUTAGES {
            call(&breaker, &clock, Verdict::Outage);
        }
        assert!(breaker.admit(clock.now()).is_none());
        (breaker, clock)
    }

    fn call(breaker: &Breaker, clock: &ManualClock, verdict: Verdict) {
        breaker.admit(clock.now()).unwrap().settle(verdict, clock.now());
    }

    #[test]
    fn only_outages_in_a_row_open_it() {
        let (breaker, clock) = (Breaker::default(), ManualClock::new(Timestamp::UNIX_EPOCH));
        for _ in 0..OUTAGES - 1 {
            call(&breaker, &clock, Verdict::Outage);
        }
        call(&breaker, &clock, Verdict::Answered);
        for _ in 0..OUTAGES - 1 {
            call(&breaker, &clock, Verdict::Unknown);
            call(&breaker, &clock, Verdict::Outage);
        }
        assert!(breaker.admit(clock.now()).is_some());
    }

    #[test]
    fn it_stays_open_for_its_time_and_no_longer_if_the_clock_is_set_back() {
        let (breaker, clock) = open();
        clock.advance(OPEN_FOR - Duration::from_nanos(1));
        assert!(breaker.admit(clock.now()).is_none());
        clock.advance(Duration::from_nanos(1));
        assert!(breaker.admit(clock.now()).is_some());
        clock.set(Timestamp::from_second(-3600).unwrap());
        assert!(breaker.admit(clock.now()).is_some());
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        for (verdict, admitted) in [(Verdict::Answered, [true, true]), (Verdict::Outage, [false, false])] {
            let (breaker, clock) = open();
            clock.advance(OPEN_FOR);
            let probe = breaker.admit(clock.now()).unwrap();
            assert!(breaker.admit(clock.now()).is_none(), "{verdict:?}");
            probe.settle(verdict, clock.now());
            let next = [breaker.admit(clock.now()), breaker.admit(clock.now())];
            assert_eq!(next.each_ref().map(Option::is_some), admitted, "{verdict:?}");
        }
    }

    #[test]
    fn a_probe_that_is_given_up_or_says_nothing_lets_the_next_one_through() {
        let (breaker, clock) = open();
        clock.advance(OPEN_FOR);
        drop(breaker.admit(clock.now()).unwrap());
        call(&breaker, &clock, Verdict::Unknown);
        let probe = breaker.admit(clock.now()).unwrap();
        assert!(breaker.admit(clock.now()).is_none());
        probe.settle(Verdict::Answered, clock.now());
        assert!(breaker.admit(clock.now()).is_some());
    }

    #[test]
    fn a_call_from_before_neither_keeps_it_open_nor_ends_the_probe() {
        let (breaker, clock) = (Breaker::default(), ManualClock::new(Timestamp::UNIX_EPOCH));
        let late: Vec<Leave<'_>> = (0..OUTAGES + 1).map(|_| breaker.admit(clock.now()).unwrap()).collect();
        for (number, leave) in late.into_iter().enumerate() {
            clock.advance(Duration::from_secs(u64::from(number == OUTAGES as usize)));
            leave.settle(Verdict::Outage, clock.now());
        }
        clock.advance(OPEN_FOR - Duration::from_secs(1));
        assert!(breaker.admit(clock.now()).is_some());
    }
}
