//! The circuit breaker: pauses calls to an STS that has failed several times in a row.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sts_jose::has_passed;

/// The number of consecutive outages that opens the breaker.
const OUTAGES: u32 = 5;

/// The time for which an open breaker rejects all calls.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// Counts consecutive calls that end in an outage.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<BreakerState>);

#[derive(Debug, Default)]
struct BreakerState {
    outages: u32,
    opened_at: Option<Timestamp>,
    /// The number of the probe: the one call that tests whether the STS is reachable again.
    probe: Option<u64>,
    calls: u64,
}

/// The result of a call that was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The STS answered, also with a refusal or a 429.
    Answered,
    /// The STS was unreachable.
    Outage,
    /// The STS was not asked, so its state is unknown.
    Unknown,
}

/// A permit for one call. If it is dropped without a verdict, the call counts as unknown. So an
/// abandoned call blocks no later call.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    breaker: &'a Breaker,
    call: u64,
}

impl Breaker {
    /// Returns a permit to call now; `None` while the breaker rejects calls.
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

    fn lock(&self) -> MutexGuard<'_, BreakerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave<'_> {
    /// Records the result of the call.
    pub(super) fn settle(self, verdict: Verdict, now: Timestamp) {
        let mut state = self.breaker.lock();
        match verdict {
            Verdict::Answered => {
                state.outages = 0;
                state.opened_at = None;
            }
            Verdict::Outage => {
                state.outages = state.outages.saturating_add(1);
                // A call that started before the breaker opened does not extend the pause. The
                // probe does.
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

    /// An open breaker, and a clock at the time when it opened.
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
