//! The client of the STS: token exchange (RFC 8693), service-account tokens, introspection.
//!
//! # What lives here
//!
//! | module | content |
//! |---|---|
//! | `builder` | the setup of an [`Sts`] |
//! | `discovery` | the endpoints and keys of the STS |
//! | `request`, `client_auth` | the requests, and the client authentication |
//! | `deferred` | an exchange that may need an approval, and the wait for it |
//! | `answer`, `verify` | the answers, and the checks that they match the request |
//! | `retry`, `budget`, `breaker`, `recent_answers` | retries and their limits |
//! | `error`, `issued` | the results |
//!
//! # What must never
//!
//! A decision about the token to send: that is `propagate`. A token that was not verified.

mod answer;
mod breaker;
mod budget;
mod builder;
mod client_auth;
mod deferred;
mod discovery;
mod error;
mod flaw;
mod issued;
mod recent_answers;
mod request;
mod retry;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Map, Value};
use sts_jose::{Clock, Entropy};
use tracing::Instrument as _;

pub use builder::StsBuilder;
pub use error::{ExchangeError, Outage};
pub use issued::IssuedToken;

use self::answer::{Answered, Reply, TokenAnswer};
use self::breaker::{Breaker, Verdict};
use self::budget::RetryBudget;
use self::discovery::{Discovery, Endpoint};
use self::recent_answers::{CredentialId, RecentAnswers};
use self::request::Post;
use self::retry::Policy;
use self::verify::Expected;
use crate::call::{Caller, CorrelationId, Route};
use crate::credentials::Credentials;
use crate::net::{FollowedClient, Transport, TransportError};
use crate::possession::{DPOP, NoProof, Nonces, Proof, Prover};

/// A client of a security token service, for one agent. Cloning is cheap and shares connections,
/// metadata, keys and the breaker.
///
/// ```
/// use sts_client::{Credentials, Sts};
///
/// let sts = Sts::builder("https://sts.example.com", "inventory", Credentials::ClientSecret("from a vault".into())).build()?;
/// assert_eq!((sts.issuer(), sts.client_id()), ("https://sts.example.com", "inventory"));
/// # Ok::<(), sts_client::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Sts(Arc<StsInner>);

struct StsInner {
    issuer: String,
    client_id: String,
    credentials: Credentials,
    policy: Policy,
    discovery: Discovery,
    breaker: Breaker,
    budget: RetryBudget,
    recent_answers: RecentAnswers,
    transport: Arc<dyn Transport>,
    /// The time limit of a wait for an approval.
    approval_deadline: Duration,
    /// The key to which tokens are bound, if they are.
    prover: Option<Prover>,
    /// The nonces of the STS.
    nonces: Nonces,
    /// The client with a client certificate, if there is one.
    certificate: Option<Arc<FollowedClient>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// The parameters of an exchange (RFC 8693 §2.1).
#[derive(Debug, Clone, Copy)]
pub struct ExchangeRequest<'a> {
    /// The user. Its token becomes the `subject_token`.
    pub subject: &'a Caller,
    /// The route, which gives the target and the scope.
    pub route: &'a Route,
    /// The id that joins the events of one user request.
    pub correlation_id: &'a CorrelationId,
}

/// The parameters of a request for a service account's token (RFC 6749 §4.4).
#[derive(Debug, Clone, Copy)]
pub struct ServiceAccountRequest<'a> {
    /// The route, which gives the target and the scope.
    pub route: &'a Route,
    /// The id that joins the events of one request.
    pub correlation_id: &'a CorrelationId,
}

/// The description of a call, for traces and metrics.
#[derive(Debug, Clone, Copy)]
struct Call<'a> {
    request: &'static str,
    audience: Option<&'a str>,
    correlation_id: &'a CorrelationId,
}

impl Sts {
    /// Starts the setup of a client, with the issuer identifier of the STS and the agent's id. The
    /// endpoints come from the metadata of the STS (RFC 8414).
    ///
    /// ```
    /// use std::time::Duration;
    /// use sts_client::{Credentials, Sts, TokenFile};
    ///
    /// let own = Credentials::Token(std::sync::Arc::new(TokenFile::new("/var/run/secrets/tokens/sts")));
    /// let sts = Sts::builder("https://sts.example.com", "inventory", own).deadline(Duration::from_secs(3)).build()?;
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    #[must_use]
    pub fn builder(issuer: impl Into<String>, client_id: impl Into<String>, credentials: Credentials) -> StsBuilder {
        StsBuilder::new(issuer.into(), client_id.into(), credentials)
    }

