//! The agent's own tokens: where they come from, how they are kept, and when they are not.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use secrecy::ExposeSecret as _;
use serde_json::json;
use sts_client::RefusalCode;
use sts_client::inbound::{Issuer, Verifier};
use sts_client::net::{Transport, TransportError};
use sts_client::propagate::Credential;
use sts_client::service_account::openid::OpenIdServiceAccount;
use sts_client::{
    CallContext, Credentials, Error, OnOutage, Propagator, Route, ServiceAccount, SourcedToken, StartError, Sts,
    Tenant, TokenFile, TokenSource, TokenSourceError, WithoutUser,
};
use sts_jose::{Algorithm, Clock as _, KeySet, ManualClock, SystemEntropy};
use sts_tests::TestKey;

/// No STS at all.
#[derive(Debug)]
struct Gone;

#[async_trait]
impl Transport for Gone {
    async fn send(&self, _: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, TransportError> {
        Err(TransportError::TimedOut)
    }
}

/// A source that says what the test wrote, and counts how often it was asked.
#[derive(Debug)]
struct Script {
    says: Mutex<Says>,
    asked: Mutex<usize>,
    clock: ManualClock,
}

#[derive(Debug, Clone, Copy)]
enum Says {
    /// A bug of the source.
    Panic,
    /// A token named after how often the source was asked, that lives for so long.
    Token(Duration),
    No,
    Nothing,
}

#[async_trait]
impl TokenSource for Script {
    async fn token(&self) -> Result<SourcedToken, TokenSourceError> {
        let asked = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked
        };
        let says = *self.says.lock().unwrap();
        match says {
            Says::Panic => panic!("a bug of the source"),
            Says::Token(life) => {
                let expires_at = Some(self.clock.now() + life);
                Ok(SourcedToken { token: format!("own-{asked}").into(), expires_at })
            }
            Says::No => Err(TokenSourceError::Refused { code: RefusalCode::from_answer("access_denied") }),
            Says::Nothing => Err(TokenSourceError::Unavailable(Arc::new(std::io::Error::other("down")))),
        }
    }
}

impl Script {
    fn new(says: Says, clock: &ManualClock) -> Arc<Self> {
        Arc::new(Self { says: Mutex::new(says), asked: Mutex::new(0), clock: clock.clone() })
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap())
}

const LONG: Duration = Duration::from_secs(600);

/// An agent whose STS is gone from the first second.
async fn agent(source: Arc<dyn TokenSource>, clock: &ManualClock) -> Result<Propagator, StartError> {
    let sts = Sts::builder("https://sts.example", "agent", Credentials::ClientSecret("secret".into()))
        .transport(Arc::new(Gone))
        .attempts(1)
        .clock(Arc::new(clock.clone()))
        .build()
        .unwrap();
    let route = Route::to("https://inventory.example/".parse().unwrap())
        .audience("inventory")
        .on_outage(OnOutage::ServiceAccount)
        .without_user(WithoutUser::ServiceAccount);
    let builder = Propagator::builder().sts(sts).route(route).service_account(ServiceAccount::Source(source));
    builder.clock(Arc::new(clock.clone())).build().await
}

async fn user(clock: &ManualClock) -> CallContext {
    let key = TestKey::new(Algorithm::EdDsa);
    let keys = KeySet::parse(json!({ "keys": [key.jwk()] }).to_string().as_bytes()).unwrap();
    let issuer = Issuer::new("https://idp.example").jwks(keys).tenant_claim("org_id");
    let verifier = Verifier::builder(["agent"]).issuer(issuer).clock(Arc::new(clock.clone())).build().unwrap();
    let now = clock.now().as_second();
    let claims = json!({ "iss": "https://idp.example", "sub": "alice", "aud": "agent", "org_id": "acme", "iat": now, "exp": now + 36_000 });
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {}", key.sign(&claims)).parse().unwrap());
    verifier.verify(&headers).await.unwrap().into()
}

fn nobody() -> CallContext {
    CallContext::without_user(Some(Tenant::new("acme").unwrap()), &SystemEntropy)
}

