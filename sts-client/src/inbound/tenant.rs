//! The tenant of a call.

use sts_protocol::Tenant;

use super::why::Why;
use crate::call::Kind;

/// The tenants that a token permits.
pub(super) enum Tenants {
    /// The tenant of the user, if any. `X-Tenant-ID` may repeat this tenant but never sets it.
    OfUser(Option<Tenant>),
    /// The tenants of a service account. A request may name one of these tenants.
    OfServiceAccount(Vec<Tenant>),
}

impl Tenants {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::OfUser(_) => Kind::User,
            Self::OfServiceAccount(_) => Kind::ServiceAccount,
        }
    }

    /// Returns the tenant of a call whose `X-Tenant-ID` is `named`.
    pub(super) fn settle(self, named: Option<Tenant>) -> Result<Option<Tenant>, Why> {
        match (self, named) {
            (Self::OfUser(own), None) => Ok(own),
            (Self::OfUser(own), Some(named)) if own.as_ref() == Some(&named) => Ok(own),
            (Self::OfUser(_), Some(_)) => Err(Why::TenantContradicted),
            (Self::OfServiceAccount(_), None) => Ok(None),
            (Self::OfServiceAccount(tenants), Some(named)) if tenants.contains(&named) => Ok(Some(named)),
            (Self::OfServiceAccount(_), Some(_)) => Err(Why::TenantForbidden),
        }
    }
}
