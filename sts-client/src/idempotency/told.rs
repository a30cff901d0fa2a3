//! Metrics and trace events.

use super::{Idempotency, NotRun, Ran, Repeatable};
use crate::trace::{Boundary, Event, Guard, Matter, Outcome, Reference};

/// Returns the fields that identify a piece of work in trace events.
pub(super) fn matter(repeatable: &Repeatable<'_>) -> Matter {
    let idempotency_key = Some(Reference::of(repeatable.key.as_str()));
    Matter { idempotency_key, ..Matter::of(repeatable.caller) }
}

impl Idempotency {
    /// Records a metric and trace events for a piece of work, even if its caller has disconnected.
    pub(super) fn tell(&self, ran: &Result<Ran, NotRun>, matter: &Matter) {
        metrics::counter!("sts_client_idempotency_total", "outcome" => name(ran)).increment(1);
        let at = self.clock.now();
        for (boundary, outcome) in boundaries(ran) {
            let matter = matter.clone();
            self.tracer.tell(&Event { at, guard: Guard::Idempotency, boundary, outcome, matter });
        }
    }
}

fn name(ran: &Result<Ran, NotRun>) -> &'static str {
    match ran {
        Ok(Ran { replayed: false, .. }) => "run",
        Ok(Ran { replayed: true, .. }) => "replayed",
        Err(NotRun::Conflict) => "conflict",
        Err(NotRun::InFlight { .. }) => "in_flight",
        Err(NotRun::Unavailable(_)) => "store_unavailable",
        Err(NotRun::Broken) => "broken",
        Err(NotRun::NotKept) => "not_kept",
        Err(NotRun::OtherAuthority) => "other_authority",
    }
}

/// Returns the boundaries that the work reached, with the outcome at each. A stored outcome is
/// answered without being invoked.
fn boundaries(ran: &Result<Ran, NotRun>) -> Vec<(Boundary, Outcome)> {
    let (new, invoked) = ((Boundary::Replay, Outcome::Passed), (Boundary::Invoked, Outcome::Passed));
    match ran {
        Ok(Ran { replayed: false, .. }) => vec![new, invoked, (Boundary::Answered, Outcome::Passed)],
        Ok(Ran { replayed: true, .. }) => vec![new, (Boundary::Answered, Outcome::Passed)],
        Err(NotRun::Conflict | NotRun::InFlight { .. } | NotRun::NotKept | NotRun::OtherAuthority) => {
            vec![(Boundary::Replay, Outcome::Refused(name(ran)))]
        }
        Err(NotRun::Unavailable(_)) => vec![(Boundary::Replay, Outcome::Unavailable(name(ran)))],
        Err(NotRun::Broken) => vec![new, (Boundary::Invoked, Outcome::Unavailable(name(ran)))],
    }
}
