//! Bound tokens (DPoP): what goes out, and what a target makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use a2a_client::middleware::CallInterceptor as _;
use axum::Router;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use axum::routing::any;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sts_client::inbound::{Verifier, VerifierBuilder};
use sts_client::integrations::a2a::{PropagateInterceptor, ServiceParams};
use sts_client::integrations::reqwest::client;
use sts_client::integrations::tower::PropagateLayer;
use sts_client::propagate::OutboundOperation;
use sts_client::test_util::{ManualClock, MockAnswer, MockSts};
use sts_client::{
    CallContext, Caller, Clock as _, Entropy as _, Error, Possession, Propagator, Route, ServiceAccount, Sts,
    SystemClock, SystemEntropy, WithoutUser,
};
use sts_jose::UnverifiedToken;
use sts_jose::dpop::{ProofClaims, ProofKey, ProofUri, access_token_hash};
use tower::{Layer as _, ServiceExt as _};
use url::Url;

use super::place::Place;

/// An STS, and agents that bind their tokens.
pub(super) struct World {
    pub(super) sts: MockSts,
    pub(super) clock: ManualClock,
}

impl World {
    pub(super) fn new() -> Self {
        let clock = ManualClock::new(SystemClock.now());
        Self { sts: MockSts::with_clock(Arc::new(clock.clone())), clock }
    }

    /// The agent `coordinator`, with a key of its own.
    pub(super) fn coordinator(&self) -> Sts {
        self.sts.builder("coordinator").attempts(1).dpop().build().unwrap()
    }

    /// The agent `inventory`, which tells how its callers prove themselves.
    pub(super) async fn inventory(&self, change: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Place {
        Place::serve_at(|base| {
            let router = Router::new().fallback(async |caller: Caller| possession(&caller));
            router.layer(self.verifier(base, change).layer())
        })
        .await
    }

    pub(super) fn verifier(&self, base: &Url, change: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Verifier {
        let builder = Verifier::builder(["inventory"]).issuer(self.sts.entry()).clock(Arc::new(self.clock.clone()));
        change(builder.public_url(base.clone())).build().unwrap()
    }

    pub(super) async fn propagator(&self, sts: Sts, route: Route) -> Propagator {
        let builder = Propagator::builder().sts(sts).route(route.audience("inventory"));
        let builder = builder.service_account(ServiceAccount::Sts).clock(Arc::new(self.clock.clone()));
        builder.build().await.unwrap()
    }

    pub(super) fn alice(&self) -> CallContext {
        let alice = Caller::for_test().clock(Arc::new(self.clock.clone())).subject("alice");
        CallContext::from(alice.lifetime(std::time::Duration::from_secs(3600)).build())
    }
}

pub(super) fn possession(caller: &Caller) -> String {
    match caller.possession() {
        Possession::Bearer => "bearer".to_owned(),
        Possession::Dpop { jkt } => format!("dpop {jkt}"),
        other => format!("{other:?}"),
    }
}

/// Nonces that change each minute.
pub(super) fn with_nonces(builder: VerifierBuilder) -> VerifierBuilder {
    let mut secret = vec![0; 32];
    SystemEntropy.fill(&mut secret);
    builder.dpop_nonce_secret(secret.into())
}

/// The claims of the proof in a request.
fn proof(headers: &HeaderMap) -> Value {
    json!(UnverifiedToken::parse(headers["dpop"].to_str().unwrap()).unwrap().claims().as_map())
}

async fn send(method: Method, url: Url, headers: HeaderMap) -> (u16, String) {
    let answer = sts_client::integrations::http_client().unwrap().request(method, url).headers(headers);
    let answer = answer.send().await.unwrap();
    let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), challenge.unwrap_or_default())
}