    /// Returns the issuer identifier of the STS.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the agent's id: its `client_id`, and the `act.sub` of tokens issued to it.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.0.client_id
    }

    /// Returns the thumbprint of the key to which tokens are bound ([`StsBuilder::dpop`]): their
    /// `cnf.jkt`. Returns `None` if tokens are bearer tokens.
    ///
    /// ```
    /// # use sts_client::{Credentials, Sts};
    /// let secret = Credentials::ClientSecret("secret".into());
    /// let sts = Sts::builder("https://sts.example.com", "coordinator", secret).dpop().build()?;
    /// assert_eq!(sts.dpop_thumbprint().unwrap().len(), 43);
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    #[must_use]
    pub fn dpop_thumbprint(&self) -> Option<&str> {
        self.0.prover.as_ref().map(Prover::jkt)
    }

    /// Returns the key to which the tokens for a route are bound.
    pub(crate) fn prover_for(&self, route: &Route) -> Option<&Prover> {
        self.0.prover_for(route)
    }

    /// Returns true unless a token is bound to a client certificate that has been replaced. Looks at
    /// the files of the certificate at most once a second.
    pub(crate) async fn still_holds(&self, certificate: Option<&str>) -> bool {
        match (certificate, &self.0.certificate) {
            (None, _) => true,
            (Some(bound), Some(followed)) => *followed.present().await == *bound,
            (Some(_), None) => false,
        }
    }

    /// Returns the client of the client certificate, if there is one.
    #[cfg(feature = "reqwest")]
    pub(crate) fn followed_client(&self) -> Option<&Arc<FollowedClient>> {
        self.0.certificate.as_ref()
    }

    /// Exchanges the user's token for a token that is valid at the route's target.
    ///
    /// ```
    /// # #[cfg(feature = "test-util")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sts_client::exchange::ExchangeRequest;
    /// use sts_client::test_util::MockSts;
    /// use sts_client::{Caller, Route};
    ///
    /// let sts = MockSts::new().sts("coordinator");
    /// let alice = Caller::for_test().subject("alice").build();
    /// let route = Route::to("https://inventory.shop.example/".parse()?).audience("inventory").scope("stock:read".parse()?);
    /// let request = ExchangeRequest { subject: &alice, route: &route, correlation_id: alice.correlation_id() };
    /// let token = sts.exchange(request).await?;
    /// assert_eq!(token.scope().to_string(), "stock:read");
    /// # Ok(()) }
    /// # #[cfg(not(feature = "test-util"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// See [`ExchangeError`].
    pub async fn exchange(&self, request: ExchangeRequest<'_>) -> Result<IssuedToken, ExchangeError> {
        self.0.exchange(&request).await
    }

    /// Requests a token for the agent itself, valid at the route's target.
    ///
    /// ```
    /// # #[cfg(feature = "test-util")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sts_client::exchange::ServiceAccountRequest;
    /// use sts_client::test_util::MockSts;
    /// use sts_client::{CorrelationId, Route, SystemEntropy};
    ///
    /// let sts = MockSts::new().sts("nightly");
    /// let route = Route::to("https://reports.shop.example/".parse()?).audience("reports");
    /// let correlation_id = CorrelationId::random(&SystemEntropy);
    /// let token = sts.service_account_token(ServiceAccountRequest { route: &route, correlation_id: &correlation_id }).await?;
    /// assert!(token.authorization().is_sensitive());
    /// # Ok(()) }
    /// # #[cfg(not(feature = "test-util"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// See [`ExchangeError`].
    pub async fn service_account_token(
        &self,
        request: ServiceAccountRequest<'_>,
    ) -> Result<IssuedToken, ExchangeError> {
        let ServiceAccountRequest { route, correlation_id } = request;
        let post = request::client_credentials(&request);
        let call = Call { request: "client_credentials", audience: target(route), correlation_id };
        self.0.call(call, || async { self.0.token(&post, route, None).await?.settled() }).await
    }

    /// Returns true if the STS reports that a token is active (RFC 7662).
    ///
    /// ```
    /// # #[cfg(feature = "test-util")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sts_client::test_util::{MockAnswer, MockSts};
    /// use sts_client::{CorrelationId, SystemEntropy};
    ///
    /// let mock = MockSts::new();
    /// let (sts, correlation_id) = (mock.sts("inventory"), CorrelationId::random(&SystemEntropy));
    /// assert!(sts.is_active("eyJhbGciOi…", &correlation_id).await?);
    /// mock.answer_with(MockAnswer::Refuse("invalid_token")); // a revoked token
    /// assert!(!sts.is_active("eyJhbGciOi…", &correlation_id).await?);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "test-util"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// See [`ExchangeError`].
    pub async fn is_active(&self, token: &str, correlation_id: &CorrelationId) -> Result<bool, ExchangeError> {
        let post = request::introspection(token, correlation_id);
        let call = Call { request: "introspection", audience: None, correlation_id };
        self.0.call(call, || self.0.introspect(&post)).await
    }
}

