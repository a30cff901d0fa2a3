//! Client authentication: each method, each way in which it fails (RFC 6749 section 2.3, RFC 7523).

use std::collections::BTreeMap;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sts_jose::Algorithm;
use sts_protocol::parameter::JWT_BEARER_ASSERTION;
use sts_server::error_kind::ErrorKind;
use sts_tests::{Answer, Credentials, FormRequest, Harness, Setup, TestKey};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

fn wrong(agent: &str) -> Credentials {
    Credentials::Basic(agent.to_owned(), format!("not-the-secret-of-{agent}"))
}

/// An exchange by `reporter` with this assertion.
fn asserting(harness: &Harness, assertion: String) -> FormRequest {
    harness.exchange_by("reporter", &harness.user_token(), "inventory").authenticated(Credentials::Assertion(assertion))
}

async fn auth_method(harness: &Harness, request: FormRequest) -> String {
    let correlation_id = request.correlation_id();
    request.send().await.token();
    harness.events(&correlation_id).await[0].auth_method.clone().unwrap()
}

#[tokio::test]
async fn each_method_authenticates() {
    let harness = Harness::start().await;
    let user = harness.user_token();
    let Credentials::Basic(id, secret) = harness.credentials("coordinator") else { panic!("a secret") };
    let by = |agent: &str| harness.exchange_by(agent, &user, "inventory");
    let workload = Credentials::Assertion(harness.workload_token_with(&json!({})));
    for (method, request) in [
        ("client_secret_basic", by("coordinator")),
        ("client_secret_post", by("coordinator").authenticated(Credentials::Post(id.clone(), secret))),
        ("client_secret_basic", by("coordinator").set("client_id", id)),
        ("client_secret_basic", by("auditor")),
        ("private_key_jwt", by("reporter")),
        ("private_key_jwt", by("reporter").set("client_id", "reporter")),
        ("workload_assertion", by("reporter").authenticated(workload)),
        ("workload_actor_token", by("runner")),
    ] {
        assert_eq!(auth_method(&harness, request).await, method);
    }
}

/// What of an answer could tell two failures apart.
fn telling(answer: &Answer) -> (u16, BTreeMap<String, String>, String) {
    let headers = answer.headers.iter().filter(|(name, _)| *name != "date" && *name != "x-correlation-id");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (answer.status, headers, answer.text())
}

#[tokio::test]
async fn whatever_fails_is_one_answer() {
    let setup = Setup::default().entries(
        "[[agents]]\nid = 'gone'\ndisabled = true\n\
         auth = { client_secret_sha256 = '91dc8a44c5fa2f4ad1a4f3a90ea9d2ad2e5f1ef15d02ec5bb6eb2dc36dd7e6e4' }\n",
    );
    let mut harness = setup.start().await;
    harness.apply(|registry, _| registry.agent("auditor", "disabled = true")).await;
    let request = || harness.exchange();
    let header = |value: &str| request().authenticated(Credentials::None).header("authorization", value);
    let encoded = |text: &[u8]| format!("Basic {}", STANDARD.encode(text));
    let cases = [
        ("a wrong secret", request().authenticated(wrong("coordinator"))),
        ("an unknown agent", request().authenticated(wrong("nobody"))),
        ("an agent without secret", request().authenticated(wrong("reporter"))),
        ("an agent that only receives", request().authenticated(wrong("shelf"))),
        ("a disabled agent", request().authenticated(wrong("gone"))),
        ("a disabled agent with its secret", request().authenticated(harness.credentials("auditor"))),
        ("an empty secret", request().authenticated(Credentials::Basic("coordinator".to_owned(), String::new()))),
        ("an empty id", request().authenticated(Credentials::Basic(String::new(), harness.secret("coordinator")))),
        (
            "the secret of another",
            request().authenticated(Credentials::Basic("coordinator".to_owned(), harness.secret("inventory"))),
        ),
        (
            "another case",
            request().authenticated(Credentials::Basic("Coordinator".to_owned(), harness.secret("coordinator"))),
        ),
        ("no base64", header("Basic !!!")),
        ("no colon", header(&encoded(b"coordinator"))),
        ("not UTF-8", header(&encoded(b"coordinator:\xff\xfe"))),
        ("a bad percent-encoding", header(&encoded(b"coordinator:%zz"))),
        ("a NUL", header(&encoded(b"coordinator:%00"))),
        ("nothing after the scheme", header("Basic ")),
        ("the scheme alone", header("Basic")),
        ("another scheme", header("Bearer abc")),
    ];
    request().send().await.token();
    let mut answers = Vec::new();
    for (label, request) in cases {
        let answer = harness.assert_refused_unrecorded(label, request, ErrorKind::Client).await;
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"sts\", charset=\"UTF-8\"", "{label}");
        answers.push((label, telling(&answer)));
    }
    for (label, answer) in &answers {
        assert_eq!(*answer, answers[0].1, "{label}");
    }
    request().send().await.token();
}