#[tokio::test]
async fn a_token_that_was_stolen_with_its_proof_is_useless() {
    let world = World::new();
    let place = world.inventory(|builder| builder).await;
    let sts = world.coordinator();
    let jkt = sts.dpop_thumbprint().unwrap().to_owned();
    let client = client(world.propagator(sts, Route::to(place.url("/"))).await).unwrap();
    let alice = world.alice();
    let call = async || {
        let call = client.get(place.url("/stock?item=7")).with_extension(alice.clone()).send().await.unwrap();
        (call.status().as_u16(), call.text().await.unwrap())
    };
    assert_eq!(call().await, (200, format!("dpop {jkt}")));
    let stolen = place.only();
    let token = stolen["authorization"].to_str().unwrap().strip_prefix("DPoP ").unwrap();
    let expected = json!({
        "htm": "GET", "htu": place.url("/stock"), "ath": access_token_hash(token),
        "iat": world.clock.now().as_second(), "jti": proof(&stolen)["jti"],
    });
    assert_eq!(proof(&stolen), expected);

    let with = |name: &'static str, value: String| {
        let mut headers = stolen.clone();
        headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
        headers
    };
    let thief = ProofKey::generate().unwrap();
    let forged = thief.prove(&ProofClaims {
        method: "GET",
        uri: &ProofUri::of(&place.url("/stock")).unwrap(),
        issued_at: world.clock.now(),
        jti: "a value of the thief",
        ath: Some(&access_token_hash(token)),
        nonce: None,
    });
    let mut without = stolen.clone();
    without.remove("dpop");
    let rows = [
        ("all of it again", Method::GET, "/stock", stolen.clone(), "invalid_dpop_proof"),
        ("with another method", Method::POST, "/stock", stolen.clone(), "invalid_dpop_proof"),
        ("elsewhere", Method::GET, "/orders", stolen.clone(), "invalid_dpop_proof"),
        ("with a proof of the thief", Method::GET, "/stock", with("dpop", forged.unwrap()), "invalid_dpop_proof"),
        ("without its proof", Method::GET, "/stock", without, "invalid_dpop_proof"),
        ("as a bearer token", Method::GET, "/stock", with("authorization", format!("Bearer {token}")), "invalid_token"),
    ];
    for (label, method, path, headers, error) in rows {
        let (status, challenge) = send(method, place.url(path), headers).await;
        assert_eq!(status, 401, "{label}");
        assert!(challenge.contains(&format!("error=\"{error}\"")), "{label}: {challenge}");
        assert!(challenge.contains("algs=\"ES256 "), "{label}: {challenge}");
    }
    assert_eq!(call().await, (200, format!("dpop {jkt}")));
    assert_eq!(world.sts.requests().len(), 1, "the token is kept, and each call has a new proof");
}

/// A client of tower that sends by reqwest.
fn service(propagator: Propagator) -> impl AsyncFn(Method, Url, CallContext) -> u16 {
    let http = sts_client::integrations::http_client().unwrap();
    let inner = tower::service_fn(move |request: Request<String>| {
        let http = http.clone();
        async move {
            let answer = http.execute(request.try_into()?).await?;
            let mut response = Response::new(());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            Ok::<_, reqwest::Error>(response)
        }
    });
    let client = PropagateLayer::new(propagator).layer(inner);
    async move |method, url: Url, context| {
        let mut request = Request::new("body".to_owned());
        *request.method_mut() = method;
        *request.uri_mut() = url.as_str().parse().unwrap();
        request.extensions_mut().insert(context);
        client.clone().oneshot(request).await.unwrap().status().as_u16()
    }
}

fn middleware(propagator: Propagator) -> impl AsyncFn(Method, Url, CallContext) -> u16 {
    let client = client(propagator).unwrap();
    async move |method, url: Url, context| {
        let call = client.request(method, url).body("body").with_extension(context);
        call.send().await.unwrap().status().as_u16()
    }
}

/// Calls with each method. A nonce costs the first call one more round trip, and no other.
async fn follows_nonces(world: &World, place: &Place, call: impl AsyncFn(Method, Url, CallContext) -> u16) {
    for method in [Method::POST, Method::GET, Method::DELETE] {
        // Long after the last call: its nonce is accepted no more.
        world.clock.advance(std::time::Duration::from_secs(150));
        for sent in [2, 1] {
            let before = place.requests().len();
            assert_eq!(call(method.clone(), place.url("/stock"), world.alice()).await, 200, "{method}");
            assert_eq!(place.requests().len() - before, sent, "{method}");
        }
        // The next nonce comes with an answer before the last one ends.
        for _ in 0..3 {
            world.clock.advance(std::time::Duration::from_secs(60));
            let before = place.requests().len();
            assert_eq!(call(method.clone(), place.url("/stock"), world.alice()).await, 200, "{method}");
            assert_eq!(place.requests().len() - before, 1, "{method}");
        }
    }
}