impl StsInner {
    /// Makes one attempt to get a token.
    async fn token(
        &self,
        post: &Post,
        route: &Route,
        subject: Option<&Caller>,
    ) -> Result<Reply<IssuedToken>, ExchangeError> {
        let metadata = self.discovery.metadata().await?;
        let prover = self.prover_for(route);
        // Another request may take up a replaced certificate meanwhile.
        let before = self.certificate_thumbprint();
        let body = match self.post(&metadata.token_endpoint, post, prover).await? {
            Reply::Done(body) => body,
            Reply::Pending(body) => return Ok(Reply::Pending(body)),
            Reply::SlowDown => return Ok(Reply::SlowDown),
        };
        let read = match subject {
            Some(_) => TokenAnswer::of_exchange(&body),
            None => TokenAnswer::of_client_credentials(&body),
        };
        let answer = read.map_err(|flaw| answer::refused(&flaw))?;
        let expected = Expected {
            issuer: &self.issuer,
            client_id: &self.client_id,
            route,
            subject,
            prover,
            certificates: [before, self.certificate_thumbprint()],
            now: self.clock.now(),
        };
        verify::verify(answer, &metadata.keys, &expected).await.map(Reply::Done)
    }

    fn certificate_thumbprint(&self) -> Option<Arc<str>> {
        self.certificate.as_ref().map(|certificate| certificate.x5t_s256())
    }

    fn prover_for(&self, route: &Route) -> Option<&Prover> {
        self.prover.as_ref().filter(|_| !route.bearer_only)
    }

    /// Makes one attempt to introspect a token.
    async fn introspect(&self, post: &Post) -> Result<bool, ExchangeError> {
        let metadata = self.discovery.metadata().await?;
        let endpoint = metadata.introspection_endpoint.as_ref().ok_or_else(|| ExchangeError::Misconfigured {
            what: "the sts introspects no tokens: its metadata has no introspection_endpoint".to_owned(),
        })?;
        let body = self.post(endpoint, post, None).await?.settled()?;
        answer::active(&body).map_err(|flaw| answer::refused(&flaw))
    }

    /// Sends a form with new client authentication and, for a bound token, a new proof. Sends both
    /// once more if the STS wants another nonce in the proof (RFC 9449 §8).
    async fn post(
        &self,
        endpoint: &Endpoint,
        post: &Post,
        prover: Option<&Prover>,
    ) -> Result<Reply<Map<String, Value>>, ExchangeError> {
        let proof = prover.map(|prover| prove(endpoint, prover, self.nonces.newest(&endpoint.url))).transpose()?;
        let (mut outcome, mut credential) = self.send(endpoint, post, proof.as_ref()).await?;
        if let (Some(prover), Some(proof), Ok(response)) = (prover, &proof, &outcome) {
            let given = self.nonces.learn(&endpoint.url, response.headers());
            if given.is_some() && given != proof.nonce && answer::wants_nonce(response) {
                let proof = prove(endpoint, prover, given)?;
                (outcome, credential) = self.send(endpoint, post, Some(&proof)).await?;
                if let Ok(response) = &outcome {
                    self.nonces.learn(&endpoint.url, response.headers());
                }
            }
        }
        let now = self.clock.now();
        answer::read(outcome, now).inspect_err(|failure| self.recent_answers.learn(failure, credential, now))
    }