/// What a call came to: the credential with its token, or the error.
async fn call(propagator: &Propagator, context: &CallContext) -> String {
    let mut headers = HeaderMap::new();
    let url = "https://inventory.example/".parse().unwrap();
    match propagator.apply(context, &url, &mut headers).await {
        Ok(credential) => {
            assert_eq!(headers["x-tenant-id"], "acme");
            assert_eq!(headers.contains_key("x-delegation-fallback"), credential == Credential::Fallback);
            format!("{credential:?} {}", headers["authorization"].to_str().unwrap())
        }
        Err(Error::Refused { code }) => code.to_string(),
        Err(Error::Unavailable { .. }) => "unavailable".to_owned(),
        Err(other) => other.to_string(),
    }
}

#[tokio::test]
async fn a_token_file_stands_in_for_an_sts_that_was_never_there() {
    let (clock, directory) = (clock(), tempfile::tempdir().unwrap());
    let path = directory.path().join("token");
    std::fs::write(&path, "projected\n").unwrap();
    let propagator = agent(Arc::new(TokenFile::new(&path)), &clock).await.unwrap();
    assert_eq!(call(&propagator, &user(&clock).await).await, "Fallback Bearer projected");
    // Somebody else replaces it.
    std::fs::write(&path, "rotated\n").unwrap();
    assert_eq!(call(&propagator, &nobody()).await, "ServiceAccount Bearer rotated");
    assert_eq!(call(&propagator, &user(&clock).await).await, "Fallback Bearer rotated");
}

#[tokio::test]
async fn an_agent_that_may_fall_back_does_not_start_without_the_token() {
    for (says, expected) in [(Says::No, "refused: access_denied"), (Says::Nothing, "no token is available now")] {
        let clock = clock();
        let error = agent(Script::new(says, &clock), &clock).await.unwrap_err();
        assert!(matches!(&error, StartError::Fallback { source, .. } if source.to_string() == expected), "{error:?}");
    }
}

#[tokio::test]
async fn the_token_that_stands_in_is_there_already_and_is_not_sent_when_it_nearly_dies() {
    let clock = clock();
    let source = Script::new(Says::Token(LONG), &clock);
    let propagator = agent(Arc::clone(&source) as _, &clock).await.unwrap();
    let user = user(&clock).await;
    source.say(Says::Nothing);
    for (seconds, expected) in [(0, "Fallback Bearer own-1"), (589, "Fallback Bearer own-1"), (1, "unavailable")] {
        clock.advance(Duration::from_secs(seconds));
        assert_eq!(call(&propagator, &user).await, expected, "after {seconds}");
    }
}

#[tokio::test]
async fn a_source_that_is_out_of_reach_is_bridged_and_one_that_refuses_is_not() {
    let clock = clock();
    let source = Script::new(Says::Token(LONG), &clock);
    let propagator = agent(Arc::clone(&source) as _, &clock).await.unwrap();
    assert_eq!(call(&propagator, &nobody()).await, "ServiceAccount Bearer own-2");
    source.say(Says::Nothing);
    assert_eq!(call(&propagator, &nobody()).await, "ServiceAccount Bearer own-2");
    source.say(Says::No);
    assert_eq!(call(&propagator, &nobody()).await, "access_denied");
    // What was there before is gone, for the fallback too.
    source.say(Says::Nothing);
    assert_eq!(call(&propagator, &user(&clock).await).await, "unavailable");
}

#[tokio::test]
async fn a_dead_token_of_a_source_is_never_sent() {
    let clock = clock();
    let source = Script::new(Says::Token(LONG), &clock);
    let propagator = agent(Arc::clone(&source) as _, &clock).await.unwrap();
    source.say(Says::Token(Duration::ZERO));
    clock.advance(LONG);
    assert_eq!(call(&propagator, &nobody()).await, "unavailable");
}

