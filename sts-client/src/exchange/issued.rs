//! The tokens that the STS issues.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;
use sts_protocol::{Scope, Tenant};

use crate::possession::TokenHeader;

/// A verified token that the STS issued for one target. Debug does not show it.
///
/// ```
/// use sts_client::exchange::IssuedToken;
/// use sts_client::{Clock as _, SystemClock};
///
/// fn describe(token: &IssuedToken) -> String {
///     let left = SystemClock.now().duration_until(token.expires_at());
///     format!("{} for another {} s", token.scope(), left.as_secs())
/// }
/// ```
#[derive(Clone)]
pub struct IssuedToken {
    pub(super) header: TokenHeader,
    /// The thumbprint of the client certificate to which it is bound.
    pub(super) certificate: Option<Arc<str>>,
    pub(super) expires_at: Timestamp,
    pub(super) scope: Scope,
    pub(super) tenant_ids: Option<Vec<Tenant>>,
}

impl IssuedToken {
    /// Returns the `Authorization` of a call with this token, marked as sensitive: `Bearer …`, or
    /// `DPoP …` for a token that is bound to the key of the agent ([`StsBuilder::dpop`]). A call
    /// with a bound token also needs a proof, which [`Propagator::apply_as`] makes.
    ///
    /// [`StsBuilder::dpop`]: super::StsBuilder::dpop
    /// [`Propagator::apply_as`]: crate::Propagator::apply_as
    #[must_use]
    pub fn authorization(&self) -> HeaderValue {
        self.header.authorization().clone()
    }

    pub(crate) fn header(&self) -> &TokenHeader {
        &self.header
    }

    pub(crate) fn certificate(&self) -> Option<&Arc<str>> {
        self.certificate.as_ref()
    }

    /// Returns the time at which it expires: its `exp`, or the time that `expires_in` gives, if
    /// that is earlier.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns the scope of the token.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the tenants for which a service account's token may be sent; `None` for a delegated
    /// token.
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