    /// Sends a form once. Returns the answer, and the credential that was used.
    async fn send(
        &self,
        endpoint: &Endpoint,
        post: &Post,
        proof: Option<&Proof>,
    ) -> Result<(Result<http::Response<Vec<u8>>, TransportError>, CredentialId), ExchangeError> {
        // Another call may have received this answer since this call started.
        self.recent_answers.check_load(self.clock.now())?;
        let (post, credential) = client_auth::prove(self, post.clone()).await?;
        self.recent_answers.check_credential(&credential, self.clock.now())?;
        let mut request = http::Request::new(post.form.into_bytes());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.uri.clone();
        *request.headers_mut() = post.headers;
        if let Some(proof) = proof {
            request.headers_mut().insert(DPOP, proof.header.clone());
        }
        Ok((self.transport.send(request).await, credential))
    }

    /// Makes the attempts of one call, unless the breaker is open, and records the result.
    async fn call<T: Answered, F>(&self, call: Call<'_>, attempt: impl FnMut() -> F) -> Result<T, ExchangeError>
    where
        F: Future<Output = Result<T, ExchangeError>>,
    {
        let span = tracing::info_span!(
            "sts_client.exchange",
            request = call.request,
            correlation_id = call.correlation_id.as_str(),
            audience = call.audience,
            outcome = tracing::field::Empty,
        );
        let began = tokio::time::Instant::now();
        let result = self.guarded(attempt).instrument(span.clone()).await;
        let outcome = result.as_ref().map_or_else(ExchangeError::outcome, Answered::outcome);
        span.record("outcome", outcome);
        if let Err(ExchangeError::Refused { code }) = &result {
            let Call { request, correlation_id, audience } = call;
            tracing::info!(%code, request, audience, %correlation_id, "a request for a token was refused");
        }
        metrics::counter!("sts_client_requests_total", "request" => call.request, "outcome" => outcome).increment(1);
        metrics::histogram!("sts_client_request_seconds", "request" => call.request)
            .record(began.elapsed().as_secs_f64());
        result
    }

    async fn guarded<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T, ExchangeError>
    where
        F: Future<Output = Result<T, ExchangeError>>,
    {
        self.recent_answers.check_load(self.clock.now())?;
        let leave = self.breaker.admit(self.clock.now());
        let leave = leave.ok_or_else(|| ExchangeError::outage(Outage::BreakerOpen))?;
        let result = retry::run(self.policy, &self.budget, &*self.entropy, attempt).await;
        let verdict = match &result {
            // A 429 is also an answer. An STS under load is reachable, so no fallback may apply.
            Ok(_)
            | Err(
                ExchangeError::Refused { .. }
                | ExchangeError::ApprovalRequired(_)
                | ExchangeError::WrongAudience { .. }
                | ExchangeError::Overloaded { .. },
            ) => Verdict::Answered,
            Err(ExchangeError::Outage(outage)) => match **outage {
                Outage::Transport(_) | Outage::Status { .. } | Outage::Keys(_) => Verdict::Outage,
                Outage::Reported { .. } | Outage::TokenSource(_) | Outage::BreakerOpen | Outage::Undecided(_) => {
                    Verdict::Unknown
                }
            },
            Err(ExchangeError::Misconfigured { .. }) => Verdict::Unknown,
        };
        leave.settle(verdict, self.clock.now());
        result
    }
}

impl fmt::Debug for Sts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sts")
            .field("issuer", &self.0.issuer)
            .field("client_id", &self.0.client_id)
            .finish_non_exhaustive()
    }
}

fn prove(endpoint: &Endpoint, prover: &Prover, nonce: Option<Arc<str>>) -> Result<Proof, ExchangeError> {
    prover.prove((&Method::POST, &endpoint.url), None, nonce).map_err(|error| unproven(&error))
}

fn unproven(error: &NoProof) -> ExchangeError {
    ExchangeError::Misconfigured { what: format!("no proof of possession for the sts: {error}") }
}

fn target(route: &Route) -> Option<&str> {
    route.audience.as_deref().or(route.resource.as_deref())
}
