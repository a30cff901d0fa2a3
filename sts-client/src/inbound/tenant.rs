//! For which tenant a call is.

use sts_protocol::Tenant;

use super::refusal::Why;
use crate::call::Kind;

/// The tenants that a token speaks for.
pub(super) enum Tenants {
    /// A user's own, if any. `X-Tenant-ID` may repeat it and is never a source.
    OfUser(Option<Tenant>),
    /// Those of which a service account may name one.
    OfServiceAccount(Vec<Tenant>),
}

impl Tenants {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::OfUser(_) => Kind::User,
            Self::OfServiceAccount(_) => Kind::ServiceAccount,
        }
    }

    /// The tenant of a call whose `X-Tenant-ID` is `named`.
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