/// Lets the background work for a while. Its pauses are tokio's, the lives of the tokens are the clock's.
async fn pass(clock: &ManualClock, seconds: u64) {
    for _ in 0..seconds {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_that_stands_in_is_renewed_at_half_its_life_and_dropped_when_the_source_refuses() {
    let clock = clock();
    let source = Script::new(Says::Token(LONG), &clock);
    let propagator = agent(Arc::clone(&source) as _, &clock).await.unwrap();
    let user = user(&clock).await;
    pass(&clock, 200).await;
    assert_eq!(source.asked(), 1);
    pass(&clock, 170).await;
    assert_eq!((source.asked(), call(&propagator, &user).await.as_str()), (2, "Fallback Bearer own-2"));

    // Out of reach: the kept token serves on, and the source is asked again every few seconds.
    source.say(Says::Nothing);
    pass(&clock, 380).await;
    let retried = source.asked();
    assert!((20..=80).contains(&retried), "asked {retried} times");
    assert_eq!(call(&propagator, &user).await, "Fallback Bearer own-2");

    // A no stays a no, at once.
    source.say(Says::No);
    pass(&clock, 10).await;
    source.say(Says::Nothing);
    assert_eq!(call(&propagator, &user).await, "unavailable");

    // The last clone takes the background work with it.
    drop(propagator);
    let asked = source.asked();
    pass(&clock, 300).await;
    assert_eq!(source.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_does_not_end_the_renewal_and_a_gauge_shows_what_is_left() {
    let recorder = DebuggingRecorder::new();
    let metrics = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let left = || {
        let mut gauges = metrics.snapshot().into_vec().into_iter().filter_map(|(key, _, _, value)| {
            let is_ours = key.key().name() == "sts_client_stand_in_seconds_left";
            let DebugValue::Gauge(seconds) = value else { return None };
            is_ours.then_some(seconds.into_inner())
        });
        gauges.next_back().unwrap()
    };
    let clock = clock();
    let source = Script::new(Says::Token(LONG), &clock);
    let propagator = agent(Arc::clone(&source) as _, &clock).await.unwrap();
    source.say(Says::Panic);
    pass(&clock, 400).await;
    assert_eq!(call(&propagator, &user(&clock).await).await, "Fallback Bearer own-1");
    assert!((100.0..=210.0).contains(&left()), "{}", left());
    pass(&clock, 200).await;
    assert_eq!((call(&propagator, &user(&clock).await).await.as_str(), left()), ("unavailable", 0.0));
    source.say(Says::Token(LONG));
    pass(&clock, 10).await;
    assert!(call(&propagator, &user(&clock).await).await.starts_with("Fallback Bearer own-"));
    assert!(left() > 580.0, "{}", left());
}

/// An OpenID provider.
#[derive(Clone)]
struct Provider {
    url: Arc<str>,
    /// What its token endpoint answers instead of a token.
    fault: Arc<Mutex<Option<(u16, &'static str)>>>,
    forms: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let provider = Self { url: url.into(), fault: Arc::default(), forms: Arc::default() };
        let router = Router::new().fallback(Self::answer).with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    async fn answer(State(provider): State<Self>, request: Request) -> Response {
        let url = &provider.url;
        match request.uri().path() {
            "/.well-known/openid-configuration" => Json(json!({
                "issuer": url.to_string(),
                "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"),
                "jwks_uri": format!("{url}/jwks"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }))
            .into_response(),
            "/jwks" => Json(json!({ "keys": [] })).into_response(),
            "/token" => {
                assert!(request.headers()["authorization"].to_str().unwrap().starts_with("Basic "));
                let body = axum::body::to_bytes(request.into_body(), 10_000).await.unwrap();
                let mut forms = provider.forms.lock().unwrap();
                forms.push(String::from_utf8(body.to_vec()).unwrap());
                match *provider.fault.lock().unwrap() {
                    Some((status, body)) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
                    None => {
                        let token = format!("idp-{}", forms.len());
                        Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": 600 }))
                            .into_response()
                    }
                }
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn account(&self, clock: &ManualClock) -> OpenIdServiceAccount {
        OpenIdServiceAccount::builder(self.url.to_string(), "agent", "secret".into())
            .scope("stock:read")
            .audience("inventory")
            .clock(Arc::new(clock.clone()))
            .build()
            .unwrap()
    }
}

fn told(answer: Result<SourcedToken, TokenSourceError>) -> String {
    match answer {
        Ok(token) => token.token.expose_secret().to_owned(),
        Err(TokenSourceError::Refused { code }) => code.to_string(),
        Err(TokenSourceError::Unavailable(_)) => "unavailable".to_owned(),
        Err(_) => "misconfigured".to_owned(),
    }
}

#[tokio::test]
async fn an_openid_provider_is_asked_for_the_next_token_at_half_its_life() {
    let (clock, provider) = (clock(), Provider::start().await);
    let account = provider.account(&clock);
    for (seconds, expected) in [(0, "idp-1"), (299, "idp-1"), (1, "idp-2")] {
        clock.advance(Duration::from_secs(seconds));
        assert_eq!(told(account.token().await), expected, "after {seconds}");
    }
    let form = &provider.forms.lock().unwrap()[0];
    assert_eq!(form, "grant_type=client_credentials&scope=stock%3Aread&audience=inventory");
}

#[tokio::test]
async fn a_provider_that_is_down_is_bridged_by_its_last_token_and_one_that_refuses_is_not() {
    let (clock, provider) = (clock(), Provider::start().await);
    let account = provider.account(&clock);
    assert_eq!(told(account.token().await), "idp-1");
    *provider.fault.lock().unwrap() = Some((503, ""));
    for (seconds, expected) in [(300, "idp-1"), (269, "idp-1"), (1, "unavailable")] {
        clock.advance(Duration::from_secs(seconds));
        assert_eq!(told(account.token().await), expected, "after {seconds}");
    }
    *provider.fault.lock().unwrap() = None;
    let next = told(account.token().await);
    assert!(next.starts_with("idp-"), "{next}");
    clock.advance(Duration::from_secs(300));
    *provider.fault.lock().unwrap() = Some((401, r#"{"error":"invalid_client"}"#));
    assert_eq!(told(account.token().await), "invalid_client");
    *provider.fault.lock().unwrap() = Some((503, ""));
    assert_eq!(told(account.token().await), "unavailable", "what was refused is gone");
}

#[tokio::test]
async fn a_provider_that_says_no_is_told_from_one_that_is_down() {
    let (clock, provider) = (clock(), Provider::start().await);
    let rows = [
        (401, r#"{"error":"invalid_client"}"#, "invalid_client"),
        (400, r#"{"error":"invalid_scope"}"#, "invalid_scope"),
        (400, "<html>", "invalid_response"),
        (200, "<html>", "invalid_response"),
        (302, "", "invalid_response"),
        (429, r#"{"error":"slow_down"}"#, "unavailable"),
        (500, r#"{"error":"server_error"}"#, "unavailable"),
        (503, "<html>", "unavailable"),
    ];
    for (status, body, expected) in rows {
        *provider.fault.lock().unwrap() = Some((status, body));
        assert_eq!(told(provider.account(&clock).token().await), expected, "{status} {body}");
    }
    let nowhere = OpenIdServiceAccount::builder("http://127.0.0.1:1", "agent", "secret".into()).build().unwrap();
    assert_eq!(told(nowhere.token().await), "unavailable");
    assert!(OpenIdServiceAccount::builder("http://idp.example", "agent", "secret".into()).build().is_err());
}

#[tokio::test]
async fn an_openid_provider_of_the_configuration_stands_in_for_the_sts() {
    let (provider, directory) = (Provider::start().await, tempfile::tempdir().unwrap());
    let secret = written(directory.path(), "secret", " secret\n");
    let text = format!(
        r#"
[service_account]
issuer = "{}"
client_id = "agent"
client_secret_file = "{secret}"
scopes = ["stock:read"]

[[routes]]
url = "https://inventory.example/"
without_user = "service_account"
"#,
        provider.url
    );
    let propagator = Propagator::from_toml(&text).unwrap().build().await.unwrap();
    assert_eq!(call(&propagator, &nobody()).await, "ServiceAccount Bearer idp-1");
}

fn written(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}
