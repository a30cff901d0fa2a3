//! What goes out with a call: the decision table, carried out against the real server.

mod approvals;
mod config;
mod details;
mod prefetch;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Request, Response};
use serde_json::json;
use sts_client::inbound::{Issuer, Verifier};
use sts_client::net::{HttpTransport, Transport, TransportError};
use sts_client::propagate::{Credential, PropagatorBuilder};
use sts_client::{
    CallContext, Caller, Credentials, Error, OnOutage, Propagator, Route, ServiceAccount, SourcedToken, Sts, Tenant,
    TokenSource, TokenSourceError, WithoutUser,
};
use sts_jose::SystemEntropy;
use sts_tests::Harness;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The way to the STS, which counts what goes through to the token endpoint, and can be held shut or cut.
#[derive(Debug)]
struct Gate {
    http: HttpTransport,
    asked: AtomicUsize,
    open: Semaphore,
    cut: AtomicUsize,
    overloaded: AtomicBool,
}

impl Gate {
    fn new(open: usize) -> Arc<Self> {
        let http = HttpTransport::new(Duration::from_secs(10)).unwrap();
        let (asked, cut, overloaded) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { http, asked, open: Semaphore::new(open), cut, overloaded })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn cut(&self, requests: usize) {
        self.cut.store(requests, Ordering::SeqCst);
    }

