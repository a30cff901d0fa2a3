//! What happened to a message at each boundary, as events that cannot hold a secret.
//!
//! What lives here: the boundaries, the [`Event`], and where events go ([`TraceSink`]: [`JsonLines`] is the audit trail of an agent,
//! [`ToTracing`] its log, [`Recorded`] a test's). Whoever guards a boundary says so through a [`Tracer`]. Redaction is by construction: a
//! field holds a time, a code of this crate, a verified tenant, a name of the agent's own configuration, or a [`Reference`], which is a
//! UUID or a digest. What must never live here: a field for text that somebody sent. Another boundary is a variant of [`Boundary`]; another
//! place for events an implementation of [`TraceSink`].

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

use crate::call::{Delegation, Kind};

/// A line that a message crosses, in the order in which it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// A message arrived.
    Received,
    /// Who sent it, and on whose behalf.
    Identity,
    /// Whether it is for this agent, and may ask what it asks.
    Authorization,
    /// Whether it is new.
    Replay,
    /// Whether somebody approved it, where that is asked for.
    Approval,
    /// Its payload was decrypted.
    Decrypted,
    /// A handler was called.
    Invoked,
    /// A payload was held against its schema.
    Validated,
    /// An answer was made.
    Answered,
}

impl Boundary {
    /// All of them, in order.
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

    /// The name in events.
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

/// How a message fared at a boundary. The code is one of this crate's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "outcome", content = "reason", rename_all = "snake_case")]
pub enum Outcome {
    /// It crossed.
    Passed,
    /// It did not.
    Refused(&'static str),
    /// Nobody could tell.
    Unavailable(&'static str),
}

/// Which guard of the agent speaks.
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

/// Whom and what an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Matter {
    /// Joins the events of one user request: the trace or correlation id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<Reference>,
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Reference>,
    /// The operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Reference>,
    /// The verified tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<Tenant>,
    /// The calling agent, by its verified token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<Reference>,
    /// The principal, by its verified token: issuer and subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Reference>,
    /// The transaction, by its verified token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<Reference>,
    /// The other agent, as this agent's configuration calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Configured>,
    /// What the message asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<&'static str>,
}

impl Matter {
    /// What a verified token says.
    #[must_use]
    pub fn of(delegation: &Delegation) -> Self {
        let verified = delegation.verified();
        let subject = &verified.subject;
        let actor = match verified.kind {
            Kind::User => delegation.actor().map(|actor| actor.sub),
            Kind::ServiceAccount => Some(verified.sub.as_str()),
        };
        Self {
            trace_id: Some(Reference::of(delegation.correlation_id().as_str())),
            tenant_id: verified.tenant.clone(),
            actor: actor.map(Reference::of),
            subject: Some(Reference::of_parts(&[&subject.iss, &subject.sub])),
            txn: verified.txn.as_deref().map(Reference::of),
            ..Self::default()
        }
    }
}

/// A name out of the agent's own configuration. Only code that reads configuration makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured(Arc<str>);

impl Serialize for Configured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Configured {
    #[cfg(feature = "envelope")]
    pub(crate) fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// Who noticed.
    pub guard: Guard,
    /// Where.
    pub boundary: Boundary,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Whom and what it is about.
    #[serde(flatten)]
    pub matter: Matter,
}

/// Where events go. It must not block for long, and must not fail: whatever goes wrong there is its own concern.
pub trait TraceSink: fmt::Debug + Send + Sync {
    /// Takes one event.
    fn record(&self, event: &Event);
}

/// Says what happened to all its sinks. Cloning is cheap; the default has none.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Vec<Arc<dyn TraceSink>>);

impl Tracer {
    /// A tracer with one sink.
    #[must_use]
    pub fn to(sink: Arc<dyn TraceSink>) -> Self {
        Self(vec![sink])
    }

    /// With one more.
    #[must_use]
    pub fn and(mut self, sink: Arc<dyn TraceSink>) -> Self {
        self.0.push(sink);
        self
    }

    /// Says what happened at one boundary. A sink that panics has lost the event; what happened stays as it is.
    pub fn tell(&self, event: &Event) {
        for sink in &self.0 {
            if catch_unwind(AssertUnwindSafe(|| sink.record(event))).is_err() {
                tracing::error!("a sink of trace events panicked");
            }
        }
    }

    /// Says that a message crossed every boundary before `last`, and then how it fared there.
    pub(crate) fn tell_all(&self, (at, guard): (Timestamp, Guard), last: (Boundary, Outcome), matter: &Matter) {
        let crossed = Boundary::ALL.into_iter().take_while(|boundary| *boundary < last.0);
        for (boundary, outcome) in crossed.map(|boundary| (boundary, Outcome::Passed)).chain([last]) {
            self.tell(&Event { at, guard, boundary, outcome, matter: matter.clone() });
        }
    }
}
