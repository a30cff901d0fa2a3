//! The requirements of a handler on its caller.

use std::sync::Arc;

use sts_protocol::ScopeToken;

use super::refusal::Refusal;
use super::why::Why;
use crate::call::{Caller, Permissions, RequiredAction, VerifiedTenant};

impl Caller {
    /// Refuses the request unless the token has a scope with exactly this name.
    ///
    /// ```
    /// # use sts_client::{Caller, inbound::Refusal};
    /// async fn stock(caller: Caller) -> Result<&'static str, Refusal> {
    ///     caller.require_scope("stock:read")?;
    ///     Ok("7 bolts")
    /// }
    /// ```
    ///
    /// # Errors
    /// A [`Refusal`] with status 403.
    pub fn require_scope(&self, scope: &str) -> Result<(), Refusal> {
        if self.has_scope(scope) {
            return Ok(());
        }
        // An invalid scope token never matches, and is not repeated in a header.
        let named = ScopeToken::new(scope).ok().into_iter().collect();
        Err(self.refused(Why::ScopeMissing(named)))
    }

    /// Refuses the request unless one authorization detail of the token (RFC 9396) permits the action. A
    /// token without details permits none.
    ///
    /// ```
    /// # use sts_client::{Caller, RequiredAction, inbound::Refusal};
    /// async fn refund(caller: Caller, amount: f64) -> Result<&'static str, Refusal> {
    ///     caller.require_action(RequiredAction::new("refund").limit("amount", amount))?;
    ///     Ok("refunded")
    /// }
    ///
    /// /// An action without quantities.
    /// async fn lookup(caller: Caller) -> Result<&'static str, Refusal> {
    ///     caller.require_action("lookup")?;
    ///     Ok("7 bolts")
    /// }
    /// ```
    ///
    /// # Errors
    /// A [`Refusal`] with status 403 and the error `insufficient_authorization_details`.
    pub fn require_action(&self, action: impl Into<RequiredAction>) -> Result<(), Refusal> {
        self.require_actions(&[action.into()])
    }

    /// Refuses the request unless the token permits each action.
    pub(crate) fn require_actions(&self, actions: &[RequiredAction]) -> Result<(), Refusal> {
        let permissions = Permissions::of(self);
        match actions.iter().find(|action| !permissions.permit(action)) {
            Some(action) => Err(self.refused(Why::ActionMissing(action.shown()))),
            None => Ok(()),
        }
    }

    /// Returns the tenant of the token, or refuses the request if the token has no tenant.
    ///
    /// ```
    /// # use sts_client::{Caller, inbound::Refusal};
    /// async fn orders(caller: Caller) -> Result<String, Refusal> {
    ///     let tenant = caller.require_tenant()?;
    ///     Ok(format!("orders of {tenant}"))
    /// }
    /// ```
    ///
    /// # Errors
    /// A [`Refusal`] with status 403.
    pub fn require_tenant(&self) -> Result<VerifiedTenant, Refusal> {
        self.verified_tenant().ok_or_else(|| self.refused(Why::TenantMissing))
    }

    fn refused(&self, why: Why) -> Refusal {
        Refusal::new(why, Arc::clone(&self.verified().challenges), self.possession().scheme())
    }
}