    /// From now on the token endpoint answers with 429.
    fn overload(&self) {
        self.overloaded.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Transport for Gate {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, TransportError> {
        if request.method() == "POST" {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.open.acquire().await.unwrap().forget();
            if self.cut.load(Ordering::SeqCst) > 0 {
                self.cut.fetch_sub(1, Ordering::SeqCst);
                return Err(TransportError::TimedOut);
            }
            if self.overloaded.load(Ordering::SeqCst) {
                let mut response = Response::new(Vec::new());
                *response.status_mut() = http::StatusCode::TOO_MANY_REQUESTS;
                return Ok(response);
            }
        }
        self.http.send(request).await
    }
}

const OPEN: usize = 1_000_000;

fn sts(harness: &Harness, gate: &Arc<Gate>) -> Sts {
    Sts::builder(harness.issuer(), "coordinator", Credentials::ClientSecret(harness.secret("coordinator").into()))
        .transport(Arc::clone(gate) as Arc<dyn Transport>)
        .attempts(1)
        .attempt_timeout(Duration::from_secs(10))
        .deadline(Duration::from_secs(20))
        .clock(Arc::new(harness.clock.clone()))
        .build()
        .unwrap()
}

fn builder(harness: &Harness, gate: &Arc<Gate>) -> PropagatorBuilder {
    Propagator::builder().sts(sts(harness, gate)).clock(Arc::new(harness.clock.clone()))
}

async fn user(harness: &Harness, token: &str) -> Caller {
    let verifier = Verifier::builder(["web-app"])
        .issuer(Issuer::new(harness.idp.url()).tenant_claim("org_id"))
        .clock(Arc::new(harness.clock.clone()))
        .build()
        .unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers.insert("x-correlation-id", HeaderValue::from_static("one-request"));
    headers.insert("x-request-priority", HeaderValue::from_static("high"));
    headers.insert("cookie", HeaderValue::from_static("session=1"));
    verifier.verify(&headers).await.unwrap()
}

fn inventory() -> Route {
    Route::to("https://inventory.shop.example/".parse().unwrap())
        .audience("inventory-agent")
        .scope("stock:read".parse().unwrap())
}

async fn apply(propagator: &Propagator, context: &CallContext) -> (Result<Credential, Error>, HeaderMap) {
    apply_to(propagator, context, "https://inventory.shop.example/stock").await
}

/// Applies to headers that try to speak for somebody else.
async fn apply_to(propagator: &Propagator, context: &CallContext, url: &str) -> (Result<Credential, Error>, HeaderMap) {
    let mut headers = HeaderMap::new();
    headers.append("AUTHORIZATION", HeaderValue::from_static("Bearer raw"));
    headers.append("authorization", HeaderValue::from_static("Basic cmF3"));
    headers.insert("x-tenant-id", HeaderValue::from_static("evil"));
    headers.insert("x-delegation-fallback", HeaderValue::from_static("service-account"));
    let outcome = propagator.apply(context, &url.parse().unwrap(), &mut headers).await;
    (outcome, headers)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str().unwrap());
    assert!(values.next().is_none(), "{name} stands there twice");
    value
}

/// What a call came to, in a word.
fn class(outcome: &Result<Credential, Error>) -> String {
    match outcome {
        Ok(credential) => format!("{credential:?}"),
        Err(Error::Refused { code }) => code.to_string(),
        Err(Error::Unavailable { .. }) => "unavailable".to_owned(),
        Err(other) => other.to_string(),
    }
}

fn without_user(tenant: Option<&str>) -> CallContext {
    CallContext::without_user(tenant.map(|tenant| Tenant::new(tenant).unwrap()), &SystemEntropy)
}

#[tokio::test]
async fn a_call_leaves_with_the_exchanged_token_alone_and_with_what_the_route_forwards() {
    let harness = Harness::start().await;
    let route = inventory().forward_header("x-request-priority".parse().unwrap());
    let propagator = builder(&harness, &Gate::new(OPEN)).route(route).build().await.unwrap();
    let raw = harness.user_token();
    let (outcome, headers) = apply(&propagator, &user(&harness, &raw).await.into()).await;
    assert_eq!(outcome.unwrap(), Credential::Exchanged);
    let token = text(&headers, "authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    harness.seen.remember(&token);
    let claims = harness.verify(&token).await;
    assert_eq!(claims["aud"], "inventory-agent");
    assert_eq!(claims["act"]["sub"], "coordinator");
    assert!(headers["authorization"].is_sensitive());
    assert_eq!(text(&headers, "x-tenant-id"), Some("acme"));
    assert_eq!(text(&headers, "x-correlation-id"), Some("one-request"));
    assert_eq!(text(&headers, "x-request-priority"), Some("high"));
    assert_eq!(text(&headers, "x-delegation-fallback"), None);
    assert_eq!(text(&headers, "cookie"), None);
}

#[tokio::test]
async fn nothing_shows_a_token_or_a_secret_in_debug() {
    let harness = Harness::start().await;
    let raw = harness.user_token();
    let context: CallContext = user(&harness, &raw).await.into();
    let credentials = Credentials::ClientSecret(harness.secret("coordinator").into());
    let route = inventory().on_outage(OnOutage::ServiceAccount);
    let propagator = builder(&harness, &Gate::new(OPEN)).route(route).service_account(ServiceAccount::Sts);
    let set_up = format!("{propagator:?}");
    let propagator = propagator.build().await.unwrap();
    let (outcome, headers) = apply(&propagator, &context).await;
    let shown =
        format!("{set_up} {context:?} {propagator:?} {:?} {credentials:?} {outcome:?} {headers:?}", propagator.sts());
    let exchanged = text(&headers, "authorization").unwrap().strip_prefix("Bearer ").unwrap();
    for secret in [&raw, exchanged, harness.secret("coordinator").as_str()] {
        let signature = secret.rsplit('.').next().unwrap();
        assert!(!shown.contains(signature), "{shown}");
    }
}

#[tokio::test]
async fn load_earns_nobody_the_service_account_though_the_route_may_fall_back() {
    let harness = Harness::start().await;
    let gate = Gate::new(OPEN);
    let route = inventory().on_outage(OnOutage::ServiceAccount);
    let propagator = builder(&harness, &gate).route(route).service_account(ServiceAccount::Sts).build().await.unwrap();
    gate.overload();
    for _ in 0..10 {
        let (outcome, headers) = apply(&propagator, &user(&harness, &harness.user_token()).await.into()).await;
        assert_eq!((class(&outcome).as_str(), text(&headers, "authorization")), ("unavailable", None));
    }
}

#[tokio::test]
async fn a_place_without_a_route_gets_no_token() {
    let harness = Harness::start().await;
    let gate = Gate::new(OPEN);
    let propagator = builder(&harness, &gate).route(inventory()).build().await.unwrap();
    let context = user(&harness, &harness.user_token()).await.into();
    let url = "https://user:pass@inventory.shop.example.evil.example/x?key=y#z";
    let (outcome, headers) = apply_to(&propagator, &context, url).await;
    let said =
        "no route to https://inventory.shop.example.evil.example/x: the routes are https://inventory.shop.example/";
    assert_eq!(class(&outcome), said);
    assert_eq!((text(&headers, "authorization"), text(&headers, "x-tenant-id"), gate.asked()), (None, None, 0));
}

#[tokio::test]
async fn a_refusal_of_the_sts_stays_one_though_the_route_may_fall_back() {
    let harness = Harness::start().await;
    let route = inventory().scope("stock:read".parse().unwrap()).on_outage(OnOutage::ServiceAccount);
    let builder = builder(&harness, &Gate::new(OPEN)).route(route).service_account(ServiceAccount::Sts);
    let propagator = builder.build().await.unwrap();
    // The server knows no user of that tenant's issuer by a name that an agent has.
    let token = harness.user_token_with(&json!({ "sub": "warehouse" }));
    let (outcome, headers) = apply(&propagator, &user(&harness, &token).await.into()).await;
    assert_eq!((class(&outcome).as_str(), text(&headers, "authorization")), ("invalid_request", None));
}

#[tokio::test]
async fn an_outage_falls_back_where_the_route_says_so_and_fails_elsewhere() {
    let harness = Harness::start().await;
    let gate = Gate::new(OPEN);
    let falls_back = inventory().on_outage(OnOutage::ServiceAccount);
    let fails = Route::to("https://strict.shop.example/".parse().unwrap()).audience("inventory-agent");
    let builder = builder(&harness, &gate).route(falls_back).route(fails).service_account(ServiceAccount::Sts);
    let propagator = builder.build().await.unwrap();
    let context = user(&harness, &harness.user_token()).await.into();
    gate.cut(OPEN);
    let (outcome, headers) = apply(&propagator, &context).await;
    assert_eq!(outcome.unwrap(), Credential::Fallback);
    assert_eq!(text(&headers, "x-tenant-id"), Some("acme"));
    assert_eq!(text(&headers, "x-delegation-fallback"), Some("service-account"));
    let token = text(&headers, "authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    harness.seen.remember(&token);
    assert_eq!(harness.verify(&token).await["sub"], "coordinator");

    let (outcome, headers) = apply_to(&propagator, &context, "https://strict.shop.example/").await;
    assert_eq!((class(&outcome).as_str(), text(&headers, "authorization")), ("unavailable", None));
}

#[tokio::test]
async fn without_a_user_the_service_account_goes_for_its_own_tenants_alone() {
    let harness = Harness::start().await;
    let silent = Route::to("https://strict.shop.example/".parse().unwrap()).audience("inventory-agent");
    let builder = builder(&harness, &Gate::new(OPEN))
        .route(inventory().without_user(WithoutUser::ServiceAccount))
        .route(silent)
        .service_account(ServiceAccount::Sts);
    let propagator = builder.build().await.unwrap();
    let rows = [
        (Some("acme"), "ServiceAccount", Some("acme")),
        (Some("globex"), "ServiceAccount", Some("globex")),
        (None, "ServiceAccount", None),
        (Some("initech"), "invalid_tenant", None),
    ];
    for (tenant, expected, header) in rows {
        let (outcome, headers) = apply(&propagator, &without_user(tenant)).await;
        assert_eq!((class(&outcome).as_str(), text(&headers, "x-tenant-id")), (expected, header), "{tenant:?}");
    }
    let (outcome, _) = apply_to(&propagator, &without_user(Some("acme")), "https://strict.shop.example/").await;
    assert_eq!(class(&outcome), "login_required");
}

#[tokio::test]
async fn a_route_without_sts_passes_the_raw_token_only_if_it_says_so() {
    let harness = Harness::start().await;
    let passes = Route::to("https://legacy.shop.example/".parse().unwrap()).pass_through();
    let propagator = builder(&harness, &Gate::new(OPEN)).route(passes).build().await.unwrap();
    let raw = harness.user_token();
    let context = user(&harness, &raw).await.into();
    let (outcome, headers) = apply_to(&propagator, &context, "https://legacy.shop.example/").await;
    assert_eq!(outcome.unwrap(), Credential::PassThrough);
    assert_eq!(text(&headers, "authorization"), Some(format!("Bearer {raw}").as_str()));
    let (outcome, _) = apply_to(&propagator, &without_user(None), "https://legacy.shop.example/").await;
    assert_eq!(class(&outcome), "login_required");
}

#[tokio::test]
async fn a_token_is_exchanged_once_until_it_nearly_dies_or_the_users_own_does() {
    let harness = Harness::start().await;
    let gate = Gate::new(OPEN);
    let propagator = builder(&harness, &gate).route(inventory()).build().await.unwrap();
    let context = user(&harness, &harness.user_token_with(&json!({ "exp": harness.now() + 400 }))).await.into();
    // The exchanged token lives for 300 s, the next one no longer than the user's.
    for (seconds, asked) in [(0, 1), (289, 1), (1, 2), (99, 2), (1, 3), (9, 4)] {
        harness.advance(seconds);
        assert_eq!(class(&apply(&propagator, &context).await.0), "Exchanged", "after {seconds}");
        assert_eq!(gate.asked(), asked, "after {seconds}");
    }
    harness.advance(1);
    let (outcome, headers) = apply(&propagator, &context).await;
    assert_eq!((class(&outcome).as_str(), text(&headers, "authorization")), ("invalid_token", None));
}

#[tokio::test]
async fn users_tenants_scopes_and_targets_never_share_a_token() {
    let harness = Harness::start().await;
    let gate = Gate::new(OPEN);
    let route = |url: &str, audience, scope: &str| {
        Route::to(url.parse().unwrap()).audience(audience).scope(scope.parse().unwrap())
    };
    let routes = [
        route("https://a.example/", "inventory-agent", "stock:read"),
        route("https://b.example/", "inventory-agent", "stock:write"),
        route("https://c.example/", "https://inventory.shop.example/", "stock:read").issued_audience("inventory-agent"),
    ];
    let builder = routes.iter().cloned().fold(builder(&harness, &gate), PropagatorBuilder::route);
    let propagator = builder.build().await.unwrap();
    let mut tokens = std::collections::HashSet::new();
    for claims in [json!({}), json!({ "sub": "bob" }), json!({ "org_id": "globex" })] {
        let context = user(&harness, &harness.user_token_with(&claims)).await.into();
        for route in &routes {
            for _ in 0..2 {
                let (outcome, headers) = apply_to(&propagator, &context, route.url.as_str()).await;
                assert_eq!(class(&outcome), "Exchanged");
                tokens.insert(text(&headers, "authorization").unwrap().to_owned());
            }
        }
    }
    assert_eq!((tokens.len(), gate.asked()), (9, 9));
}

/// A thousand calls of one user at once, once the first of them has reached the STS.
async fn a_thousand(harness: &Harness, gate: &Arc<Gate>, propagator: &Propagator) -> JoinSet<String> {
    let context: CallContext = user(harness, &harness.user_token()).await.into();
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        let (propagator, context) = (propagator.clone(), context.clone());
        calls.spawn(async move { class(&apply(&propagator, &context).await.0) });
    }
    while gate.asked() == 0 {
        tokio::task::yield_now().await;
    }
    calls
}

#[tokio::test]
async fn a_thousand_callers_make_one_exchange() {
    let harness = Harness::start().await;
    let gate = Gate::new(0);
    let propagator = builder(&harness, &gate).route(inventory()).build().await.unwrap();
    let calls = a_thousand(&harness, &gate, &propagator).await;
    gate.open.add_permits(OPEN);
    assert!(calls.join_all().await.iter().all(|outcome| outcome == "Exchanged"));
    assert_eq!(gate.asked(), 1);
}

#[tokio::test]
async fn a_thousand_callers_share_one_failure_and_the_next_one_tries_anew() {
    let harness = Harness::start().await;
    let gate = Gate::new(0);
    let propagator = builder(&harness, &gate).route(inventory()).build().await.unwrap();
    gate.cut(1);
    let calls = a_thousand(&harness, &gate, &propagator).await;
    gate.open.add_permits(OPEN);
    assert!(calls.join_all().await.iter().all(|outcome| outcome == "unavailable"));
    assert_eq!(gate.asked(), 1);
    let context = user(&harness, &harness.user_token()).await.into();
    assert_eq!(class(&apply(&propagator, &context).await.0), "Exchanged");
}

#[tokio::test]
async fn the_others_get_their_token_by_the_same_exchange_when_its_leader_goes_away() {
    let harness = Harness::start().await;
    let gate = Gate::new(0);
    let propagator = builder(&harness, &gate).route(inventory()).build().await.unwrap();
    let context: CallContext = user(&harness, &harness.user_token()).await.into();
    let call = || {
        let (propagator, context) = (propagator.clone(), context.clone());
        tokio::spawn(async move { class(&apply(&propagator, &context).await.0) })
    };
    let leader = call();
    while gate.asked() == 0 {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (0..100).map(|_| call()).collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    gate.open.add_permits(OPEN);
    for other in others {
        assert_eq!(other.await.unwrap(), "Exchanged");
    }
    assert_eq!(gate.asked(), 1);
}

/// Where the agent's own tokens come from: out of reach.
#[derive(Debug)]
struct Vault;

#[async_trait]
impl TokenSource for Vault {
    async fn token(&self) -> Result<SourcedToken, TokenSourceError> {
        Err(TokenSourceError::Unavailable(Arc::new(TransportError::TimedOut)))
    }
}

/// Whose token stands in, come what may.
#[derive(Debug)]
struct Always;

#[async_trait]
impl TokenSource for Always {
    async fn token(&self) -> Result<SourcedToken, TokenSourceError> {
        Ok(SourcedToken { token: "own".into(), expires_at: None })
    }
}

#[tokio::test]
async fn an_sts_that_was_never_asked_for_want_of_a_credential_is_no_reason_to_fall_back() {
    let harness = Harness::start().await;
    let sts = Sts::builder(harness.issuer(), "coordinator", Credentials::Token(Arc::new(Vault)))
        .attempts(1)
        .attempt_timeout(Duration::from_secs(10))
        .deadline(Duration::from_secs(20))
        .clock(Arc::new(harness.clock.clone()));
    let propagator = Propagator::builder()
        .sts(sts.build().unwrap())
        .clock(Arc::new(harness.clock.clone()))
        .route(inventory().on_outage(OnOutage::ServiceAccount))
        .service_account(ServiceAccount::Source(Arc::new(Always)))
        .build()
        .await
        .unwrap();
    let (outcome, headers) = apply(&propagator, &user(&harness, &harness.user_token()).await.into()).await;
    assert_eq!(class(&outcome), "unavailable");
    assert_eq!(text(&headers, "authorization"), None);
}

#[tokio::test]
async fn no_header_of_the_caller_leads_a_call_elsewhere_or_takes_its_tenant_off() {
    let harness = Harness::start().await;
    let propagator = builder(&harness, &Gate::new(OPEN)).route(inventory()).build().await.unwrap();
    let context = user(&harness, &harness.user_token()).await.into();
    for (connection, left) in [
        ("close, X-Tenant-ID", None),
        ("keep-alive, authorization", None),
        ("X-Delegation-Fallback", None),
        ("Keep-Alive, Upgrade", Some("Keep-Alive, Upgrade")),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("evil.example"));
        headers.insert("connection", HeaderValue::from_static(connection));
        let url = "https://inventory.shop.example/stock".parse().unwrap();
        propagator.apply(&context, &url, &mut headers).await.unwrap();
        assert_eq!(text(&headers, "host"), Some("inventory.shop.example"));
        assert_eq!(text(&headers, "connection"), left, "{connection}");
    }
}
