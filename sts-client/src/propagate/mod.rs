//! What goes out with a call.

pub mod decide;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use sts_jose::{Clock, Entropy};
use url::Url;

use crate::build_error::BuildError;
use crate::carried;
use crate::context::CallContext;
use crate::error::Error;
use crate::exchange::Sts;
use crate::route::Route;
use crate::service_account::ServiceAccount;

/// Puts on every outbound call what its route says, and nothing else. Cloning is cheap and shares cache and connections.
#[derive(Debug, Clone)]
pub struct Propagator(Arc<()>);

/// Which credential a call bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A token that the STS issued for this hop, naming user and actor.
    Exchanged,
    /// The agent's own token.
    ServiceAccount,
    /// The agent's own token, standing in for an STS out of reach.
    Fallback,
    /// The user's own token.
    PassThrough,
}

/// Sets up a [`Propagator`].
#[derive(Debug, Default)]
pub struct PropagatorBuilder {}

impl Propagator {
    /// Starts without routes, STS or service account.
    #[must_use]
    pub fn builder() -> PropagatorBuilder {
        PropagatorBuilder::default()
    }

    /// Reads routes, STS and service account from TOML.
    ///
    /// # Errors
    /// [`BuildError::Toml`] with the line; [`BuildError::File`] and [`BuildError::Key`] for the files that it names.
    pub fn from_toml(_text: &str) -> Result<PropagatorBuilder, BuildError> {
        Ok(Self::builder())
    }

    /// Makes `headers` those of a call to `url` on behalf of `context`: takes off whatever could speak for somebody, and puts on one
    /// credential, the tenant, the correlation id, and what else the route forwards. On an error nothing that speaks for anybody is left.
    /// A cached token costs microseconds; otherwise it is an exchange.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn apply(
        &self,
        _context: &CallContext,
        _url: &Url,
        headers: &mut HeaderMap,
    ) -> Result<Credential, Error> {
        carried::strip(headers);
        Err(Error::misconfigured("skeleton"))
    }
}

impl PropagatorBuilder {
    /// Exchanges tokens at this STS.
    #[must_use]
    pub fn sts(self, _sts: Sts) -> Self {
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn route(self, _route: Route) -> Self {
        self
    }

    /// Says where the agent's own tokens come from.
    #[must_use]
    pub fn service_account(self, _service_account: ServiceAccount) -> Self {
        self
    }

    /// How many tokens are kept at most. Default 10,000.
    #[must_use]
    pub fn cache_capacity(self, _tokens: u64) -> Self {
        self
    }

    /// How long before its death a token is no longer sent. Default 10 s.
    #[must_use]
    pub fn margin(self, _margin: Duration) -> Self {
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

    /// Checks the routes and fetches what must be there beforehand: the service account's tokens that stand in for an STS out of reach.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub async fn build(self) -> Result<Propagator, BuildError> {
        Ok(Propagator(Arc::new(())))
    }
}
