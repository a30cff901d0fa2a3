//! An approval by the STS: the token of a message permits the operation that the message requests.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::payload::{self, SchemaError};
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

    /// Returns true if one detail of the token names the action for the operation of this `identifier`.
    pub(super) fn is_named(&self, caller: &Caller, identifier: &str) -> bool {
        Permissions::of(caller).of_identifier(identifier).name(&self.action)
    }

    /// Returns true if one detail of the token permits the action for that operation, with the quantities of
    /// its payload.
    ///
    /// # Errors
    /// [`SchemaError`] if the payload does not name its quantities.
    pub(super) fn permits(&self, caller: &Caller, identifier: &str, payload: &[u8]) -> Result<bool, SchemaError> {
        let action = (self.quantify)(self.action.clone(), payload)?.identifier(identifier);
        Ok(Permissions::of(caller).of_identifier(identifier).permit(&action))
    }
}

impl fmt::Debug for ApprovedAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApprovedAction").field(&self.action).finish()
    }
}
