//! Idempotency: a repeated operation returns the stored outcome instead of running again.
//!
//! [`IdempotencyLayer`] (feature `tower`) wraps HTTP handlers and uses the `Idempotency-Key` header
//! (draft-ietf-httpapi-idempotency-key-header). [`Idempotency::run`] does the same for a single
//! piece of work, such as a tool. Use it with protocols whose retries differ in body and answer
//! (A2A, MCP).
//!
//! A key is scoped to (tenant, caller, route). Tenant and caller come only from the verified
//! [`Caller`], never from other parts of the request. The caller is the principal (issuer and
//! subject) and the agent that acts for it.
//!
//! # Retries
//!
//! | outcome of the work | a retry with the same body |
//! |---|---|
//! | [`Work::Final`] | returns the same outcome, byte for byte |
//! | [`Work::Unrepeatable`] | [`NotRun::NotKept`]: 409 |
//! | [`Work::Transient`] | runs the work again |
//! | it is still in progress | [`NotRun::InFlight`]: 409, `Retry-After` |
//! | it panicked | runs the work again |
//! | its process exited | runs the work again after the lease has expired |
//!
//! A retry with another body always gets [`NotRun::Conflict`]: 409. Work that runs again has an
//! [`Attempt`] above 1. An earlier attempt may have had an effect that no answer reported. To rule
//! out a second effect, store the effect under the attempt's key, in the same transaction.
//!
//! The stored outcome is returned only under the same **authority**: the same scope, roles, groups,
//! entitlements, authorization details, `acr` and `amr`. The handler's own checks do not run for a
//! retry. So a token that lost or gained a right gets [`NotRun::OtherAuthority`] (409): no outcome
//! is returned, and no work runs.
//!
//! If the store is unreachable, no work runs ([`NotRun::Unavailable`]: 424).
//!
//! What lives here:
//! - the rules (`mod`, `run`);
//! - the lease of work in progress (`lease`);
//! - the record of completed work (`record`, `authority`);
//! - metrics and trace events (`events`);
//! - the HTTP layer (`layer`, `body`, `multipart`, `stored`).
//!
//! What must never: a store. Add a store in [`crate::dedup`].

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

/// The default lease of work in progress.
const LEASE: Duration = Duration::from_secs(60);
/// The default time for which an outcome is stored.
const EXPIRES_IN: Duration = Duration::from_secs(24 * 60 * 60);
/// The default maximum size of a stored outcome.
const MAX_OUTCOME_BYTES: usize = 1 << 20;
/// The maximum `Retry-After` while the work is in progress. The work may finish long before its
/// lease expires.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Runs each operation once. Cloning is cheap and shares the store.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use sts_client::dedup::{MemoryDedupStore, MemoryLimits};
/// use sts_client::idempotency::{Fingerprint, Idempotency, Repeatable, Work};
/// use sts_client::{Caller, IdempotencyKey, SystemClock};
///
/// let store = MemoryDedupStore::new(Arc::new(SystemClock), MemoryLimits::default());
/// let idempotency = Idempotency::new(Arc::new(store));
/// let (alice, key) = (Caller::for_test().build(), IdempotencyKey::from_text("order-7").unwrap());
/// let order = Repeatable { caller: &alice, route: "order", key: &key, fingerprint: Fingerprint::of(["40 packets"]) };
///
/// let first = idempotency.run(order, |_attempt| async { Work::Final(b"ordered".to_vec()) }).await?;
/// let again = idempotency.run(order, |_attempt| async { panic!("it does not run") }).await?;
/// assert_eq!((first.replayed, again.replayed), (false, true));
/// assert_eq!(first.outcome, again.outcome);
/// # Ok(()) }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone)]
pub struct Idempotency {
    store: Arc<dyn DedupStore>,
    lease: Duration,
    expires_in: Duration,
    max_outcome_bytes: usize,
    sinks: EventSinks,
    clock: Arc<dyn Clock>,
}

/// The identity of work that may be requested more than once.
#[derive(Debug, Clone, Copy)]
pub struct Repeatable<'a> {
    /// The verified caller.
    pub caller: &'a Caller,
    /// The name of the operation. Retries use the same name; no other kind of work in the same
    /// store may use it.
    pub route: &'a str,
    /// The idempotency key of the request or of the call.
    pub key: &'a IdempotencyKey,
    /// The digest that a retry must match. Another digest is [`NotRun::Conflict`].
    pub fingerprint: Fingerprint,
}

