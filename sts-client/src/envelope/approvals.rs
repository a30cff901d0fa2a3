//! The operation that an envelope requests, and its approval.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sts_jose::Clock;
use sts_protocol::Tenant;

use super::capability::Capability;
use super::claims::{approval_identifier, base64url, digest_of_parts};

/// The approvals are unreachable. Neither party is at fault; the caller may retry.
#[derive(Debug, thiserror::Error)]
#[error("the approvals cannot be asked")]
pub struct ApprovalsUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The operation that an envelope requests. It is equal for a retry, and differs if any part
/// differs, including the payload.
///
/// `Debug` shows its id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Operation {
    pub(super) tenant: Option<Tenant>,
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) service_id: String,
    pub(super) capability: Capability,
    pub(super) idempotency_key: String,
    pub(super) payload_tag: String,
}

impl Operation {
    /// Returns an id that reveals nothing of the operation: SHA-256, base64url.
    #[must_use]
    pub fn id(&self) -> String {
        base64url(&self.digest())
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        let tenant = self.tenant.as_ref().map_or("", Tenant::as_str);
        digest_of_parts(&[
            tenant,
            &self.issuer,
            &self.subject,
            &self.service_id,
            self.capability.as_str(),
            &self.idempotency_key,
            &self.payload_tag,
        ])
    }

    /// Returns the `identifier` that an authorization detail must have to permit the operation.
    pub(super) fn approval_identifier(&self) -> String {
        approval_identifier(&self.idempotency_key, &self.payload_tag)
    }

    /// Returns the verified tenant.
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// Returns the principal: issuer of the token, and subject.
    #[must_use]
    pub fn subject(&self) -> (&str, &str) {
        (&self.issuer, &self.subject)
    }

    /// Returns the calling agent.
    #[must_use]
    pub fn service_id(&self) -> &str {
        &self.service_id
    }

    /// Returns the requested capability.
    #[must_use]
    pub fn capability(&self) -> Capability {
        self.capability
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({})", self.id())
    }
}

/// A source of approvals for operations.
#[async_trait]
pub trait Approvals: fmt::Debug + Send + Sync {
    /// Returns true if exactly this operation is approved now.
    ///
    /// # Errors
    /// [`ApprovalsUnavailable`]: the operation does not run, and its caller gets an outage instead
    /// of a request for approval.
    async fn is_approved(&self, operation: &Operation) -> Result<bool, ApprovalsUnavailable>;
}

/// The time for which an operation waits for its approval after it was last requested.
const WAITING_FOR: Duration = Duration::from_secs(60 * 60);

/// Approvals in memory, and the operations that wait for an approval.
///
/// At most `capacity` operations wait, and at most `capacity` are approved. An operation stops
/// waiting if it is not requested again within an hour. Each peer's share is bounded. A peer may
/// have at most as many waiting operations as there are free places. A principal of a peer may have
/// at most as many as the peer has left. So no peer and no user can block another's operations.
///
/// ```
/// use std::sync::Arc;
///
/// use sts_client::SystemClock;
/// use sts_client::envelope::ApprovalDesk;
///
/// let desk = ApprovalDesk::new(1_000, Arc::new(SystemClock));
/// assert!(desk.waiting().is_empty());
/// ```
#[derive(Debug)]
pub struct ApprovalDesk {
    capacity: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<Desk>,
}

/// Operations, and the time at which each expires.
#[derive(Debug, Default)]
struct Desk {
    waiting: HashMap<Operation, Timestamp>,
    approved: HashMap<Operation, Timestamp>,
}

impl ApprovalDesk {
    /// Makes an empty desk for at most `capacity` operations of each kind.
    #[must_use]
    pub fn new(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        Self { capacity, clock, state: Mutex::default() }
    }

    /// Returns the operations that were refused because they have no approval.
    #[must_use]
    pub fn waiting(&self) -> Vec<Operation> {
        self.current().waiting.keys().cloned().collect()
    }

    /// Approves the waiting operation of that id until the given time. Returns true if the
    /// operation was waiting and the desk had room.
    pub fn approve(&self, id: &str, until: Timestamp) -> bool {
        let mut desk = self.current();
        let found = desk.waiting.keys().find(|operation| operation.id() == id).cloned();
        let Some(operation) = found.filter(|_| desk.approved.len() < self.capacity) else { return false };
        desk.waiting.remove(&operation);
        desk.approved.insert(operation, until);
        true
    }

    /// Returns the desk without expired operations.
    fn current(&self) -> MutexGuard<'_, Desk> {
        let now = self.clock.now();
        let mut desk = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        desk.waiting.retain(|_, until| *until > now);
        desk.approved.retain(|_, until| *until > now);
        desk
    }
}

impl Desk {
    /// Returns true if another operation of that caller may wait.
    fn has_room(&self, capacity: usize, operation: &Operation) -> bool {
        let free = capacity.saturating_sub(self.waiting.len());
        let of_peer = self.waiting.keys().filter(|other| other.service_id == operation.service_id);
        let of_caller = of_peer.clone().filter(|other| {
            other.tenant == operation.tenant && other.issuer == operation.issuer && other.subject == operation.subject
        });
        of_caller.count() < free.saturating_sub(of_peer.count())
    }
}

#[async_trait]
impl Approvals for ApprovalDesk {
    async fn is_approved(&self, operation: &Operation) -> Result<bool, ApprovalsUnavailable> {
        let waiting_until = self.clock.now().checked_add(WAITING_FOR).unwrap_or(Timestamp::MAX);
        let mut desk = self.current();
        if desk.approved.contains_key(operation) {
            return Ok(true);
        }
        if desk.waiting.contains_key(operation) || desk.has_room(self.capacity, operation) {
            desk.waiting.insert(operation.clone(), waiting_until);
        }
        Ok(false)
    }
}