#[tokio::test]
async fn rfc_6749_section_5_2_the_challenge_is_there_only_if_authorization_was_used() {
    let harness = Harness::start().await;
    let post = |id: &str| Credentials::Post(id.to_owned(), "not its secret, whoever it is".to_owned());
    for (label, credentials) in
        [("none", Credentials::None), ("in the body", post("coordinator")), ("unknown, in the body", post("nobody"))]
    {
        let request = harness.exchange().authenticated(credentials);
        let answer = harness.assert_refused_unrecorded(label, request, ErrorKind::Client).await;
        assert!(!answer.headers.contains_key("www-authenticate"), "{label}");
    }
    // An empty header counts as absent.
    let empty = harness.exchange().authenticated(Credentials::None).header("authorization", "");
    let answer = harness.assert_refused_unrecorded("an empty header", empty, ErrorKind::Client).await;
    assert!(!answer.headers.contains_key("www-authenticate"));
    let id_alone = harness.exchange().authenticated(Credentials::None).set("client_id", "coordinator");
    harness.assert_refused_unrecorded("the id alone", id_alone, ErrorKind::Client).await;
}

#[tokio::test]
async fn rfc_6749_section_2_3_two_methods_at_once_are_refused() {
    let harness = Harness::start().await;
    let secret = harness.secret("coordinator");
    let basic = || harness.exchange();
    let assertion = |request: FormRequest| {
        let assertion = harness.assertion_with(&json!({}));
        request.set("client_assertion", assertion).set("client_assertion_type", JWT_BEARER_ASSERTION)
    };
    let post = || harness.exchange().authenticated(Credentials::Post("coordinator".to_owned(), secret.clone()));
    let two_headers = basic().another_header("authorization", "Basic YTpi");
    let cases = [
        (
            "header and body",
            basic().set("client_id", "coordinator").set("client_secret", secret.clone()),
            ErrorKind::Request,
        ),
        ("header and assertion", assertion(basic()), ErrorKind::Request),
        ("body and assertion", assertion(post()), ErrorKind::Request),
        ("two headers", two_headers, ErrorKind::Request),
        ("a bearer token and body", post().header("authorization", "Bearer x"), ErrorKind::Request),
        (
            "header and half an assertion",
            basic().set("client_assertion_type", JWT_BEARER_ASSERTION),
            ErrorKind::Request,
        ),
        ("the id of another", basic().set("client_id", "inventory"), ErrorKind::Request),
        ("an unknown id", basic().set("client_id", "nobody"), ErrorKind::Request),
    ];
    harness.assert_each_refused_unrecorded(basic, cases).await;
}

