//! What an envelope asks for, and who approved it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use sts_jose::Clock;
use sts_protocol::Tenant;

use super::capability::Capability;
use super::claims::{base64url, digest_of_parts};

/// Whether something is approved cannot be told. Nobody's fault here; one may try again.
#[derive(Debug, thiserror::Error)]
#[error("the approvals cannot be asked")]
pub struct ApprovalsUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The operation that an envelope asks for: the same when it is tried again, another when anything of it is another, the payload included.
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
    /// A name for it that holds nothing of it: SHA-256, base64url.
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

    /// The verified tenant.
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// The principal: issuer of the token, and subject.
    #[must_use]
    pub fn subject(&self) -> (&str, &str) {
        (&self.issuer, &self.subject)
    }

    /// The agent that asks.
    #[must_use]
    pub fn service_id(&self) -> &str {
        &self.service_id
    }

    /// What it asks for.
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

/// Says whether somebody approved an operation.
#[async_trait]
pub trait Approvals: fmt::Debug + Send + Sync {
    /// Whether exactly this operation is approved at this time.
    ///
    /// # Errors
    /// [`ApprovalsUnavailable`]: then the operation is not done, and its caller is not told that it must be approved.
    async fn is_approved(&self, operation: &Operation) -> Result<bool, ApprovalsUnavailable>;
}

/// Approvals in memory, and what waits for one. At most so many of each are kept: past that nothing more waits, and nothing more is
/// approved.
#[derive(Debug)]
pub struct ApprovalDesk {
    capacity: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: HashSet<Operation>,
    approved: HashMap<Operation, Timestamp>,
}

impl ApprovalDesk {
    /// An empty desk for at most `capacity` operations of each kind.
    #[must_use]
    pub fn new(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        Self { capacity, clock, state: Mutex::default() }
    }

    /// What was refused for want of an approval.
    #[must_use]
    pub fn waiting(&self) -> Vec<Operation> {
        self.lock().waiting.iter().cloned().collect()
    }

    /// Approves the waiting operation of that id until then. Says whether there was one.
    pub fn approve(&self, id: &str, until: Timestamp) -> bool {
        let now = self.clock.now();
        let mut desk = self.lock();
        desk.approved.retain(|_, until| *until > now);
        let Some(operation) = desk.waiting.iter().find(|operation| operation.id() == id).cloned() else { return false };
        if desk.approved.len() >= self.capacity {
            return false;
        }
        desk.waiting.remove(&operation);
        desk.approved.insert(operation, until);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Approvals for ApprovalDesk {
    async fn is_approved(&self, operation: &Operation) -> Result<bool, ApprovalsUnavailable> {
        let now = self.clock.now();
        let mut desk = self.lock();
        if desk.approved.get(operation).is_some_and(|until| *until > now) {
            return Ok(true);
        }
        if desk.waiting.len() < self.capacity {
            desk.waiting.insert(operation.clone());
        }
        Ok(false)
    }
}
