//! The events of an agent at the boundaries of a message.

use super::party::Party;
use super::payload::SchemaError;
use crate::events::{Boundary, BoundaryOutcome, Event, EventSubject, Guard};

impl Party {
    /// Emits an event for one boundary.
    pub(super) fn emit(&self, boundary: Boundary, outcome: BoundaryOutcome, about: &EventSubject) {
        self.sinks.emit(&Event {
            at: self.clock.now(),
            guard: Guard::Envelope,
            boundary,
            outcome,
            about: about.clone(),
        });
    }

    pub(super) fn emit_validated<T>(&self, read: &Result<T, SchemaError>, about: &EventSubject) {
        let outcome = match read {
            Ok(_) => BoundaryOutcome::Passed,
            Err(_) => BoundaryOutcome::Refused("schema"),
        };
        self.emit(Boundary::Validated, outcome, about);
    }
}
