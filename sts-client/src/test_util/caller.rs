//! The caller that a handler under test receives.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use sts_jose::{Clock, SystemClock};
use sts_protocol::{Act, Tenant};

use super::{IDP, STS, TestIssuer};
use crate::call::{Caller, IDEMPOTENCY_KEY, X_CORRELATION_ID, X_TENANT_ID};
use crate::inbound::{Issuer, Verifier};
use crate::net::bearer;

/// The audience of the test tokens.
const AUDIENCE: &str = "agent.test";

/// The default lifetime of a token.
const LIFETIME: Duration = Duration::from_secs(5 * 60);

/// The description of a caller in a test. Returned by [`Caller::for_test`].
///
/// By default it is the user `alice` of [`IDP`], who calls directly and has no tenant and no scope.
/// The token expires after 5 minutes. With an actor, the token is issued by [`STS`].
///
/// [`Self::build`] signs the token, and a verifier verifies it. So the [`Caller`] is the same
/// as in the agent, and [`MockSts`](super::MockSts) can exchange its token.
///
/// ```
/// use sts_client::Caller;
/// use sts_client::serde_json::json;
///
/// let caller = Caller::for_test()
///     .subject("bob")
///     .actor("coordinator")
///     .tenant("acme")
///     .scope("stock:read")
///     .claim("acr", json!("mfa"))
///     .build();
/// assert_eq!(caller.actor().unwrap().sub, "coordinator");
/// assert!(caller.has_scope("stock:read"));
/// ```
#[derive(Debug, Clone)]
pub struct TestCaller {
    issuer: String,
    subject: String,
    kind: TestKind,
    /// The actors in the order in which they acted.
    actors: Vec<String>,
    tenant: Option<String>,
    claims: Map<String, Value>,
    headers: HeaderMap,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TestKind {
    User,
    ServiceAccount,
}

impl Caller {
    /// Starts the description of a caller for a test.
    ///
    /// ```
    /// use sts_client::Caller;
    ///
    /// let caller = Caller::for_test().subject("alice").tenant("acme").build();
    /// assert_eq!(caller.tenant().unwrap().as_str(), "acme");
    /// ```
    #[must_use]
    pub fn for_test() -> TestCaller {
        TestCaller {
            issuer: IDP.to_owned(),
            subject: "alice".to_owned(),
            kind: TestKind::User,
            actors: Vec::new(),
            tenant: None,
            claims: Map::new(),
            headers: HeaderMap::new(),
            lifetime: LIFETIME,
            clock: Arc::new(SystemClock),
        }
    }
}

impl TestCaller {
    /// Sets the `sub` of the user.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// assert_eq!(Caller::for_test().subject("bob").build().subject().sub, "bob");
    /// ```
    #[must_use]
    pub fn subject(mut self, sub: impl Into<String>) -> Self {
        self.subject = sub.into();
        self
    }

    /// Sets the issuer of the user.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// let caller = Caller::for_test().issuer("https://login.example.com").build();
    /// assert_eq!(caller.subject().iss, "https://login.example.com");
    /// ```
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = issuer.into();
        self
    }

    /// Adds an agent as the current actor. Actors that were added before are prior actors.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// let caller = Caller::for_test().actor("coordinator").actor("inventory").build();
    /// assert_eq!(caller.actor().unwrap().sub, "inventory");
    /// assert_eq!(caller.prior_actors().to_string(), "coordinator");
    /// ```
    #[must_use]
    pub fn actor(mut self, id: impl Into<String>) -> Self {
        self.actors.push(id.into());
        self
    }

    /// Replaces the user by a service account: the agent with this id, on its own behalf.
    ///
    /// ```
    /// # use sts_client::{Caller, Kind};
    /// let caller = Caller::for_test().service_account("nightly").tenant("acme").build();
    /// assert_eq!((caller.kind(), caller.tenant().unwrap().as_str()), (Kind::ServiceAccount, "acme"));
    /// ```
    #[must_use]
    pub fn service_account(mut self, id: impl Into<String>) -> Self {
        self.kind = TestKind::ServiceAccount;
        self.subject = id.into();
        self
    }

    /// Sets the tenant of the caller.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// assert_eq!(Caller::for_test().tenant("acme").build().tenant().unwrap().as_str(), "acme");
    /// ```
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sets the scope, as in the claim: values separated by spaces.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// assert!(Caller::for_test().scope("stock:read stock:write").build().has_scope("stock:write"));
    /// ```
    #[must_use]
    pub fn scope(self, scope: impl Into<String>) -> Self {
        self.claim("scope", scope.into().into())
    }

    /// Sets the roles of the caller.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// let caller = Caller::for_test().roles(["clerk"]).build();
    /// assert!(caller.roles().eq(["clerk"]));
    /// ```
    #[must_use]
    pub fn roles<R: Into<String>>(self, roles: impl IntoIterator<Item = R>) -> Self {
        let roles: Vec<String> = roles.into_iter().map(Into::into).collect();
        self.claim("roles", roles.into())
    }

