//! The metric and the events of a piece of work.

use super::{Idempotency, NotRun, Ran, Repeatable};
use crate::events::{Boundary, BoundaryOutcome, Event, EventSubject, Guard, Reference};

/// The parties of a piece of work.
pub(super) fn about(repeatable: &Repeatable<'_>) -> EventSubject {
    let idempotency_key = Some(Reference::of(repeatable.key.as_str()));
    EventSubject { idempotency_key, ..EventSubject::of(repeatable.caller) }
}

impl Idempotency {
    /// Counts and emits the outcome of a piece of work.
    pub(super) fn emit(&self, ran: &Result<Ran, NotRun>, about: &EventSubject) {
        metrics::counter!("sts_client_idempotency_total", "outcome" => name(ran)).increment(1);
        let at = self.clock.now();
        for (boundary, outcome) in boundaries(ran) {
            let about = about.clone();
            self.sinks.emit(&Event { at, guard: Guard::Idempotency, boundary, outcome, about });
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

/// The boundaries that the work met, with the outcome at each. A replayed answer is not invoked.
fn boundaries(ran: &Result<Ran, NotRun>) -> Vec<(Boundary, BoundaryOutcome)> {
    let (new, invoked) = ((Boundary::Replay, BoundaryOutcome::Passed), (Boundary::Invoked, BoundaryOutcome::Passed));
    match ran {
        Ok(Ran { replayed: false, .. }) => vec![new, invoked, (Boundary::Answered, BoundaryOutcome::Passed)],
        Ok(Ran { replayed: true, .. }) => vec![new, (Boundary::Answered, BoundaryOutcome::Passed)],
        Err(NotRun::Conflict | NotRun::InFlight { .. } | NotRun::NotKept | NotRun::OtherAuthority) => {
            vec![(Boundary::Replay, BoundaryOutcome::Refused(name(ran)))]
        }
        Err(NotRun::Unavailable(_)) => vec![(Boundary::Replay, BoundaryOutcome::Unavailable(name(ran)))],
        Err(NotRun::Broken) => vec![new, (Boundary::Invoked, BoundaryOutcome::Unavailable(name(ran)))],
    }
}
