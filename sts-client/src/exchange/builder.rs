//! The builder of an [`Sts`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sts_jose::{Clock, Entropy, KeySource, Location, RemoteConfig, SystemClock, SystemEntropy};

use super::breaker::Breaker;
use super::budget::RetryBudget;
use super::discovery::{Discovery, DiscoveryConfig, Keys};
use super::recent_answers::RecentAnswers;
use super::retry::Policy;
use super::{Sts, StsInner, deferred};
use crate::build_error::BuildError;
use crate::credentials::Credentials;
use crate::net::{CertificateFiles, HttpTransport, Transport};
use crate::possession::{Nonces, Prover};

/// The builder of an [`Sts`]: its credentials, trust, time limits and retries.
///
/// ```
/// use std::time::Duration;
/// use sts_client::{Credentials, Sts};
///
/// let sts = Sts::builder("https://sts.example.com", "inventory", Credentials::ClientSecret("from a vault".into()))
///     .deadline(Duration::from_secs(3))
///     .attempt_timeout(Duration::from_secs(1))
///     .attempts(2)
///     .build()?;
/// # Ok::<(), sts_client::BuildError>(())
/// ```
#[derive(Debug)]
pub struct StsBuilder {
    issuer: String,
    client_id: String,
    credentials: Credentials,
    policy: Policy,
    approval_deadline: Duration,
    allow_http: bool,
    ca_pem: Option<Vec<u8>>,
    keys: Option<KeySource>,
    transport: Option<Arc<dyn Transport>>,
    dpop: bool,
    certificate: Option<CertificateFiles>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl StsBuilder {
    pub(super) fn new(issuer: String, client_id: String, credentials: Credentials) -> Self {
        Self {
            issuer,
            client_id,
            credentials,
            policy: Policy::default(),
            approval_deadline: deferred::DEADLINE,
            allow_http: false,
            ca_pem: None,
            keys: None,
            transport: None,
            dpop: false,
            certificate: None,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// Sets the time limit of one call, including all attempts. Default 5 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sts_client::{BuildError, Credentials, Sts};
    ///
    /// let sts = || Sts::builder("https://sts.example.com", "inventory", Credentials::ClientSecret("s".into()));
    /// assert!(sts().deadline(Duration::from_millis(800)).build().is_ok());
    /// assert!(matches!(sts().deadline(Duration::ZERO).build(), Err(BuildError::Contradiction(_))));
    /// ```
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.policy.deadline = deadline;
        self
    }

    /// Sets the time limit of one attempt. Default 2 s.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.policy.attempt_timeout = timeout;
        self
    }

    /// Sets the maximum number of attempts of one call, at least 1. Default 3.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.policy.attempts = attempts;
        self
    }

    /// Sets the time limit of a call that waits for the approval of a person
    /// ([`OnApproval::Wait`](crate::OnApproval::Wait)). Default 5 min.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sts_client::{Credentials, Sts};
    ///
    /// let own = Credentials::ClientSecret("from a vault".into());
    /// let sts = Sts::builder("https://sts.example.com", "inventory", own).approval_deadline(Duration::from_secs(30)).build()?;
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    #[must_use]
    pub fn approval_deadline(mut self, deadline: Duration) -> Self {
        self.approval_deadline = deadline;
        self
    }

