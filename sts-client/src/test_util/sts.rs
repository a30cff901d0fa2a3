//! A security token service in memory, with answers that the test sets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Request, Response};
use serde_json::{Map, Value, json};
use sts_jose::dpop::{ProofError, ProofRules, ProofUri};
use sts_jose::{Algorithm, Clock, KeySource, SystemClock};
use sts_protocol::{Act, Tenant, TokenType, parameter};
use url::form_urlencoded;

use super::mock_request::MockRequest;
use super::{STS, TestIssuer};
use crate::credentials::Credentials;
use crate::exchange::{Sts, StsBuilder};
use crate::inbound::Issuer;
use crate::net::{Transport, TransportError};
use crate::possession::{DPOP, DPOP_NONCE, USE_DPOP_NONCE};

/// The maximum lifetime of a token.
const LIFETIME_SECONDS: i64 = 300;

/// The maximum age of a proof.
const PROOF_MAX_AGE: Duration = Duration::from_secs(120);

const TOKEN_PATH: &str = "/oauth2/token";
const INTROSPECTION_PATH: &str = "/oauth2/introspect";

/// The answer of a [`MockSts`].
///
/// ```
/// use std::time::Duration;
/// use sts_client::test_util::{MockAnswer, MockSts};
///
/// let sts = MockSts::new();
/// sts.answer_next(MockAnswer::Load { retry_after: Some(Duration::from_secs(1)) });
/// sts.answer_with(MockAnswer::Outage);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MockAnswer {
    /// Issues the requested token. It has the authorization details of the request, the scope of the
    /// request or else of the subject token, and the actor at the head of its chain. An introspected
    /// token is active.
    Grant,
    /// Answers 400 with this error code (401 for `invalid_client`). An introspected token is not
    /// active.
    Refuse(&'static str),
    /// Answers 400 with `interaction_required`, for an approval by the user. Answers a request that
    /// allows a deferred answer, and the polls after it, with `authorization_pending`. The first
    /// [`Self::Grant`] of a poll is the token of the request that was deferred last.
    RequireApproval,
    /// Answers 429 with the error code `slow_down`.
    Load {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Answers 400 with `use_dpop_nonce` and this nonce. A request without a proof is granted.
    DemandNonce(&'static str),
    /// Fails with a refused connection.
    Outage,
    /// Answers with this status and the body `null`.
    Status(u16),
}

/// A security token service in memory. A token is bound to the key of the proof in its request, if
/// there is one ([`StsBuilder::dpop`]). The service grants every request until [`Self::answer_with`] or
/// [`Self::answer_next`] sets another answer. It accepts every subject token without verification,
/// and records its requests. Cloning is cheap and shares all state.
///
/// ```
/// use sts_client::test_util::MockSts;
/// use sts_client::{Propagator, Route, Verifier};
///
/// # async fn build() -> Result<(), sts_client::StartError> {
/// let sts = MockSts::new();
/// // The agent under test exchanges tokens at it …
/// let route = Route::to("https://inventory.shop.example/".parse().unwrap()).audience("inventory");
/// let propagator = Propagator::builder().sts(sts.sts("coordinator")).route(route).build().await?;
/// // … and a target accepts what it issues.
/// let verifier = Verifier::builder(["inventory"]).issuer(sts.entry()).build()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct MockSts(Arc<MockStsInner>);

#[derive(Debug)]
struct MockStsInner {
    issuer: TestIssuer,
    clock: Arc<dyn Clock>,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    next: VecDeque<MockAnswer>,
    always: MockAnswer,
    tenant_ids: Vec<Tenant>,
    requests: Vec<MockRequest>,
    deferred: Option<MockRequest>,
}

impl MockSts {
    /// Returns a service that grants every request and uses the system's clock. Its issuer
    /// identifier is [`STS`].
    ///
    /// ```
    /// # use sts_client::test_util::MockSts;
    /// assert_eq!(MockSts::new().issuer(), "https://sts.test");
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Returns a service that uses another clock.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use sts_client::jiff::Timestamp;
    /// # use sts_client::test_util::{ManualClock, MockSts};
    /// let sts = MockSts::with_clock(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
    /// ```
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let script = Script {
            next: VecDeque::new(),
            always: MockAnswer::Grant,
            tenant_ids: Vec::new(),
            requests: Vec::new(),
            deferred: None,
        };
        Self(Arc::new(MockStsInner { issuer: TestIssuer::new(STS), clock, script: Mutex::new(script) }))
    }

    /// Returns the issuer identifier.
    ///
    /// ```
    /// # use sts_client::test_util::{MockSts, STS};
    /// assert_eq!(MockSts::new().issuer(), STS);
    /// ```
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.0.issuer.issuer()
    }

    /// Returns the client of this service for the agent with this id. It makes a single attempt per
    /// call, so that no test waits for a retry.
    ///
    /// ```
    /// # use sts_client::{Propagator, test_util::MockSts};
    /// let sts = MockSts::new();
    /// let builder = Propagator::builder().sts(sts.sts("coordinator"));
    /// ```
    ///
    /// # Panics
    /// If the machine's trust store cannot be used.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that has no client cannot go on")]
    pub fn sts(&self, client_id: &str) -> Sts {
        self.builder(client_id).attempts(1).build().expect("a client of the sts")
    }

    /// Returns the builder of such a client, for further settings such as retries and deadlines.
    ///
    /// ```
    /// # use sts_client::test_util::MockSts;
    /// # fn build() -> Result<(), sts_client::BuildError> {
    /// let sts = MockSts::new().builder("coordinator").attempts(3).build()?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn builder(&self, client_id: &str) -> StsBuilder {
        let transport = MockTransport { sts: self.clone(), client_id: client_id.to_owned() };
        Sts::builder(self.issuer(), client_id, Credentials::ClientSecret("a secret of the tests".into()))
            .transport(Arc::new(transport))
            .keys(KeySource::Inline(self.0.issuer.keys()))
            .clock(Arc::clone(&self.0.clock))
    }

    /// Returns a verifier entry that accepts the tokens of this service.
    ///
    /// ```
    /// # use sts_client::{Verifier, test_util::MockSts};
    /// # fn build() -> Result<(), sts_client::BuildError> {
    /// let verifier = Verifier::builder(["inventory"]).issuer(MockSts::new().entry()).build()?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn entry(&self) -> Issuer {
        self.0.issuer.sts_entry()
    }

    /// Sets the tenants that its service accounts may name. Default none.
    ///
    /// ```
    /// # use sts_client::{Tenant, test_util::MockSts};
    /// MockSts::new().service_account_tenants([Tenant::new("acme").unwrap()]);
    /// ```
    pub fn service_account_tenants(&self, tenants: impl IntoIterator<Item = Tenant>) {
        self.script().tenant_ids = tenants.into_iter().collect();
    }

    /// Sets the answer to a single request. Several calls queue answers for the following requests.
    ///
    /// ```
    /// # use sts_client::test_util::{MockAnswer, MockSts};
    /// MockSts::new().answer_next(MockAnswer::Refuse("invalid_scope"));
    /// ```
    pub fn answer_next(&self, answer: MockAnswer) {
        self.script().next.push_back(answer);
    }

    /// Sets the answer to all further requests for which [`Self::answer_next`] has set no answer.
    ///
    /// ```
    /// # use sts_client::test_util::{MockAnswer, MockSts};
    /// MockSts::new().answer_with(MockAnswer::Outage);
    /// ```
    pub fn answer_with(&self, answer: MockAnswer) {
        self.script().always = answer;
    }

    /// Returns the requests so far, in order of arrival.
    ///
    /// ```
    /// # use sts_client::test_util::MockSts;
    /// assert!(MockSts::new().requests().is_empty());
    /// ```
    #[must_use]
    pub fn requests(&self) -> Vec<MockRequest> {
        self.script().requests.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request, and returns the answer to it.
    fn take(&self, request: &MockRequest) -> MockAnswer {
        let mut script = self.script();
        script.requests.push(request.clone());
        script.next.pop_front().unwrap_or_else(|| script.always.clone())
    }

    /// Returns the request whose token is granted: the deferred one for a poll.
    fn granted(&self, request: MockRequest) -> Option<MockRequest> {
        match request.parameter(parameter::DEFERRAL_CODE) {
            Some(_) => self.script().deferred.take(),
            None => Some(request),
        }
    }

    fn metadata(&self) -> Value {
        let issuer = self.issuer();
        json!({
            "issuer": issuer,
            "token_endpoint": format!("{issuer}{TOKEN_PATH}"),
            "introspection_endpoint": format!("{issuer}{INTROSPECTION_PATH}"),
        })
    }

    /// Returns the body for a request that needs an approval.
    fn require_approval(&self, request: &MockRequest) -> Value {
        if request.parameter(parameter::COMPLETION_MODE) == Some("deferred") {
            self.script().deferred = Some(request.clone());
            return json!({ "error": "authorization_pending", "deferral_code": "code-1", "expires_in": 300, "interval": 5 });
        }
        if request.parameter(parameter::DEFERRAL_CODE).is_some() {
            return json!({ "error": "authorization_pending" });
        }
        let uri = format!("{}/approvals/approval-1", self.issuer());
        json!({ "error": "interaction_required", "interaction_uri": uri, "approval_id": "approval-1", "approver": "user" })
    }

    fn grant(&self, request: &MockRequest, jkt: Option<&str>) -> Value {
        let mut claims = match request.subject() {
            Some(subject) => self.delegated(request, subject),
            None => self.own(request),
        };
        if let Some(jkt) = jkt {
            set(&mut claims, "cnf", json!({ "jkt": jkt }));
        }
        let lives = claims.get("exp").and_then(Value::as_i64).unwrap_or_default() - self.0.clock.now().as_second();
        let scope = claims.get("scope").cloned().filter(|scope| scope != "");
        let claims = Value::Object(claims);
        let mut answer = Map::new();
        set(&mut answer, "access_token", self.0.issuer.sign_access_token(&claims));
        set(&mut answer, "issued_token_type", TokenType::AccessToken.as_str());
        set(&mut answer, "token_type", if jkt.is_some() { "DPoP" } else { "Bearer" });
        set(&mut answer, "expires_in", lives.max(1));
        // An empty scope is omitted in the answer (RFC 6749 §3.3).
        answer.extend(scope.map(|scope| ("scope".to_owned(), scope)));
        Value::Object(answer)
    }

    /// Returns the thumbprint of the key of the proof in a request; `None` if it has none.
    fn proven(&self, request: &MockRequest) -> Result<Option<String>, ProofError> {
        let Some(proof) = request.headers.get(DPOP) else { return Ok(None) };
        let uri = ProofUri::parse(&format!("{}{TOKEN_PATH}", self.issuer())).ok();
        let (Some(uri), Ok(proof)) = (uri, proof.to_str()) else { return Err(ProofError::Uri) };
        let rules = ProofRules {
            method: "POST",
            uri: &uri,
            access_token: None,
            nonces: None,
            algorithms: &[Algorithm::Es256],
            max_age: PROOF_MAX_AGE,
            now: self.0.clock.now(),
        };
        rules.check(proof).map(|proof| Some(proof.jkt().to_owned()))
    }

    /// Returns the claims that every token has.
    fn claims(&self, request: &MockRequest, exp: Option<i64>) -> Map<String, Value> {
        let iat = self.0.clock.now().as_second();
        let longest = iat.saturating_add(LIFETIME_SECONDS);
        let mut claims = Map::new();
        set(&mut claims, "iss", self.issuer());
        set(&mut claims, "aud", request.audience().or(request.resource()).unwrap_or_default());
        set(&mut claims, "client_id", request.client_id.as_str());
        set(&mut claims, "iat", iat);
        set(&mut claims, "exp", exp.map_or(longest, |exp| exp.min(longest)));
        set(&mut claims, "jti", format!("test-{}", self.script().requests.len()));
        set(&mut claims, "txn", "test");
        set(&mut claims, "scope", request.scope().unwrap_or_default());
        let details = request.parameter(parameter::AUTHORIZATION_DETAILS);
        if let Some(details) = details.and_then(|details| serde_json::from_str::<Value>(details).ok()) {
            set(&mut claims, parameter::AUTHORIZATION_DETAILS, details);
        }
        claims
    }

    fn delegated(&self, request: &MockRequest, mut subject: Map<String, Value>) -> Map<String, Value> {
        let mut claims = self.claims(request, subject.get("exp").and_then(Value::as_i64));
        let prior = subject.get("act").and_then(|act| Act::from_value(act).ok());
        set(&mut claims, "act", json!(Act::wrap(self.issuer(), &request.client_id, prior)));
        let of_issuer = json!({ "format": "iss_sub", "iss": subject.get("iss"), "sub": subject.get("sub") });
        set(&mut claims, "sub_id", subject.remove("sub_id").unwrap_or(of_issuer));
        if let Some(tenant) = request.tenant() {
            set(&mut claims, "tenant_id", tenant);
        }
        let inherited = ["sub", "txn", "roles", "acr", "amr", "auth_time"];
        let scope = request.scope().is_none().then_some("scope");
        for name in inherited.into_iter().chain(scope) {
            if let Some(value) = subject.remove(name) {
                set(&mut claims, name, value);
            }
        }
        claims
    }

    fn own(&self, request: &MockRequest) -> Map<String, Value> {
        let mut claims = self.claims(request, None);
        set(&mut claims, "sub", request.client_id.as_str());
        set(&mut claims, "tenant_ids", json!(self.script().tenant_ids));
        claims
    }
}

