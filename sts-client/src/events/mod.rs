//! Events for a message at each boundary, which cannot hold a secret.
//!
//! What lives here: the boundaries, the [`Event`], and its sinks. [`JsonLines`] is the audit trail
//! of an agent, [`ToTracing`] its log, and [`Recorded`] the sink of a test. Each guard emits its
//! events to [`EventSinks`].
//!
//! The types prevent secrets. A field holds a time, a code of this crate, a verified tenant, a
//! configured name, or a [`Reference`] (a UUID or a digest).
//!
//! What must never live here: a field for text from a message. For another boundary, add a variant
//! of [`Boundary`]; for another sink, implement [`EventSink`].

mod reference;
mod sinks;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use sts_protocol::Tenant;

pub use reference::Reference;
pub use sinks::{JsonLines, Recorded, ToTracing};

use crate::call::{Caller, Kind};

/// A boundary that a message crosses, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// A message arrived.
    Received,
    /// The sender and its principal are verified.
    Identity,
    /// The message is for this agent and has the authority that it needs.
    Authorization,
    /// The message is no replay.
    Replay,
    /// The message is approved, if it needs an approval.
    Approval,
    /// The payload of the message was decrypted.
    Decrypted,
    /// A handler was called.
    Invoked,
    /// A payload was checked against its schema.
    Validated,
    /// An answer was made.
    Answered,
}

impl Boundary {
    /// All boundaries, in order.
    pub const ALL: [Self; 9] = [
        Self::Received,
        Self::Identity,
        Self::Authorization,
        Self::Replay,
        Self::Approval,
        Self::Decrypted,
        Self::Invoked,
        Self::Validated,
        Self::Answered,
    ];

    /// Returns the name that events use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Identity => "identity",
            Self::Authorization => "authorization",
            Self::Replay => "replay",
            Self::Approval => "approval",
            Self::Decrypted => "decrypted",
            Self::Invoked => "invoked",
            Self::Validated => "validated",
            Self::Answered => "answered",
        }
    }
}

/// The outcome of a message at a boundary. Each code is a constant of this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "snake_case")]
pub enum BoundaryOutcome {
    /// The message passed.
    Passed,
    /// The guard refused the message, for this reason.
    Refused(&'static str),
    /// The guard could not decide, for this reason.
    Unavailable(&'static str),
}

/// A guard of the agent: a component that checks messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The verification of inbound tokens.
    Token,
    /// The opening and sealing of envelopes.
    Envelope,
    /// The idempotency of requests.
    Idempotency,
}

/// The parties and the message of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventSubject {
    /// The trace or correlation id, which joins the events of one user request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Reference>,
    /// The id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Reference>,
    /// The id of the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Reference>,
    /// The tenant, from the verified token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<Tenant>,
    /// The calling agent, from its verified token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Reference>,
    /// The principal, from its verified token: issuer and subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Reference>,
    /// The transaction, from its verified token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<Reference>,
    /// The other agent, by its name in this agent's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<ConfiguredName>,
    /// The capability that the message requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<&'static str>,
}

impl EventSubject {
    /// Describes the caller, from its verified token.
    #[must_use]
    pub fn of(caller: &Caller) -> Self {
        let verified = caller.verified();
        let subject = &verified.subject;
        let actor = match verified.kind {
            Kind::User => caller.actor().map(|actor| actor.sub),
            Kind::ServiceAccount => Some(verified.sub.as_str()),
        };
        Self {
            trace_id: Some(Reference::of(caller.correlation_id().as_str())),
            tenant_id: verified.tenant.clone(),
            actor: actor.map(Reference::of),
            subject: Some(Reference::of_parts(&[&subject.iss, &subject.sub])),
            txn: verified.txn.as_deref().map(Reference::of),
            ..Self::default()
        }
    }
}

/// A name from the agent's own configuration. Only code that reads configuration makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredName(Arc<str>);

impl Serialize for ConfiguredName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl ConfiguredName {
    #[cfg(feature = "envelope")]
    pub(crate) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the configured name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An event of a message at one boundary.
///
/// ```
/// use sts_client::events::{Boundary, BoundaryOutcome, Event, EventSubject, Guard};
/// use sts_client::jiff::Timestamp;
///
/// let event = Event {
///     at: Timestamp::UNIX_EPOCH,
///     guard: Guard::Token,
///     boundary: Boundary::Identity,
///     outcome: BoundaryOutcome::Refused("expired"),
///     about: EventSubject::default(),
/// };
/// let line = serde_json::to_string(&event)?;
/// assert!(line.contains(r#""guard":"token","boundary":"identity","outcome":"refused","reason":"expired""#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The time of the event.
    pub at: Timestamp,
    /// The guard that reports the event.
    pub guard: Guard,
    /// The boundary that the message reached.
    pub boundary: Boundary,
    /// The outcome at the boundary.
    #[serde(flatten)]
    pub outcome: BoundaryOutcome,
    /// The parties and the message.
    #[serde(flatten)]
    pub about: EventSubject,
}

/// A sink of events. It must not block for long, and must handle its own failures.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use sts_client::events::{BoundaryOutcome, Event, EventSink};
///
/// /// Counts refusals.
/// #[derive(Debug, Default)]
/// struct Refusals(AtomicUsize);
///
/// impl EventSink for Refusals {
///     fn record(&self, event: &Event) {
///         if let BoundaryOutcome::Refused(_reason) = event.outcome {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait EventSink: fmt::Debug + Send + Sync {
    /// Takes one event.
    fn record(&self, event: &Event);
}

/// A list of sinks that each receive every event. Cloning is cheap; the default is empty.
///
/// ```
/// use std::sync::Arc;
/// use sts_client::events::{EventSinks, JsonLines, ToTracing};
///
/// # let file = Vec::new();
/// let sinks = EventSinks::to(Arc::new(JsonLines::new(file))).and(Arc::new(ToTracing));
/// ```
#[derive(Debug, Clone, Default)]
pub struct EventSinks(Vec<Arc<dyn EventSink>>);

impl EventSinks {
    /// Makes a list with one sink.
    #[must_use]
    pub fn to(sink: Arc<dyn EventSink>) -> Self {
        Self(vec![sink])
    }

    /// Adds a sink, which receives every event too.
    #[must_use]
    pub fn and(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.0.push(sink);
        self
    }

    /// Emits an event to each sink. If a sink panics, it loses the event and the other sinks still
    /// receive it.
    pub fn emit(&self, event: &Event) {
        for sink in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| sink.record(event))).is_err() {
                tracing::error!("a sink of trace events panicked");
            }
        }
    }

    /// Emits an event that the message passed, for each boundary before that of `last`, and then
    /// emits `last`.
    pub(crate) fn emit_all(&self, last: &Event) {
        for boundary in Boundary::ALL.into_iter().take_while(|boundary| *boundary < last.boundary) {
            self.emit(&Event { boundary, outcome: BoundaryOutcome::Passed, ..last.clone() });
        }
        self.emit(last);
    }
}