/// The SHA-256 digest of everything in which a retry must equal the first request.
///
/// ```
/// use sts_client::idempotency::Fingerprint;
///
/// assert_ne!(Fingerprint::of(["40", "packets"]), Fingerprint::of(["4", "0packets"]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// The result of the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A final outcome. A retry returns it.
    Final(Vec<u8>),
    /// A final outcome that is not stored, such as a secret that is shown once, or a stream. A
    /// retry gets [`NotRun::NotKept`].
    Unrepeatable(Vec<u8>),
    /// An outcome that may change on a retry, because the work was not done or was only partly
    /// done.
    Transient(Vec<u8>),
}

/// The number of this attempt, starting at 1. It is higher if earlier attempts were abandoned
/// within the last ten minutes, or if their process exited. Those attempts may have had an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u32);

/// The outcome of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Ran {
    /// The outcome of this run, or the stored outcome of an earlier run.
    pub outcome: Vec<u8>,
    /// True if the outcome comes from an earlier run.
    pub replayed: bool,
}

/// The reason for a missing outcome.
///
/// ```
/// use sts_client::idempotency::NotRun;
/// use sts_client::outcome::Halted;
///
/// let halted = Halted::from(NotRun::Conflict);
/// assert!(matches!(&halted, Halted::Conflict(_)));
/// assert_eq!(halted.detail().code, "IDEMPOTENCY_KEY_REUSED");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotRun {
    /// The key was used with another body. The work did not run.
    #[error("the idempotency key was used with another body")]
    Conflict,
    /// The work is in progress. It did not run again.
    #[error("the work is in progress")]
    InFlight {
        /// The time after which the client should retry.
        retry_after: Duration,
    },
    /// The store is unreachable. The work did not run.
    #[error("nothing is done without the store")]
    Unavailable(#[source] DedupError),
    /// The work panicked before it finished. A retry runs it again.
    #[error("the work did not end")]
    Broken,
    /// The work is done, and its outcome is not stored: it was too long, it was a stream, or the
    /// store was full.
    #[error("the work is done, and its outcome was not kept")]
    NotKept,
    /// The work was done under another authority, which alone may read its outcome. It did not run
    /// again.
    #[error("the work was done under another authority")]
    OtherAuthority,
}

impl Idempotency {
    /// Uses this store, with a lease of 60 s. Stores outcomes of up to 1 MiB for 24 h.
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

    /// Sets the time after which another process may take over work whose process exited. The lease
    /// is renewed while the work is in progress. Default 60 s.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets the time for which an outcome is stored. Afterwards its key is free again. Default 24
    /// h.
    #[must_use]
    pub fn expires_in(mut self, expires_in: Duration) -> Self {
        self.expires_in = expires_in;
        self
    }

    /// Sets the sinks. It receives events for each piece of work: whether it was new (`replay`),
    /// whether it ran (`invoked`), and that its outcome is known (`answered`).
    #[must_use]
    pub fn events(mut self, sinks: EventSinks) -> Self {
        self.sinks = sinks;
        self
    }

    /// Sets the clock for trace events. Leases and expiry use the clock of the store.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the maximum size of a stored outcome. A longer outcome still reaches the first caller;
    /// a retry gets [`NotRun::NotKept`]. Default 1 MiB.
    #[must_use]
    pub fn max_outcome_bytes(mut self, max: usize) -> Self {
        self.max_outcome_bytes = max;
        self
    }
}

impl Repeatable<'_> {
    /// Returns the key of the operation in the store, scoped to (tenant, caller, route).
    fn once_key(&self) -> DedupKey {
        DedupKey::new("idempotency", self.caller_parts().into_iter().chain([self.route, self.key.as_str()]))
    }

    /// Returns the caller, whose share of the store is limited.
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
    /// Digests a list of parts, each with its length.
    pub fn of<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        Self(*DedupKey::new("fingerprint", parts).as_bytes())
    }

    /// Digests a JSON value. The order of object members is ignored.
    #[must_use]
    pub fn of_json(value: &Value) -> Self {
        Self(*DedupKey::of_json("fingerprint", value).as_bytes())
    }
}

/// Converts the reason to the answer that the caller receives.
impl From<NotRun> for Halted {
    fn from(not_run: NotRun) -> Self {
        match not_run {
            NotRun::Conflict => {
                Self::conflict("IDEMPOTENCY_KEY_REUSED", "the idempotency key was used with another body", None)
            }
            NotRun::InFlight { retry_after } => {
                let message = "an operation with this idempotency key is in progress";
                Self::conflict("IDEMPOTENCY_IN_FLIGHT", message, Some(retry_after.min(MAX_RETRY_AFTER)))
            }
            NotRun::Unavailable(_) => Self::failed_dependency(
                "IDEMPOTENCY_STORE_UNAVAILABLE",
                "nothing was done: it is unknown if it was done before",
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