    /// Allows plain http to an STS that is not loopback.
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// Trusts only these certificate authorities, in PEM.
    ///
    /// ```
    /// use sts_client::{Credentials, Sts};
    ///
    /// # fn run(own: Credentials) -> Result<(), Box<dyn std::error::Error>> {
    /// let authority = std::fs::read("/etc/shop/ca.pem")?;
    /// let sts = Sts::builder("https://sts.example.com", "inventory", own).ca_pem(authority).build()?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.ca_pem = Some(pem);
        self
    }

    /// Takes the keys from this source instead of the metadata's `jwks_uri`.
    ///
    /// ```
    /// use sts_client::{Algorithm, Credentials, KeySet, KeySource, SigningKey, Sts};
    ///
    /// // The key set of the STS, from its `/oauth2/jwks`.
    /// # let jwks = format!(r#"{{"keys": [{}]}}"#, SigningKey::generate(Algorithm::Es256)?.public_jwk());
    /// let keys = KeySource::Inline(KeySet::parse(jwks.as_bytes())?);
    /// let own = Credentials::ClientSecret("from a vault".into());
    /// let sts = Sts::builder("https://sts.example.com", "inventory", own).keys(keys).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn keys(mut self, keys: KeySource) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Sends requests through another transport. The crate's own client still fetches the keys,
    /// unless [`Self::keys`] sets them.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use sts_client::net::{Transport, TransportError};
    /// use sts_client::{Credentials, Sts, async_trait, http};
    ///
    /// /// An STS that is never there.
    /// #[derive(Debug)]
    /// struct Down;
    ///
    /// #[async_trait]
    /// impl Transport for Down {
    ///     async fn send(&self, _request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, TransportError> {
    ///         Err(TransportError::TimedOut)
    ///     }
    /// }
    ///
    /// let own = Credentials::ClientSecret("s".into());
    /// let sts = Sts::builder("https://sts.example.com", "inventory", own).transport(Arc::new(Down)).build()?;
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Binds every token to a new ES256 key of this process (DPoP, RFC 9449), so that a copied token
    /// is useless elsewhere. Every request for a token, and every call with one, then carries a proof. A
    /// token that the STS does not bind is discarded.
    ///
    /// A route whose target cannot check proofs is [`Route::bearer_only`](crate::Route::bearer_only).
    ///
    /// ```
    /// # use sts_client::{Credentials, Sts};
    /// let secret = Credentials::ClientSecret("secret".into());
    /// let sts = Sts::builder("https://sts.example.com", "coordinator", secret).dpop().build()?;
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    #[must_use]
    pub fn dpop(mut self) -> Self {
        self.dpop = true;
        self
    }

    /// Presents a client certificate to the STS (mutual TLS, RFC 8705), from files in PEM. Calls look at
    /// the files at most once a second, and read them again when they have changed. The STS may bind
    /// tokens to it. The agent then has to present the same certificate to its targets
    /// ([`HttpOptions::client_certificate_files`]). With [`Credentials::ClientCertificate`] it is also
    /// the client authentication.
    ///
    /// ```no_run
    /// # use sts_client::{Credentials, Sts};
    /// let sts = Sts::builder("https://sts.example.com", "coordinator", Credentials::ClientCertificate)
    ///     .client_certificate_files("/run/secrets/agent.pem", "/run/secrets/agent.key")
    ///     .build()?;
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    ///
    /// [`HttpOptions::client_certificate_files`]: crate::HttpOptions::client_certificate_files
    #[must_use]
    pub fn client_certificate_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.certificate = Some(CertificateFiles { certificate: certificate.into(), key: key.into() });
        self
    }

    /// Uses this clock instead of the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Uses this source of randomness instead of the system's.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Builds the [`Sts`]. Opens no connection yet.
    ///
    /// ```
    /// use sts_client::{BuildError, Credentials, Sts};
    ///
    /// let own = || Credentials::ClientSecret("from a vault".into());
    /// assert!(Sts::builder("http://127.0.0.1:8080", "inventory", own()).build().is_ok());
    /// // Plain http to another machine would show the secret.
    /// let refused = Sts::builder("http://sts.example.com", "inventory", own()).build();
    /// assert!(matches!(refused, Err(BuildError::Contradiction(_))));
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Contradiction`] when the issuer is not an allowed http(s) URL, or a time limit
    /// is zero; [`BuildError::Http`]; [`BuildError::ProofKey`].
    pub fn build(self) -> Result<Sts, BuildError> {
        if self.policy.deadline.is_zero() || self.policy.attempt_timeout.is_zero() {
            // With a time limit of zero, every call would be an outage and every fallback would
            // apply.
            return Err(BuildError::contradiction(
                "deadline and attempt_timeout must be greater than zero (sts.deadline_ms and sts.attempt_timeout_ms in agent.toml)",
            ));
        }
        if matches!(self.credentials, Credentials::ClientCertificate)
            && self.certificate.is_none()
            && self.transport.is_none()
        {
            return Err(BuildError::contradiction(
                "client authentication by certificate needs a client certificate (sts.certificate_file and sts.key_file in agent.toml)",
            ));
        }
        let (ca_pem, timeout) = (self.ca_pem.as_deref(), self.policy.attempt_timeout);
        let followed = match (&self.certificate, &self.transport) {
            (None, _) => None,
            (Some(files), None) => {
                let (ca_pem, clock) = (self.ca_pem.clone(), Arc::clone(&self.clock));
                Some(HttpTransport::followed(timeout, ca_pem, files, clock)?)
            }
            (Some(_), Some(_)) => {
                return Err(BuildError::contradiction("a client certificate is for the default transport alone"));
            }
        };
        let transport: Arc<dyn Transport> = match (self.transport, &followed, ca_pem) {
            (Some(transport), _, _) => transport,
            (None, Some(followed), _) => Arc::new(HttpTransport::following(Arc::clone(followed))),
            (None, None, Some(ca_pem)) => Arc::new(HttpTransport::with_ca(timeout, ca_pem)?),
            (None, None, None) => Arc::new(HttpTransport::new(timeout)?),
        };
        let keys = match self.keys {
            Some(keys) => Keys::Given(keys),
            None => Keys::AtJwksUri(Box::new(RemoteConfig {
                issuer: self.issuer.clone(),
                location: Location::Discovery,
                http: sts_jose::http_client(ca_pem)?.into(),
                bearer_token_file: None,
                allow_http: self.allow_http,
                clock: Arc::clone(&self.clock),
            })),
        };
        let discovery = Discovery::new(DiscoveryConfig {
            issuer: self.issuer.clone(),
            allow_http: self.allow_http,
            keys,
            has_certificate: followed.is_some(),
            transport: Arc::clone(&transport),
            clock: Arc::clone(&self.clock),
        })?;
        let prover = match self.dpop {
            true => Some(Prover::generate(Arc::clone(&self.clock), Arc::clone(&self.entropy))?),
            false => None,
        };
        Ok(Sts(Arc::new(StsInner {
            issuer: self.issuer,
            client_id: self.client_id,
            credentials: self.credentials,
            policy: self.policy,
            approval_deadline: self.approval_deadline,
            discovery,
            breaker: Breaker::default(),
            budget: RetryBudget::default(),
            recent_answers: RecentAnswers::default(),
            transport,
            prover,
            nonces: Nonces::new(),
            certificate: followed,
            clock: self.clock,
            entropy: self.entropy,
        })))
    }
}