#[tokio::test]
async fn a_nonce_of_the_target_is_followed_by_every_method_of_reqwest_and_tower() {
    let world = World::new();
    let place = world.inventory(with_nonces).await;
    let route = || Route::to(place.url("/"));
    follows_nonces(&world, &place, middleware(world.propagator(world.coordinator(), route()).await)).await;
    follows_nonces(&world, &place, service(world.propagator(world.coordinator(), route()).await)).await;
}

#[tokio::test]
async fn the_nonce_of_an_a2a_target_is_fetched_before_a_call_and_for_the_next_half_minute() {
    let world = World::new();
    let place = world.inventory(with_nonces).await;
    let propagator = world.propagator(world.coordinator(), Route::to(place.url("/"))).await;
    let http = sts_client::integrations::http_client().unwrap();
    let call = async || {
        let before = place.requests().len();
        // As an agent does that makes a client for each request.
        let interceptor = PropagateInterceptor::new(propagator.clone(), place.url("/a2a")).with_context(world.alice());
        let mut params = ServiceParams::from([("x-note".to_owned(), vec!["kept".to_owned()])]);
        interceptor.before("SendMessage", &mut params).await.unwrap();
        let sent = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        let request = sent.fold(http.post(place.url("/a2a")), |request, (name, value)| request.header(name, value));
        let status = request.send().await.unwrap().status().as_u16();
        let methods: Vec<String> = place.requests().iter().skip(before).map(|sent| sent.method.to_string()).collect();
        (status, methods)
    };
    let (probed, plain) = (vec!["GET".to_owned(), "POST".to_owned()], vec!["POST".to_owned()]);
    assert_eq!(call().await, (200, probed.clone()));
    assert_eq!(call().await, (200, plain.clone()));
    world.clock.advance(std::time::Duration::from_secs(29));
    assert_eq!(call().await, (200, plain));
    world.clock.advance(std::time::Duration::from_secs(600));
    assert_eq!(call().await, (200, probed));
}

/// Calls an A2A target, and returns the status of its answer.
async fn call_a2a(world: &World, propagator: &Propagator, url: Url) -> u16 {
    let interceptor = PropagateInterceptor::new(propagator.clone(), url.clone()).with_context(world.alice());
    let mut params = ServiceParams::new();
    interceptor.before("SendMessage", &mut params).await.unwrap();
    let sent = params.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let request = sts_client::integrations::http_client().unwrap().post(url);
    let request = sent.fold(request, |request, (name, value)| request.header(name, value));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn two_a2a_targets_behind_one_gateway_have_nonces_of_their_own() {
    let world = World::new();
    let place = Place::serve_at(|base| {
        let target = |path| {
            let router = Router::new().route(path, any(async |caller: Caller| possession(&caller)));
            router.layer(world.verifier(base, with_nonces).layer())
        };
        target("/one").merge(target("/two"))
    })
    .await;
    let propagator = world.propagator(world.coordinator(), Route::to(place.url("/"))).await;
    for path in ["/one", "/two", "/one?a=b", "/two", "/one"] {
        assert_eq!(call_a2a(&world, &propagator, place.url(path)).await, 200, "{path}");
    }
    let asked = place.requests().iter().filter(|sent| sent.method == Method::GET).count();
    assert_eq!(asked, 2, "each is asked once");
}

#[tokio::test]
async fn an_a2a_target_that_gave_no_nonce_for_an_outage_is_asked_again() {
    let world = World::new();
    for outage in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
        let fails = Arc::new(AtomicBool::new(true));
        let place = Place::serve_at(|base| {
            let router = Router::new().fallback(async |caller: Caller| possession(&caller));
            let router = router.layer(world.verifier(base, with_nonces).layer());
            router.layer(from_fn(move |request: axum::extract::Request, next: Next| {
                let is_failing = fails.swap(false, Ordering::SeqCst);
                async move { if is_failing { outage.into_response() } else { next.run(request).await } }
            }))
        })
        .await;
        let propagator = world.propagator(world.coordinator(), Route::to(place.url("/"))).await;
        assert_eq!(call_a2a(&world, &propagator, place.url("/a2a")).await, 401, "{outage}");
        assert_eq!(call_a2a(&world, &propagator, place.url("/a2a")).await, 200, "{outage}");
    }
}