#[tokio::test]
async fn rfc_7523_an_assertion_must_keep_every_rule() {
    let harness = Harness::start().await;
    let now = harness.now();
    let iss = harness.issuer().to_owned();
    let with = |changes: Value| asserting(&harness, harness.assertion_with(&changes));
    for changes in
        [json!({ "aud": [iss] }), json!({ "exp": now + 300 }), json!({ "iat": null }), json!({ "iat": now + 30 })]
    {
        let answer = with(changes.clone()).send().await;
        assert_eq!(answer.status, 200, "{changes}: {}", answer.text());
    }
    let with_value = |claim: &str, value: Value| {
        let mut claims = harness.assertion_claims();
        claims[claim] = value;
        asserting(&harness, harness.reporter.sign(&claims))
    };
    let other_key = TestKey::new(Algorithm::Es256);
    let mut named = other_key.header();
    named["kid"] = json!(harness.reporter.kid());
    let cases = vec![
        ("iss is not sub", with(json!({ "sub": "coordinator" }))),
        ("sub is not iss", with(json!({ "iss": "coordinator" }))),
        ("of another agent, which has no key", with(json!({ "iss": "coordinator", "sub": "coordinator" }))),
        ("of nobody", with(json!({ "iss": "nobody", "sub": "nobody" }))),
        ("no iss", with(json!({ "iss": null }))),
        ("no sub", with(json!({ "sub": null }))),
        ("iss is a number", with_value("iss", json!(7))),
        ("the token endpoint as audience", with(json!({ "aud": format!("{iss}/oauth2/token") }))),
        ("our issuer and another", with(json!({ "aud": [iss, "https://other.example"] }))),
        ("our issuer twice", with(json!({ "aud": [iss, iss] }))),
        ("our issuer with a slash", with(json!({ "aud": format!("{iss}/") }))),
        ("another audience", with(json!({ "aud": "https://other.example" }))),
        ("no audience", with(json!({ "aud": null }))),
        ("an empty audience", with(json!({ "aud": [] }))),
        ("audience null", with_value("aud", Value::Null)),
        ("bound to a key", with_value("cnf", json!({ "jkt": "x" }))),
        ("longer than five minutes", with(json!({ "exp": now + 301 }))),
        ("far in the future", with(json!({ "exp": now + 86_400_000 }))),
        ("expired", with(json!({ "exp": now }))),
        ("no exp", with(json!({ "exp": null }))),
        ("exp is a string", with(json!({ "exp": (now + 60).to_string() }))),
        ("not yet valid", with(json!({ "nbf": now + 31 }))),
        ("issued in the future", with(json!({ "iat": now + 31 }))),
        ("no jti", with(json!({ "jti": null }))),
        ("an empty jti", with(json!({ "jti": "" }))),
        ("a long jti", with(json!({ "jti": "j".repeat(256) }))),
        ("jti is a number", with(json!({ "jti": 7 }))),
        ("another key", asserting(&harness, other_key.sign(&harness.assertion_claims()))),
        ("another key of its name", asserting(&harness, other_key.sign_with(&named, &harness.assertion_claims()))),
        ("no token", asserting(&harness, "x".to_owned())),
        ("a token of a user", asserting(&harness, harness.user_token())),
        ("a token of ours", asserting(&harness, harness.first_hop().await)),
    ];
    let cases = cases.into_iter().map(|(label, request)| (label, request, ErrorKind::Client));
    harness.assert_each_refused_unrecorded(|| with(json!({})), cases.collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn rfc_7523_the_typ_of_an_assertion_is_its_own() {
    let harness = Harness::start().await;
    let with = |typ: &str| {
        let mut header = harness.reporter.header();
        header["typ"] = json!(typ);
        asserting(&harness, harness.reporter.sign_with(&header, &harness.assertion_claims()))
    };
    for typ in ["JWT", "jwt", "client-authentication+jwt", "application/client-authentication+jwt"] {
        assert_eq!(with(typ).send().await.status, 200, "{typ}");
    }
    for typ in ["at+jwt", "dpop+jwt", "logout+jwt", "oauth-authz-req+jwt", "", "secevent+jwt"] {
        harness.assert_refused_unrecorded(typ, with(typ), ErrorKind::Client).await;
    }
}

#[tokio::test]
async fn an_assertion_and_its_type_belong_together() {
    let harness = Harness::start().await;
    let request =
        || harness.exchange_by("reporter", &harness.user_token(), "inventory").authenticated(Credentials::None);
    let assertion = || harness.assertion_with(&json!({}));
    let other = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    for (label, request, row) in [
        ("without its type", request().set("client_assertion", assertion()), ErrorKind::Request),
        ("the type alone", request().set("client_assertion_type", JWT_BEARER_ASSERTION), ErrorKind::Request),
        (
            "another type",
            request().set("client_assertion", assertion()).set("client_assertion_type", other),
            ErrorKind::Client,
        ),
        ("another type alone", request().set("client_assertion_type", other), ErrorKind::Client),
    ] {
        harness.assert_refused_unrecorded(label, request, row).await;
    }
}

#[tokio::test]
async fn an_assertion_counts_once() {
    let harness = Harness::start().await;
    let assertion = harness.assertion_with(&json!({}));
    asserting(&harness, assertion.clone()).send().await.token();
    let again = asserting(&harness, assertion.clone());
    harness.assert_refused("again", again, ErrorKind::Client, "assertion_replayed").await;
    let introspection = harness.introspect("inventory", "x").authenticated(Credentials::Assertion(assertion.clone()));
    sts_tests::refuses("at another endpoint", &introspection.send().await, ErrorKind::Client);
    let same_jti = harness.assertion_with(&json!({ "jti": claim(&assertion, "jti"), "exp": harness.now() + 120 }));
    let request = asserting(&harness, same_jti);
    harness.assert_refused("another of the same jti", request, ErrorKind::Client, "assertion_replayed").await;
    harness.advance(59);
    let request = asserting(&harness, assertion);
    harness.assert_refused("until it dies", request, ErrorKind::Client, "assertion_replayed").await;
}

/// A claim of a token.
fn claim(token: &str, name: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()[name].clone()
}

#[tokio::test]
async fn an_assertion_of_a_refused_request_is_spent_too() {
    let harness = Harness::start().await;
    let assertion = harness.assertion_with(&json!({}));
    let request = asserting(&harness, assertion.clone()).set("audience", "shelf");
    harness.assert_refused("refused", request, ErrorKind::Target, "no_delegation").await;
    let request = asserting(&harness, assertion);
    harness.assert_refused("again", request, ErrorKind::Client, "assertion_replayed").await;
    let at_introspection = harness.assertion_with(&json!({}));
    let introspection =
        || harness.introspect("inventory", "x").authenticated(Credentials::Assertion(at_introspection.clone()));
    assert_eq!(introspection().send().await.status, 200);
    sts_tests::refuses("introspected", &introspection().send().await, ErrorKind::Client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_raced_by_fifty_requests_counts_once() {
    let harness = Harness::start().await;
    let replica = harness.replica().await;
    let assertion = harness.assertion_with(&json!({}));
    let before = harness.token_count().await;
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..50 {
        let request = asserting(&harness, assertion.clone());
        requests.spawn(if number % 2 == 0 { request.send() } else { request.at(&replica.wire).send() });
    }
    let answers = requests.join_all().await;
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(401)), (1, 49));
    assert_eq!(harness.token_count().await, before + 1);
}

#[tokio::test]
async fn an_assertion_used_here_is_spent_on_every_server() {
    let harness = Harness::start().await;
    let replica = harness.replica().await;
    let assertion = harness.assertion_with(&json!({}));
    asserting(&harness, assertion.clone()).send().await.token();
    let there = asserting(&harness, assertion).at(&replica.wire);
    harness.assert_refused("there", there, ErrorKind::Client, "assertion_replayed").await;
}

#[tokio::test]
async fn the_jti_of_two_agents_are_two() {
    let key = TestKey::new(Algorithm::EdDsa);
    let jwks = toml::Value::try_from(json!({ "keys": [key.jwk()] })).unwrap().to_string();
    let setup = Setup::default().registry(move |registry| {
        registry.add(&format!("[[agents]]\nid = 'second'\naccepts = ['web-app']\nauth = {{ jwks = {jwks} }}\n"));
        registry.add("[[delegations]]\nactor = 'second'\ntarget = 'inventory'\nscopes = ['stock:read']\n");
    });
    let harness = setup.start().await;
    let first = harness.assertion_with(&json!({ "jti": "one" }));
    let mut claims = harness.assertion_claims();
    for (name, value) in [("iss", "second"), ("sub", "second"), ("jti", "one")] {
        claims[name] = json!(value);
    }
    asserting(&harness, first).send().await.token();
    asserting(&harness, key.sign(&claims)).send().await.token();
}

#[tokio::test]
async fn a_workload_token_may_stand_in_for_an_assertion_and_follows_its_own_rule() {
    let harness = Harness::start().await;
    let now = harness.now();
    let with = |changes: Value| asserting(&harness, harness.workload_token_with(&changes));
    let token = harness.workload_token_with(&json!({}));
    for _ in 0..2 {
        asserting(&harness, token.clone()).send().await.token();
    }
    let cases = [
        ("addressed to another audience", with(json!({ "aud": "kubernetes" }))),
        ("of no workload", with(json!({ "sub": "system:serviceaccount:shop:nobody" }))),
        ("expired", with(json!({ "exp": now }))),
        ("has an act claim", with(json!({ "act": { "sub": "x" } }))),
    ];
    let cases = cases.map(|(label, request)| (label, request, ErrorKind::Client));
    harness.assert_each_refused_unrecorded(|| with(json!({})), cases).await;
    let both = with(json!({})).set("actor_token", harness.workload_token_with(&json!({}))).set("actor_token_type", JWT);
    both.send().await.token();
}

#[tokio::test]
async fn an_agents_keys_may_be_at_a_url() {
    let setup = Setup::default().registry_with(|registry, names| {
        let uri = names.cluster.jwks_uri();
        registry.add(&format!("[[agents]]\nid = 'remote'\naccepts = ['web-app']\nauth = {{ jwks_uri = '{uri}' }}\n"));
        registry.add("[[delegations]]\nactor = 'remote'\ntarget = 'inventory'\nscopes = ['stock:read']\n");
    });
    let harness = setup.start().await;
    let mut claims = harness.assertion_claims();
    claims["iss"] = json!("remote");
    claims["sub"] = json!("remote");
    asserting(&harness, harness.cluster.sign(&claims)).send().await.token();
    let request = asserting(&harness, harness.reporter.sign(&claims));
    harness.assert_refused_unrecorded("another key", request, ErrorKind::Client).await;
}

#[tokio::test]
async fn a_flood_of_failures_slows_its_source_down_and_no_other() {
    let setup = Setup::default().option("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "3");
    let harness = setup.option("LISTEN__TRUSTED_PROXIES", "127.0.0.1").start().await;
    let elsewhere = |request: FormRequest| request.header("x-forwarded-for", "203.0.113.9");
    let failing = || harness.exchange().authenticated(wrong("coordinator"));
    harness.exchange().send().await.token();
    for _ in 0..3 {
        sts_tests::refuses("failed", &failing().send().await, ErrorKind::Client);
    }
    let answer = failing().send().await;
    sts_tests::refuses("one too many", &answer, ErrorKind::TooMany);
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let nobody = harness.exchange().authenticated(Credentials::None);
    sts_tests::refuses("from the same source", &nobody.send().await, ErrorKind::TooMany);
    let introspection = harness.introspect("inventory", "x").authenticated(wrong("inventory"));
    sts_tests::refuses("at another endpoint", &introspection.send().await, ErrorKind::TooMany);
    elsewhere(harness.exchange()).send().await.token();
    elsewhere(harness.client_credentials()).send().await.token();
    // What policy refuses is no failed attempt.
    for _ in 0..5 {
        let refused = elsewhere(harness.exchange()).set("audience", "x");
        harness.assert_refused("refused", refused, ErrorKind::Target, "target_unknown").await;
    }
    elsewhere(harness.exchange()).send().await.token();
}

/// A header with reserved characters means two secrets, each of which is compared with each of an agent's hashes.
#[tokio::test]
async fn a_failed_secret_counts_once_for_each_computation_that_it_costs() {
    let hash = |secret: &[u8]| Argon2::default().hash_password(secret).unwrap().to_string();
    let two = format!("client_secret_hash = ['{}', '{}']", hash(b"the new one"), hash(b"the former one"));
    for (auth, secret, failures) in [
        (None, "wrong", 4),
        (None, "wrong+secret", 2),
        (None, "wrong&secret", 4),
        (Some(two.clone()), "wrong", 2),
        (Some(two), "wrong+secret", 1),
    ] {
        let setup = Setup::default().option("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "4").registry(move |registry| {
            if let Some(auth) = auth {
                registry.add(&format!("[[agents]]\nid = 'two'\nauth = {{ {auth} }}\n"));
            }
        });
        let harness = setup.start().await;
        let credentials = STANDARD.encode(format!("auditor:{secret}"));
        let failing = || {
            let request = harness.exchange().authenticated(Credentials::None);
            request.header("authorization", format!("Basic {credentials}"))
        };
        for _ in 0..failures {
            sts_tests::refuses(secret, &failing().send().await, ErrorKind::Client);
        }
        sts_tests::refuses("one too many", &failing().send().await, ErrorKind::TooMany);
    }
}

#[tokio::test]
async fn malformed_requests_are_no_failed_attempts() {
    let harness = Setup::default().option("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "2").start().await;
    for _ in 0..5 {
        let mismatch = harness.exchange().set("client_id", "inventory");
        harness.assert_refused_unrecorded("a mismatch", mismatch, ErrorKind::Request).await;
    }
    let failing = || harness.exchange().authenticated(wrong("coordinator"));
    harness.assert_refused_unrecorded("the first failure", failing(), ErrorKind::Client).await;
}
