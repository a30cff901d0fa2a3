//! Idempotency: an operation that is requested again is not done again, and its outcome is repeated.
//!
//! [`IdempotencyLayer`] (feature `tower`) stands before HTTP handlers and goes by `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header). [`Idempotency::run`] does the same for one piece of work, where a protocol gives each try
//! another body and another answer (A2A, MCP): before a tool, for instance.
//!
//! An operation is the caller's own: its key counts within (tenant, caller, route), and tenant and caller are those of the verified
//! [`Caller`] and of nothing that a request says. The caller is the principal (issuer and subject) and the agent that acts for it.
//!
//! # Repetitions
//!
//! | the work ended | a repetition with the same body |
//! |---|---|
//! | [`Work::Final`] | is answered with the same outcome, byte for byte |
//! | [`Work::Unrepeatable`] | [`NotRun::NotKept`]: 409 |
//! | [`Work::Transient`] | does it again |
//! | it is still in progress | [`NotRun::InFlight`]: 409, `Retry-After` |
//! | it panicked | does it again |
//! | its process died | does it again, once the lease has expired |
//!
//! With another body it is always [`NotRun::Conflict`]: 409. Work that is done again has an [`Attempt`] above 1: an earlier one may have had
//! its effect, which no answer reported. To rule that out, store the effect under the attempt's key, in one transaction.
//!
//! An outcome is repeated to the **authority** under which it was done, and to no other: the same scope and the same roles, groups,
//! entitlements, authorization details, `acr` and `amr`. The handler's own checks do not run for a repetition, so a token that lost a right,
//! or gained one, gets [`NotRun::OtherAuthority`] (409) and neither the outcome nor a second effect.
//!
//! Where the store cannot be reached nothing is done ([`NotRun::Unavailable`]: 424).
//!
//! What lives here: the rules (`mod`, `run`), the lease of work in progress (`lease`), the record of work that is done (`record`,
//! `authority`), its metric and events (`events`), and how HTTP keeps them (`layer`, `body`, `multipart`, `stored`). What must never: a store;
//! those are in [`crate::dedup`].

mod authority;
#[cfg(feature = "tower")]
mod body;
mod events;
#[cfg(feature = "tower")]
mod layer;
mod lease;
#[cfg(feature = "tower")]
mod multipart;
mod record;
mod run;
#[cfg(feature = "tower")]
mod stored;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sts_jose::{Clock, SystemClock};

#[cfg(feature = "tower")]
pub use layer::{IDEMPOTENCY_REPLAYED, IdempotencyLayer, IdempotencyService};

pub(crate) use authority::Authority;
pub(crate) use lease::{Lease, Start};
pub(crate) use record::{NotRepeated, Record};

use crate::call::{Caller, IdempotencyKey, Kind};
use crate::dedup::{CallerKey, DedupError, DedupKey, DedupStore};
use crate::events::EventSinks;
use crate::outcome::Halted;

/// How long work that is going on is held without a sign of life.
const LEASE: Duration = Duration::from_secs(60);
/// How long an outcome is kept.
const EXPIRES_IN: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest outcome.
const MAX_OUTCOME_BYTES: usize = 1 << 20;
/// When to come back while the work is going on: it may end long before its lease.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Does work once. Cloning is cheap and shares the store.
#[derive(Debug, Clone)]
pub struct Idempotency {
    store: Arc<dyn DedupStore>,
    lease: Duration,
    expires_in: Duration,
    max_outcome_bytes: usize,
    sinks: EventSinks,
    clock: Arc<dyn Clock>,
}

/// Work that may be asked for again.
#[derive(Debug, Clone, Copy)]
pub struct Repeatable<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// What for: the same for all repetitions, and for no other kind of work that uses the store.
    pub route: &'a str,
    /// The key of the request, or of the call.
    pub key: &'a IdempotencyKey,
    /// What a repetition must have in common with the first.
    pub fingerprint: Fingerprint,
}

/// SHA-256 of whatever a repetition must have in common with the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// How the work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// With an outcome that stands: a repetition is answered with it.
    Final(Vec<u8>),
    /// With an outcome that stands and is not kept: a secret that is shown once, or a stream. A repetition is [`NotRun::NotKept`].
    Unrepeatable(Vec<u8>),
    /// With an outcome that may be another next time: nothing has been done, or not all of it.
    Transient(Vec<u8>),
}

