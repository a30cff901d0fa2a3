//! The proof that a caller may use its token.

use std::sync::Arc;

/// The way in which a caller proved that it may use its token.
///
/// ```
/// use sts_client::{Caller, Possession};
///
/// fn audit_line(caller: &Caller) -> String {
///     match caller.possession() {
///         Possession::Bearer => "a bearer token".to_owned(),
///         Possession::Dpop { jkt } => format!("a token of the key {jkt}"),
///         Possession::Certificate { x5t_s256 } => format!("a token of the certificate {x5t_s256}"),
///         _ => "a bound token".to_owned(),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Possession {
    /// The token is a bearer token: the caller proved nothing beyond having it.
    Bearer,
    /// The token is bound to a key, and the request carried a proof of that key (RFC 9449).
    Dpop {
        /// The RFC 7638 thumbprint of the key: the `cnf.jkt` of the token.
        jkt: Arc<str>,
    },
    /// The token is bound to a certificate, and the caller presented it on its connection (RFC 8705).
    Certificate {
        /// The SHA-256 thumbprint of the certificate: the `cnf.x5t#S256` of the token.
        x5t_s256: Arc<str>,
    },
}

/// The scheme under which a token was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Bearer,
    Dpop,
}

impl Possession {
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Self::Bearer | Self::Certificate { .. } => Scheme::Bearer,
            Self::Dpop { .. } => Scheme::Dpop,
        }
    }
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

/// The settings of an agent for the challenges of its refusals.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    /// The URL of the metadata of the resource (RFC 9728 §5.1).
    pub(crate) resource_metadata: Option<Arc<str>>,
    /// The algorithms of accepted proofs (RFC 9449 §7.1), if proofs are accepted.
    pub(crate) algs: Option<String>,
    /// True if every token must be bound.
    pub(crate) is_dpop_required: bool,
}

impl Challenges {
    /// Returns the schemes that a caller may use. The scheme that it has used is first.
    pub(crate) fn schemes(&self, used: Scheme) -> Vec<Scheme> {
        match (&self.algs, used) {
            (None, _) => vec![Scheme::Bearer],
            (Some(_), _) if self.is_dpop_required => vec![Scheme::Dpop],
            (Some(_), Scheme::Bearer) => vec![Scheme::Bearer, Scheme::Dpop],
            (Some(_), Scheme::Dpop) => vec![Scheme::Dpop, Scheme::Bearer],
        }
    }
}