#[tokio::test]
async fn first_calls_of_an_a2a_target_at_the_same_time_all_have_its_nonce() {
    let world = World::new();
    let place = world.inventory(with_nonces).await;
    let propagator = world.propagator(world.coordinator(), Route::to(place.url("/"))).await;
    let calls = (0..3).map(|_| call_a2a(&world, &propagator, place.url("/a2a")));
    assert_eq!(futures_util::future::join_all(calls).await, [200; 3]);
}

#[tokio::test]
async fn a_target_that_is_content_with_no_nonce_gets_two_requests_and_no_more() {
    let world = World::new();
    let number = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let answer = async move || {
        let nonce = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
        (
            StatusCode::UNAUTHORIZED,
            [("www-authenticate", "DPoP error=\"use_dpop_nonce\"".to_owned()), ("dpop-nonce", nonce)],
        )
    };
    let place = Place::serve(Router::new().fallback(answer)).await;
    for call in [false, true] {
        let propagator = world.propagator(world.coordinator(), Route::to(place.url("/"))).await;
        let before = place.requests().len();
        let status = match call {
            false => middleware(propagator)(Method::POST, place.url("/"), world.alice()).await,
            true => service(propagator)(Method::POST, place.url("/"), world.alice()).await,
        };
        assert_eq!((status, place.requests().len() - before), (401, 2));
    }
}

#[tokio::test]
async fn without_a_key_nothing_changes_on_the_wire() {
    let world = World::new();
    let place = world.inventory(|builder| builder).await;
    let sts = world.sts.sts("coordinator");
    assert_eq!(sts.dpop_thumbprint(), None);
    let call = middleware(world.propagator(sts, Route::to(place.url("/"))).await);
    assert_eq!(call(Method::GET, place.url("/"), world.alice()).await, 200);
    assert!(!place.only().contains_key("dpop"));
    assert!(place.only()["authorization"].to_str().unwrap().starts_with("Bearer "));
    assert_eq!(world.sts.requests()[0].proof(), None);
}

#[tokio::test]
async fn a_target_that_cannot_check_proofs_gets_bearer_tokens_by_its_route_alone() {
    let world = World::new();
    let place = Place::start().await;
    let route = Route::to(place.url("/legacy")).bearer_only();
    let bearer = Propagator::builder().sts(world.coordinator()).route(route.audience("legacy"));
    let both = bearer.route(Route::to(place.url("/")).audience("inventory")).clock(Arc::new(world.clock.clone()));
    let call = middleware(both.build().await.unwrap());
    for (path, scheme) in [("/legacy/x", "Bearer "), ("/stock", "DPoP ")] {
        assert_eq!(call(Method::GET, place.url(path), world.alice()).await, 200);
        let (sent, asked) = (place.requests().pop().unwrap().headers, world.sts.requests().pop().unwrap());
        assert!(sent["authorization"].to_str().unwrap().starts_with(scheme), "{path}");
        assert_eq!((sent.contains_key("dpop"), asked.proof().is_some()), (scheme == "DPoP ", scheme == "DPoP "));
    }
}

#[tokio::test]
async fn the_own_token_of_an_agent_is_bound_too() {
    let world = World::new();
    let place = world.inventory(VerifierBuilder::require_dpop).await;
    let route = Route::to(place.url("/")).without_user(WithoutUser::ServiceAccount);
    let call = middleware(world.propagator(world.coordinator(), route).await);
    let without_user = CallContext::without_user(None, &SystemEntropy);
    assert_eq!(call(Method::POST, place.url("/"), without_user.clone()).await, 200);
    assert_eq!(call(Method::POST, place.url("/"), without_user).await, 200);
    assert_ne!(proof(&place.requests()[0].headers)["jti"], proof(&place.requests()[1].headers)["jti"]);
}