fn set(object: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    object.insert(name.to_owned(), value.into());
}

impl Default for MockSts {
    fn default() -> Self {
        Self::new()
    }
}

/// The connection of a single agent to the service.
#[derive(Debug)]
struct MockTransport {
    sts: MockSts,
    client_id: String,
}

#[async_trait]
impl Transport for MockTransport {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, TransportError> {
        if request.method() == Method::GET {
            return respond(200, &self.sts.metadata());
        }
        let (parts, body) = request.into_parts();
        let form = form_urlencoded::parse(&body).into_owned().collect();
        let request = MockRequest { client_id: self.client_id.clone(), form, headers: parts.headers };
        let is_introspection = parts.uri.path() == INTROSPECTION_PATH;
        match self.sts.take(&request) {
            MockAnswer::Grant if is_introspection => respond(200, &json!({ "active": true })),
            MockAnswer::DemandNonce(nonce) if request.headers.contains_key(DPOP) => {
                let mut response = respond(400, &json!({ "error": USE_DPOP_NONCE }))?;
                response.headers_mut().insert(DPOP_NONCE, HeaderValue::from_static(nonce));
                Ok(response)
            }
            MockAnswer::Grant | MockAnswer::DemandNonce(_) => match self.sts.proven(&request) {
                Ok(jkt) => match self.sts.granted(request) {
                    Some(request) => respond(200, &self.sts.grant(&request, jkt.as_deref())),
                    None => respond(400, &json!({ "error": "invalid_grant" })),
                },
                Err(_wrong) => respond(400, &json!({ "error": "invalid_dpop_proof" })),
            },
            MockAnswer::RequireApproval => respond(400, &self.sts.require_approval(&request)),
            MockAnswer::Refuse(_) if is_introspection => respond(200, &json!({ "active": false })),
            MockAnswer::Refuse(code) => {
                respond(if code == "invalid_client" { 401 } else { 400 }, &json!({ "error": code }))
            }
            MockAnswer::Load { retry_after } => {
                let mut response = respond(429, &json!({ "error": "slow_down" }))?;
                if let Some(retry_after) = retry_after {
                    response.headers_mut().insert(RETRY_AFTER, retry_after.as_secs().into());
                }
                Ok(response)
            }
            MockAnswer::Outage => Err(failed(std::io::Error::from(std::io::ErrorKind::ConnectionRefused))),
            MockAnswer::Status(status) => respond(status, &Value::Null),
        }
    }
}

fn respond(status: u16, body: &Value) -> Result<Response<Vec<u8>>, TransportError> {
    Response::builder().status(status).body(body.to_string().into_bytes()).map_err(failed)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> TransportError {
    TransportError::Failed(Arc::new(error))
}