    /// Adds a claim to the token, or replaces its value.
    ///
    /// ```
    /// # use sts_client::{Caller, serde_json::json};
    /// let caller = Caller::for_test().claim("email", json!("alice@example.com")).build();
    /// assert_eq!(caller.claim("email").unwrap(), "alice@example.com");
    /// ```
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: Value) -> Self {
        self.claims.insert(name.into(), value);
        self
    }

    /// Sets the `X-Correlation-ID` of the request.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// assert_eq!(Caller::for_test().correlation_id("request-7").build().correlation_id().as_str(), "request-7");
    /// ```
    #[must_use]
    pub fn correlation_id(self, id: &str) -> Self {
        self.header(X_CORRELATION_ID, id)
    }

    /// Sets the `Idempotency-Key` of the request.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// let caller = Caller::for_test().idempotency_key("order-7").build();
    /// assert_eq!(caller.idempotency_key().unwrap().as_str(), "order-7");
    /// ```
    #[must_use]
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header(IDEMPOTENCY_KEY, key)
    }

    /// Sets the lifetime of the token. Default 5 minutes.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use sts_client::{Caller, jiff::Timestamp};
    /// let caller = Caller::for_test().lifetime(Duration::from_secs(3600)).build();
    /// assert!(caller.expires_at() > Timestamp::now());
    /// ```
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets the clock for issuing and verifying the token. Use the clock of the agent under test.
    /// Default [`SystemClock`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use sts_client::{Caller, jiff::Timestamp, test_util::ManualClock};
    /// let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    /// let caller = Caller::for_test().clock(Arc::new(clock)).build();
    /// assert_eq!(caller.expires_at().as_second(), 300);
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    #[expect(clippy::expect_used, reason = "a test that describes no caller cannot go on")]
    fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    /// Signs the token and verifies it.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// let caller = Caller::for_test().build();
    /// assert_eq!((caller.subject().sub.as_str(), caller.actor()), ("alice", None));
    /// ```
    ///
    /// # Panics
    /// If the verifier refuses the caller. The message contains the reason.
    #[must_use]
    #[expect(clippy::expect_used, clippy::panic, reason = "a test that describes no caller cannot go on")]
    pub fn build(&self) -> Caller {
        let is_of_sts = !self.actors.is_empty() || self.kind == TestKind::ServiceAccount;
        let issuer = TestIssuer::new(if is_of_sts { STS } else { &self.issuer });
        let mut claims = self.claims(issuer.issuer());
        claims.extend(self.claims.clone());
        let claims = Value::Object(claims);
        let token = if is_of_sts { issuer.sign_access_token(&claims) } else { issuer.sign(&claims) };
        let mut headers = self.headers.clone();
        headers.insert(AUTHORIZATION, bearer::authorization("Bearer", &token).expect("a token"));
        if let (TestKind::ServiceAccount, Some(tenant)) = (self.kind, &self.tenant) {
            headers.insert(X_TENANT_ID, HeaderValue::from_str(tenant).expect("a tenant"));
        }
        let entry = if is_of_sts { issuer.sts_entry() } else { self.of_user(issuer.entry()) };
        let verifier = Verifier::builder([AUDIENCE]).issuer(entry).clock(Arc::clone(&self.clock)).build();
        let verifier = verifier.expect("an issuer and an audience");
        let verified = verifier.verify(&headers).now_or_never().expect("keys in memory need no wait");
        verified.unwrap_or_else(|refusal| panic!("no verifier accepts such a caller: {}", refusal.reason()))
    }

    #[expect(clippy::expect_used, reason = "a test that describes no caller cannot go on")]
    fn of_user(&self, entry: Issuer) -> Issuer {
        match &self.tenant {
            Some(tenant) => entry.tenant(Tenant::new(tenant).expect("a tenant")),
            None => entry,
        }
    }

    fn claims(&self, iss: &str) -> Map<String, Value> {
        let iat = self.clock.now().as_second();
        let exp = iat.saturating_add_unsigned(self.lifetime.as_secs());
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        for (name, value) in [("iss", iss), ("sub", &self.subject), ("aud", AUDIENCE), ("jti", "test"), ("scope", "")] {
            set(name, value.into());
        }
        set("iat", iat.into());
        set("exp", exp.into());
        let chain = self.actors.iter().fold(None, |prior, actor| Some(Act::wrap(STS, actor, prior)));
        match (self.kind, chain, self.actors.last()) {
            (TestKind::ServiceAccount, _, _) => {
                set("client_id", self.subject.clone().into());
                set("txn", "test".into());
                set("tenant_ids", self.tenant.iter().cloned().collect::<Vec<_>>().into());
            }
            (TestKind::User, Some(chain), Some(actor)) => {
                set("client_id", actor.clone().into());
                set("txn", "test".into());
                set("act", json!(chain));
                set("sub_id", json!({ "format": "iss_sub", "iss": self.issuer, "sub": self.subject }));
                if let Some(tenant) = &self.tenant {
                    set("tenant_id", tenant.clone().into());
                }
            }
            (TestKind::User, _, _) => {}
        }
        claims
    }
}
