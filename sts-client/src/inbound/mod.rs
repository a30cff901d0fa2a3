//! Who calls? The verification of inbound tokens.

mod issuer;
mod refusal;

use std::sync::Arc;

use http::HeaderMap;
use sts_jose::{Clock, Entropy};
use sts_protocol::{ScopeToken, Tenant};
use url::Url;

pub use issuer::Issuer;
pub use refusal::Refusal;

use crate::build_error::BuildError;
use crate::delegation::Delegation;
use crate::exchange::Sts;

/// Verifies the bearer tokens of inbound requests. Cloning is cheap and shares the key sets.
#[derive(Debug, Clone)]
pub struct Verifier(Arc<()>);

/// Sets up a [`Verifier`].
#[derive(Debug, Default)]
pub struct VerifierBuilder {}

impl Verifier {
    /// A verifier that accepts tokens with one of these `aud` values.
    pub fn builder<A: Into<String>>(_audiences: impl IntoIterator<Item = A>) -> VerifierBuilder {
        VerifierBuilder::default()
    }

    /// Verifies the token of a request.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn verify(&self, _headers: &HeaderMap) -> Result<Delegation, Refusal> {
        Err(Refusal)
    }
}

impl VerifierBuilder {
    /// Believes an issuer.
    #[must_use]
    pub fn issuer(self, _issuer: Issuer) -> Self {
        self
    }

    /// Refuses tokens without this scope.
    #[must_use]
    pub fn require_scope(self, _scope: ScopeToken) -> Self {
        self
    }

    /// Knows a subject of an issuer other than the STS as a service account that may speak for these tenants.
    #[must_use]
    pub fn service_account(self, _issuer: &str, _subject: &str, _tenants: impl IntoIterator<Item = Tenant>) -> Self {
        self
    }

    /// The URI of this agent as a protected resource (RFC 9728 §1.2): its metadata is served and named in refusals.
    #[must_use]
    pub fn resource(self, _resource: Url) -> Self {
        self
    }

    /// Asks the STS for every token of its own whether it is still alive.
    #[must_use]
    pub fn introspect(self, _sts: Sts) -> Self {
        self
    }

    /// Tells the time by another clock.
    #[must_use]
    pub fn clock(self, _clock: Arc<dyn Clock>) -> Self {
        self
    }

    /// Takes chance from elsewhere.
    #[must_use]
    pub fn entropy(self, _entropy: Arc<dyn Entropy>) -> Self {
        self
    }

    /// Opens no connection yet.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self) -> Result<Verifier, BuildError> {
        Ok(Verifier(Arc::new(())))
    }
}
