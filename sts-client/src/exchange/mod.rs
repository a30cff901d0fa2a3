//! The client of the STS: one exchange (RFC 8693), one service-account token, one introspection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use sts_jose::{Clock, Entropy, KeySource};
use sts_protocol::{Scope, Tenant};

use crate::build_error::BuildError;
use crate::carried::CorrelationId;
use crate::credentials::Credentials;
use crate::delegation::Delegation;
use crate::error::RefusalCode;
use crate::route::Route;
use crate::transport::{Transport, TransportError};

/// A security token service, as one agent sees it. Cloning is cheap and shares connections, metadata, keys and the breaker.
#[derive(Debug, Clone)]
pub struct Sts {
    issuer: Arc<str>,
    client_id: Arc<str>,
}

/// What an exchange asks for (RFC 8693 §2.1).
#[derive(Debug, Clone, Copy)]
pub struct ExchangeRequest<'a> {
    /// The user's delegation; its token becomes the `subject_token`.
    pub subject: &'a Delegation,
    /// The target and the scope.
    pub route: &'a Route,
    /// What joins the events of one user request.
    pub correlation_id: &'a CorrelationId,
}

/// What a service account's token is asked for (RFC 6749 §4.4).
#[derive(Debug, Clone, Copy)]
pub struct ServiceAccountRequest<'a> {
    /// The target and the scope.
    pub route: &'a Route,
    /// What joins the events of one request.
    pub correlation_id: &'a CorrelationId,
}

/// A token that the STS issued for one target, verified. Debug does not show it.
#[derive(Clone)]
pub struct IssuedToken {
    authorization: HeaderValue,
    expires_at: Timestamp,
    scope: Scope,
    tenant_ids: Option<Vec<Tenant>>,
}

/// Sets up an [`Sts`].
#[derive(Debug)]
pub struct StsBuilder {
    issuer: String,
    client_id: String,
    credentials: Credentials,
}

impl Sts {
    /// The STS of that issuer identifier, for the agent of that id. Its endpoints come from its metadata (RFC 8414).
    #[must_use]
    pub fn builder(issuer: impl Into<String>, client_id: impl Into<String>, credentials: Credentials) -> StsBuilder {
        StsBuilder { issuer: issuer.into(), client_id: client_id.into(), credentials }
    }

    /// The issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The agent's id: its `client_id`, and `act.sub` of what it is issued.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Exchanges the user's token for one that is good for the route's target.
    ///
    /// # Errors
    /// See [`ExchangeError`].
    pub async fn exchange(&self, _request: ExchangeRequest<'_>) -> Result<IssuedToken, ExchangeError> {
        Err(ExchangeError::Misconfigured { what: "skeleton".to_owned() })
    }

    /// Asks for a token of the agent's own, good for the route's target.
    ///
    /// # Errors
    /// See [`ExchangeError`].
    pub async fn service_account_token(
        &self,
        _request: ServiceAccountRequest<'_>,
    ) -> Result<IssuedToken, ExchangeError> {
        Err(ExchangeError::Misconfigured { what: "skeleton".to_owned() })
    }

    /// Whether the STS says that a token is alive (RFC 7662).
    ///
    /// # Errors
    /// See [`ExchangeError`].
    pub async fn is_active(&self, _token: &str, _correlation_id: &CorrelationId) -> Result<bool, ExchangeError> {
        Err(ExchangeError::Misconfigured { what: "skeleton".to_owned() })
    }
}

impl StsBuilder {
    /// The time that one call may take, all attempts together. Default 5 s.
    #[must_use]
    pub fn deadline(self, _deadline: Duration) -> Self {
        self
    }

    /// The time that one attempt may take. Default 2 s.
    #[must_use]
    pub fn attempt_timeout(self, _timeout: Duration) -> Self {
        self
    }

    /// How many attempts a call makes at most. Default 3.
    #[must_use]
    pub fn attempts(self, _attempts: u32) -> Self {
        self
    }

    /// Lets the STS be reached over plain http, though it is not loopback.
    #[must_use]
    pub fn allow_http(self) -> Self {
        self
    }

    /// Trusts exactly these certificate authorities, in PEM.
    #[must_use]
    pub fn ca_pem(self, _pem: Vec<u8>) -> Self {
        self
    }

    /// Takes the keys from here instead of the metadata's `jwks_uri`.
    #[must_use]
    pub fn keys(self, _keys: KeySource) -> Self {
        self
    }

    /// Sends requests by other means.
    #[must_use]
    pub fn transport(self, _transport: Arc<dyn Transport>) -> Self {
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
    /// [`BuildError::Contradiction`] when the issuer is no http(s) URL that may be used; [`BuildError::Http`].
    pub fn build(self) -> Result<Sts, BuildError> {
        let _ = self.credentials;
        Ok(Sts { issuer: self.issuer.into(), client_id: self.client_id.into() })
    }
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

/// Why no token came of a request to the STS. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The STS said no, or something that cannot be read, or gave a token for something else than what was asked for.
    #[error("the sts refused: {code}")]
    Refused {
        /// The code of the answer, or [`RefusalCode::INVALID_RESPONSE`].
        code: RefusalCode,
    },
    /// The STS turns requests away under load (429), after bounded retries.
    #[error("the sts is under load")]
    Overloaded {
        /// What `Retry-After` said.
        retry_after: Option<Duration>,
    },
    /// The STS is out of reach, after bounded retries.
    #[error("the sts is out of reach")]
    Outage(#[source] Arc<Outage>),
    /// Our own side is at fault: a credential that cannot be read, an issuer whose metadata is another's.
    #[error("{what}")]
    Misconfigured {
        /// What must be put right; no secrets.
        what: String,
    },
}

/// What makes the STS count as out of reach.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Outage {
    /// No answer.
    #[error("no answer")]
    Transport(#[source] TransportError),
    /// A status of 500 to 599.
    #[error("answered with status {0}")]
    Status(u16),
    /// The latest attempts all failed, so that none is made for a while.
    #[error("not asked again so soon after failing")]
    BreakerOpen,
    /// Its keys are out of reach, so that its token cannot be verified.
    #[error("its keys are out of reach")]
    Keys(#[source] sts_jose::KeyLookupError),
    /// The source of a token beside the STS is out of reach.
    #[error("the token source is out of reach")]
    TokenSource(#[source] Arc<dyn std::error::Error + Send + Sync>),
}
