//! What the STS issued.

use std::fmt;

use http::HeaderValue;
use jiff::Timestamp;
use sts_protocol::{Scope, Tenant};

/// A token that the STS issued for one target, verified. Debug does not show it.
#[derive(Clone)]
pub struct IssuedToken {
    pub(super) authorization: HeaderValue,
    pub(super) expires_at: Timestamp,
    pub(super) scope: Scope,
    pub(super) tenant_ids: Option<Vec<Tenant>>,
}

impl IssuedToken {
    /// `Bearer …`, marked as sensitive.
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// When it dies: the earlier of its `exp` and of what `expires_in` said.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// What it allows.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The tenants that a service account's token may be sent for; `None` for a delegated token.
    #[must_use]
    pub fn tenant_ids(&self) -> Option<&[Tenant]> {
        self.tenant_ids.as_deref()
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}