#[tokio::test]
async fn a_call_of_an_unknown_method_is_not_sent_with_a_bound_token() {
    let world = World::new();
    let url: Url = "https://inventory.example/stock".parse().unwrap();
    let propagator = world.propagator(world.coordinator(), Route::to(url.clone())).await;
    let mut headers = HeaderMap::new();
    let error = propagator.apply(&world.alice(), &url, &mut headers).await.unwrap_err();
    assert!(matches!(&error, Error::Misconfigured { what } if what.contains("apply_as")), "{error}");
    assert!(!headers.contains_key("authorization") && !headers.contains_key("dpop"));
    let operation = OutboundOperation::Request { method: &Method::PUT, body: None };
    propagator.apply_as(&world.alice(), &url, &mut headers, operation).await.unwrap();
    assert_eq!(proof(&headers)["htm"], "PUT");
    assert!(headers["dpop"].is_sensitive());
}

#[tokio::test]
async fn a_bound_token_is_not_passed_on() {
    let world = World::new();
    let url: Url = "https://inventory.example/stock".parse().unwrap();
    let propagator = world.propagator(world.coordinator(), Route::to(url.clone())).await;
    let mut headers = HeaderMap::new();
    let operation = OutboundOperation::Request { method: &Method::GET, body: None };
    propagator.apply_as(&world.alice(), &url, &mut headers, operation).await.unwrap();
    let (mut parts, ()) = Request::get("/stock").body(()).unwrap().into_parts();
    parts.headers = headers;
    let verifier = world.verifier(&"https://inventory.example/".parse().unwrap(), |builder| builder);
    let context = CallContext::from(verifier.verify_request(&parts).await.unwrap());
    let route = Route::to("https://warehouse.example/".parse().unwrap()).pass_through();
    let passing = Propagator::builder().route(route).clock(Arc::new(world.clock.clone())).build().await.unwrap();
    let (target, mut sent) = ("https://warehouse.example/".parse().unwrap(), HeaderMap::new());
    let error = passing.apply(&context, &target, &mut sent).await.unwrap_err();
    assert!(matches!(&error, Error::Misconfigured { what } if what.contains("pass_through")), "{error}");
    assert!(!sent.contains_key("authorization"));
}

#[tokio::test]
async fn the_nonce_of_the_sts_and_those_of_targets_are_kept_apart() {
    let world = World::new();
    let place = world.inventory(with_nonces).await;
    world.sts.answer_next(MockAnswer::DemandNonce("of-the-sts"));
    let call = middleware(world.propagator(world.coordinator(), Route::to(place.url("/"))).await);
    assert_eq!(call(Method::GET, place.url("/"), world.alice()).await, 200);
    let asked = world.sts.requests();
    let nonce = |text: &str| json!(UnverifiedToken::parse(text).unwrap().claims().as_map())["nonce"].clone();
    assert_eq!(
        asked.iter().map(|asked| nonce(asked.proof().unwrap())).collect::<Vec<_>>(),
        [Value::Null, json!("of-the-sts")]
    );
    let sent: Vec<Value> = place.requests().iter().map(|sent| proof(&sent.headers)["nonce"].clone()).collect();
    assert!(sent.len() == 2 && sent[0].is_null() && sent[1].is_string() && sent[1] != "of-the-sts", "{sent:?}");
}

#[tokio::test]
async fn rfc_9449_section_9_a_target_behind_the_gateway_of_the_sts_gets_no_nonce_of_the_sts() {
    let world = World::new();
    world.sts.answer_next(MockAnswer::DemandNonce("of-the-sts"));
    let url: Url = format!("{}/agents/inventory", world.sts.issuer()).parse().unwrap();
    let propagator = world.propagator(world.coordinator(), Route::to(url.clone())).await;
    let alice = world.alice();
    let sent = async || {
        let (operation, mut headers) =
            (OutboundOperation::Request { method: &Method::GET, body: None }, HeaderMap::new());
        propagator.apply_as(&alice, &url, &mut headers, operation).await.unwrap();
        proof(&headers)["nonce"].clone()
    };
    assert_eq!(sent().await, Value::Null);
    propagator
        .learn_nonce(&url, &HeaderMap::from_iter([(HeaderName::from_static("dpop-nonce"), "own".parse().unwrap())]));
    assert_eq!(sent().await, json!("own"));
    let asked: Vec<Value> = world
        .sts
        .requests()
        .iter()
        .map(|asked| json!(UnverifiedToken::parse(asked.proof().unwrap()).unwrap().claims().as_map())["nonce"].clone())
        .collect();
    assert_eq!(asked, [Value::Null, json!("of-the-sts")]);
}
