//! The permissions of a token that are finer than scopes.

use sts_protocol::AuthorizationDetail;

use super::caller::Caller;
use super::required_action::RequiredAction;

/// The authorization details of a token (RFC 9396), read once for all actions of a request.
pub(crate) struct Permissions<'c> {
    details: Vec<AuthorizationDetail>,
    aud: Vec<&'c str>,
}

impl<'c> Permissions<'c> {
    pub(crate) fn of(caller: &'c Caller) -> Self {
        let aud = caller.verified().claims.strings("aud").ok().flatten().unwrap_or_default();
        Self { details: caller.authorization_details(), aud }
    }

    /// Returns true if one detail permits the whole action.
    pub(crate) fn permit(&self, action: &RequiredAction) -> bool {
        self.details.iter().any(|detail| action.is_permitted_by(detail, &self.aud))
    }

    /// Returns the permissions by the details that have exactly this `identifier`.
    #[cfg(feature = "envelope")]
    pub(crate) fn of_identifier(mut self, identifier: &str) -> Self {
        self.details.retain(|detail| detail.identifier.as_ref().is_some_and(|named| named.as_str() == identifier));
        self
    }

    /// Returns true if one detail names the action. It may limit it.
    #[cfg(feature = "envelope")]
    pub(crate) fn name(&self, action: &RequiredAction) -> bool {
        self.details.iter().any(|detail| action.is_named_by(detail))
    }
}
