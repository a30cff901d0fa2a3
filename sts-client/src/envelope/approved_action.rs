//! An approval by the STS: the token of a message permits the operation that the message requests.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::approvals::Operation;
use super::payload::{self, SchemaError};
use super::refusal::{Reason, Refusal};
use crate::call::{Caller, Permissions, RequiredAction};

/// Adds the quantities of a payload to its action.
type Quantify = dyn Fn(RequiredAction, &[u8]) -> Result<RequiredAction, SchemaError> + Send + Sync;

/// The action that the token of a message must permit.
#[derive(Clone)]
pub(super) struct ApprovedAction {
    action: RequiredAction,
    quantify: Arc<Quantify>,
}

impl ApprovedAction {
    pub(super) fn new<T: DeserializeOwned + 'static>(
        name: String,
        quantify: impl Fn(RequiredAction, &T) -> RequiredAction + Send + Sync + 'static,
    ) -> Self {
        let quantify =
            move |action: RequiredAction, payload: &[u8]| Ok(quantify(action, &payload::read::<T>(payload)?));
        Self { action: RequiredAction::new(name), quantify: Arc::new(quantify) }
    }

    /// Checks, before decryption, that one detail of the token names the action for this operation.
    pub(super) fn check_named(&self, caller: &Caller, operation: &Operation) -> Result<(), Refusal> {
        if permissions(caller, operation).name(&self.action) {
            return Ok(());
        }
        Err(Refusal::new(Reason::ApprovalRequired, "no detail of the token is for the operation"))
    }

    /// Checks that one detail of the token permits the action with the quantities of the payload.
    pub(super) fn check(&self, caller: &Caller, operation: &Operation, payload: &[u8]) -> Result<(), Refusal> {
        let refused = |detail| Refusal::new(Reason::ApprovalRequired, detail);
        let action = self.action.clone().identifier(&operation.idempotency_key);
        // The cause is dropped: a payload that cannot be read is refused with the reason of this check.
        let action = (self.quantify)(action, payload).or(Err(refused("the payload does not name its quantities")))?;
        let is_permitted = permissions(caller, operation).permit(&action);
        if is_permitted { Ok(()) } else { Err(refused("beyond the limits of the token")) }
    }
}

/// Returns the permissions that are for exactly this operation: their `identifier` is its idempotency key.
fn permissions<'c>(caller: &'c Caller, operation: &Operation) -> Permissions<'c> {
    Permissions::of(caller).of_identifier(&operation.idempotency_key)
}

impl fmt::Debug for ApprovedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApprovedAction").field(&self.action).finish()
    }
}