/// The number of this try: 1, unless earlier ones were abandoned within ten minutes or died on the way. They may have had their effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u32);

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Ran {
    /// What the work ended with, now or then.
    pub outcome: Vec<u8>,
    /// Whether it was then.
    pub replayed: bool,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRun {
    /// The key stands for work with another body. Nothing was done.
    #[error("the idempotency key was used with another body")]
    Conflict,
    /// The work is going on. Nothing was done.
    #[error("the work is going on")]
    InFlight {
        /// When to come back.
        retry_after: Duration,
    },
    /// The store cannot be asked. Nothing was done.
    #[error("nothing is done without the store")]
    Unavailable(#[source] DedupError),
    /// The work did not end: it panicked. A repetition does it again.
    #[error("the work did not end")]
    Broken,
    /// The work is done, and its outcome was not kept: it was too long, a stream, or the store had no room for it.
    #[error("the work is done, and its outcome was not kept")]
    NotKept,
    /// The work was done under another authority: its outcome is not for this one. Nothing was done.
    #[error("the work was done under another authority")]
    OtherAuthority,
}

impl Idempotency {
    /// With that store: a lease of 60 s, outcomes of up to 1 MiB, kept for 24 h.
    pub fn new(store: Arc<dyn DedupStore>) -> Self {
        Self {
            store,
            lease: LEASE,
            expires_in: EXPIRES_IN,
            max_outcome_bytes: MAX_OUTCOME_BYTES,
            sinks: EventSinks::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The time after which another process may do work whose process ended. The lease is renewed while the work is in progress.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long an outcome is kept. After that, its key is like new.
    #[must_use]
    pub fn expires_in(mut self, expires_in: Duration) -> Self {
        self.expires_in = expires_in;
        self
    }

    /// Sets the sinks of the events of each piece of work: whether it was new (`replay`), whether it was done (`invoked`), and that its outcome
    /// is known (`answered`).
    #[must_use]
    pub fn events(mut self, sinks: EventSinks) -> Self {
        self.sinks = sinks;
        self
    }

    /// The clock of the events; leases and expiry go by the store's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The longest outcome that is kept. The first caller gets a longer one all the same; a repetition is [`NotRun::NotKept`].
    #[must_use]
    pub fn max_outcome_bytes(mut self, max: usize) -> Self {
        self.max_outcome_bytes = max;
        self
    }
}

impl Repeatable<'_> {
    /// The key within (tenant, caller, route).
    fn once_key(&self) -> DedupKey {
        DedupKey::new("idempotency", self.caller_parts().into_iter().chain([self.route, self.key.as_str()]))
    }

    /// The caller, as the store counts its share.
    fn caller(&self) -> CallerKey {
        CallerKey::new(self.caller_parts())
    }

    fn caller_parts(&self) -> [&str; 8] {
        let caller = self.caller.verified();
        let actor = self.caller.actor();
        let kind = match caller.kind {
            Kind::User => "user",
            Kind::ServiceAccount => "service account",
        };
        let (iss, sub) = (caller.subject.iss.as_str(), caller.subject.sub.as_str());
        let present = |is_some| if is_some { "1" } else { "0" };
        [
            present(caller.tenant.is_some()),
            caller.tenant.as_ref().map_or("", |tenant| tenant.as_str()),
            kind,
            iss,
            sub,
            present(actor.is_some()),
            actor.and_then(|actor| actor.iss).unwrap_or_default(),
            actor.map_or("", |actor| actor.sub),
        ]
    }
}

impl Fingerprint {
    /// Of parts, each with its length.
    pub fn of<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self(*DedupKey::new("fingerprint", parts).as_bytes())
    }

    /// Of a JSON value, whatever the order of the members of its objects.
    #[must_use]
    pub fn of_json(value: &Value) -> Self {
        Self(*DedupKey::of_json("fingerprint", value).as_bytes())
    }
}

/// The answer to the caller.
impl From<NotRun> for Halted {
    fn from(not_run: NotRun) -> Self {
        match not_run {
            NotRun::Conflict => {
                Self::conflict("IDEMPOTENCY_KEY_REUSED", "the idempotency key was used with another body", None)
            }
            NotRun::InFlight { retry_after } => {
                let message = "an operation with this idempotency key is going on";
                Self::conflict("IDEMPOTENCY_IN_FLIGHT", message, Some(retry_after.min(MAX_RETRY_AFTER)))
            }
            NotRun::Unavailable(_) => Self::failed_dependency(
                "IDEMPOTENCY_STORE_UNAVAILABLE",
                "nothing was done: it cannot be told whether it was done before",
                Some(MAX_RETRY_AFTER),
            ),
            NotRun::Broken => Self::error("BROKEN", "the operation did not end"),
            NotRun::NotKept => {
                Self::conflict("OUTCOME_NOT_KEPT", "the operation is done, and its outcome was not kept", None)
            }
            NotRun::OtherAuthority => Self::conflict(
                "IDEMPOTENCY_OTHER_AUTHORITY",
                "the operation was done under another authority: repeat it with the same scope and roles",
                None,
            ),
        }
    }
}
