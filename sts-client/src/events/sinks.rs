//! The sinks of this crate.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{BoundaryOutcome, Event, EventSink};

/// The audit trail of an agent: one JSON object per line. Each line is written whole and flushed. A
/// failed write is an error in the log.
pub struct JsonLines<W>(Mutex<W>);

impl<W: Write + Send> JsonLines<W> {
    /// Makes an audit trail that writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self(Mutex::new(writer))
    }

    /// Returns the writer.
    pub fn into_inner(self) -> W {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + Send> EventSink for JsonLines<W> {
    fn record(&self, event: &Event) {
        let written = serde_json::to_vec(event).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            let mut writer = lock(&self.0);
            writer.write_all(&line).and_then(|()| writer.flush())
        });
        if let Err(error) = written {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(error, "an event of the audit trail could not be written");
        }
    }
}

impl<W> fmt::Debug for JsonLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonLines")
    }
}

/// Emits events through `tracing`, target `sts_client::events`: refusals at debug, undecided
/// messages at warn, all others at trace.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToTracing;

impl EventSink for ToTracing {
    fn record(&self, event: &Event) {
        let Event { guard, boundary, outcome, about, .. } = event;
        let (guard, boundary) = (format!("{guard:?}"), boundary.as_str());
        let trace_id = about.trace_id.map(tracing::field::display);
        match outcome {
            BoundaryOutcome::Passed => {
                tracing::trace!(target: "sts_client::events", guard, boundary, trace_id, "passed")
            }
            BoundaryOutcome::Refused(reason) => {
                tracing::debug!(target: "sts_client::events", guard, boundary, reason, trace_id, "refused");
            }
            BoundaryOutcome::Unavailable(reason) => {
                tracing::warn!(target: "sts_client::events", guard, boundary, reason, trace_id, "could not be written");
            }
        }
    }
}

/// Keeps events in memory, for tests and measurements.
///
/// ```
/// use std::sync::Arc;
/// use sts_client::events::{EventSinks, Recorded};
///
/// let recorded = Arc::new(Recorded::default());
/// let sinks = EventSinks::to(recorded.clone());
/// // … requests to the agent under test …
/// assert!(recorded.take().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Recorded(Mutex<Vec<Event>>);

impl Recorded {
    /// Takes the events since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut lock(&self.0))
    }
}

impl EventSink for Recorded {
    fn record(&self, event: &Event) {
        lock(&self.0).push(event.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
