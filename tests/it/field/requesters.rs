//! Requesters as real clients are: how they authenticate, and what they send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sts_jose::Algorithm;
use sts_protocol::parameter::JWT_BEARER_ASSERTION;
use sts_server::error_kind::ErrorKind;
use sts_tests::{Credentials, FormRequest, Harness, Setup, TestKey};

/// The SHA-256 of a secret, as the registry holds it.
fn sha256(secret: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    sts_jose::hex(digest.as_ref())
}

/// The standard registry, and an agent `plus` with these credentials, which may do what `reporter` may.
fn with_agent(auth: impl Into<String>) -> Setup {
    let auth = auth.into();
    Setup::default().registry(move |registry| {
        registry.add(&format!("[[agents]]\nid = 'plus'\naccepts = ['web-app']\n[agents.auth]\n{auth}\n"));
        registry.add("[[delegations]]\nactor = 'plus'\ntarget = 'inventory'\nscopes = ['stock:read']\n");
    })
}

/// An exchange by `plus`, with an `Authorization` header of exactly this text.
fn basic(harness: &Harness, credentials: &str) -> FormRequest {
    let request = harness.exchange_by("reporter", &harness.user_token(), "inventory");
    request.authenticated(Credentials::None).header("authorization", format!("Basic {}", STANDARD.encode(credentials)))
}

async fn status(request: FormRequest) -> u16 {
    request.send().await.status
}

/// What clients send: curl, requests, httpx, google-auth and Authlib the text as it is, x/oauth2 and this project's client form-encoded.
#[tokio::test]
async fn a_secret_with_reserved_characters_authenticates_raw_and_form_encoded() {
    for secret in ["q+7/Zk3b+cD==", "a%2Bb", "100%", "a&b=c", "a b", "p:q"] {
        let harness = with_agent(format!("client_secret_sha256 = '{}'", sha256(secret))).start().await;
        harness.seen.remember(secret);
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for text in [secret, &encoded] {
            let answer = basic(&harness, &format!("plus:{text}")).send().await;
            assert_eq!(answer.status, 200, "{secret:?} as {text:?}: {}", answer.text());
        }
        let wrong = basic(&harness, &format!("plus:{secret}x"));
        harness.assert_refused_unrecorded(secret, wrong, ErrorKind::Client).await;
    }
}

#[tokio::test]
async fn an_argon2id_secret_with_reserved_characters_authenticates_raw_too() {
    let harness = Harness::start().await;
    let secret = harness.secret("auditor");
    assert!(secret.contains(['+', '&', '%']), "the standard secret has reserved characters");
    for _ in 0..2 {
        let answer = basic(&harness, &format!("auditor:{secret}")).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    harness.assert_refused_unrecorded("wrong", basic(&harness, &format!("auditor:{secret}+")), ErrorKind::Client).await;
}

#[tokio::test]
async fn two_secrets_authenticate_side_by_side_and_no_third() {
    let hashes = format!("client_secret_sha256 = ['{}', '{}']", sha256("the new one"), sha256("the former one"));
    let harness = with_agent(hashes).start().await;
    for (secret, expected) in [("the new one", 200), ("the former one", 200), ("another", 401), ("", 401)] {
        assert_eq!(status(basic(&harness, &format!("plus:{secret}"))).await, expected, "{secret}");
    }
}

/// An assertion of `plus`, signed with its key.
fn assertion(harness: &Harness, key: &TestKey, claims: &[(&str, serde_json::Value)]) -> FormRequest {
    let mut assertion = harness.assertion_claims();
    assertion["iss"] = json!("plus");
    assertion["sub"] = json!("plus");
    for (name, value) in claims {
        assertion[*name] = value.clone();
    }
    let request = harness.exchange_by("reporter", &harness.user_token(), "inventory");
    request.authenticated(Credentials::Assertion(key.sign(&assertion)))
}

fn jwks(key: &TestKey) -> String {
    toml::Value::try_from(json!({ "keys": [key.jwk()] })).unwrap().to_string()
}

/// Spring Security and Authlib address assertions to the token endpoint, and Authlib lets them live for an hour.
#[tokio::test]
async fn an_entry_may_allow_the_assertions_of_a_library_and_nothing_beyond() {
    let key = TestKey::new(Algorithm::Es256);
    let options = "assertion_audience = 'issuer_or_token_endpoint'\nmax_assertion_lifetime = '1h'";
    let harness = with_agent(format!("jwks = {}\n{options}", jwks(&key))).start().await;
    let (iss, now) = (harness.issuer().to_owned(), harness.now());
    let endpoint = format!("{iss}/oauth2/token");
    let hour = json!(now + 3600);
    let audiences = [json!(iss), json!(endpoint), json!([endpoint]), json!([iss, endpoint]), json!([endpoint, iss])];
    for audience in audiences {
        let answer = assertion(&harness, &key, &[("aud", audience.clone()), ("exp", hour.clone())]).send().await;
        assert_eq!(answer.status, 200, "{audience}: {}", answer.text());
    }
    for (label, claims) in [
        ("beyond an hour", vec![("exp", json!(now + 3601))]),
        ("another audience beside", vec![("aud", json!([iss, "https://other.example"]))]),
        ("another audience", vec![("aud", json!("https://other.example"))]),
        ("three", vec![("aud", json!([iss, endpoint, iss]))]),
        ("one of them twice", vec![("aud", json!([endpoint, endpoint]))]),
        ("none", vec![("aud", json!([]))]),
        ("the introspection endpoint", vec![("aud", json!(format!("{iss}/oauth2/introspect")))]),
    ] {
        harness.assert_refused_unrecorded(label, assertion(&harness, &key, &claims), ErrorKind::Client).await;
    }
}

#[tokio::test]
async fn a_long_assertion_counts_once_for_all_its_life() {
    let key = TestKey::new(Algorithm::Es256);
    let harness = with_agent(format!("jwks = {}\nmax_assertion_lifetime = '1h'", jwks(&key))).start().await;
    let claims = [("exp", json!(harness.now() + 3600)), ("jti", json!("one"))];
    let again = || assertion(&harness, &key, &claims);
    let first = again();
    first.send().await.token();
    harness.advance(3599);
    harness.assert_refused("again, an hour later", again(), ErrorKind::Client, "assertion_replayed").await;
}

/// A file ends with a newline, and `curl --data-urlencode subject_token@user.jwt` sends it.
#[tokio::test]
async fn white_space_around_tokens_and_scopes_is_dropped() {
    let harness = Harness::start().await;
    let user = harness.user_token();
    for token in [format!("{user}\n"), format!("\r\n {user}\t")] {
        harness.exchange().set("subject_token", token).send().await.token();
    }
    let padded = format!(" {}\n", harness.assertion_with(&json!({})));
    let request = harness.exchange_by("reporter", &user, "inventory").authenticated(Credentials::Assertion(padded));
    request.send().await.token();
    let runner = harness.exchange_by("runner", &user, "inventory");
    let workload = harness.workload_token_with(&json!({}));
    runner.set("actor_token", format!("{workload}\n")).send().await.token();
    let token = harness.first_hop().await;
    let active = harness.introspect("inventory", &format!("{token}\n")).send().await;
    assert_eq!(active.json["active"], true);
    for scope in [" stock:read", "stock:read ", "stock:read  stock:write", "stock:read\n"] {
        let answer = harness.exchange().set("scope", scope).send().await;
        assert_eq!(answer.status, 200, "{scope:?}: {}", answer.text());
    }
    let inside = user.replacen('.', ".\n", 1);
    let request = harness.exchange().set("subject_token", inside);
    harness.assert_refused("white space within", request, ErrorKind::Token, "subject_malformed").await;
}

#[tokio::test]
async fn an_empty_header_counts_as_absent() {
    let harness = Harness::start().await;
    for name in ["x-tenant-id", "content-encoding", "x-correlation-id", "traceparent"] {
        for value in ["", " "] {
            let answer = harness.exchange().header(name, value).send().await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        }
    }
    let post = Credentials::Post("coordinator".to_owned(), harness.secret("coordinator"));
    harness.exchange().authenticated(post).header("authorization", "").send().await.token();
    for proof in ["", "x"] {
        let bound = harness.exchange().header("dpop", proof);
        harness.assert_refused("a proof, even an empty one", bound, ErrorKind::Proof, "dpop_proof_malformed").await;
    }
}

/// `UrlEncodedFormEntity` of Apache `HttpClient` says ISO-8859-1 unless told otherwise.
#[tokio::test]
async fn a_form_of_ascii_is_read_whatever_superset_of_ascii_it_names() {
    let harness = Harness::start().await;
    let with = |charset: &str| {
        harness.exchange().content_type(Some(&format!("application/x-www-form-urlencoded; charset={charset}")))
    };
    for charset in ["ISO-8859-1", "us-ascii", "windows-1252", "\"latin1\"", "utf-8;"] {
        let answer = with(charset).send().await;
        assert_eq!(answer.status, 200, "{charset}: {}", answer.text());
    }
    let umlaut = |charset: &str, bytes: &[u8]| {
        let body = [with(charset).encoded(), b"&x=".to_vec(), bytes.to_vec()].concat();
        with(charset).body(body)
    };
    assert_eq!(status(umlaut("utf-8", b"%C3%A4")).await, 200);
    for (label, request) in [
        ("encoded", umlaut("iso-8859-1", b"%C3%A4")),
        ("raw", umlaut("iso-8859-1", "\u{e4}".as_bytes())),
        ("utf-16", with("utf-16")),
        ("utf-7", with("utf-7")),
        ("unknown", with("nothing")),
    ] {
        harness.assert_refused_unrecorded(label, request, ErrorKind::Request).await;
    }
}

/// Applications in browsers read the public documents, and cannot reach what decides.
#[tokio::test]
async fn public_documents_answer_other_origins_and_the_post_endpoints_never_do() {
    let harness = Harness::start().await;
    let origin = "https://inspector.example";
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/oauth2/jwks"] {
        let url = format!("{}{path}", harness.issuer());
        let answer = reqwest::Client::new().get(&url).header("origin", origin).send().await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "*", "{path}");
        let preflight = reqwest::Client::new().request(reqwest::Method::OPTIONS, &url).header("origin", origin);
        let preflight = preflight.header("access-control-request-method", "GET");
        let preflight =
            preflight.header("access-control-request-headers", "mcp-protocol-version").send().await.unwrap();
        assert_eq!(preflight.status(), 200, "{path}");
        assert_eq!(preflight.headers()["access-control-allow-methods"], "GET", "{path}");
    }
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke", "/oauth2/authorize", "/healthz"] {
        for method in ["POST", "OPTIONS", "GET"] {
            let request =
                reqwest::Client::new().request(method.parse().unwrap(), format!("{}{path}", harness.issuer()));
            let request = request.header("origin", origin).header("access-control-request-method", "POST");
            let answer = request.send().await.unwrap();
            let allows = answer.headers().keys().any(|name| name.as_str().starts_with("access-control-"));
            assert!(!allows, "{method} {path}: {:?}", answer.headers());
        }
    }
}

#[tokio::test]
async fn the_authorization_endpoint_refuses_and_redirects_nowhere() {
    let harness = Harness::start().await;
    let query = "?response_type=code&client_id=coordinator&redirect_uri=https%3A%2F%2Fevil.example%2F&state=x";
    let answer = harness.get(&format!("/oauth2/authorize{query}")).await;
    assert_eq!((answer.status, answer.error()), (400, "unsupported_response_type"));
    assert!(!answer.headers.contains_key("location") && !answer.text().contains("evil"), "{}", answer.text());
}

#[tokio::test]
async fn every_refused_request_leaves_one_line_that_says_why() {
    let key = TestKey::new(Algorithm::Es256);
    let harness = with_agent(format!("jwks = {}", jwks(&key))).start().await;
    let (iss, now, stranger) = (harness.issuer().to_owned(), harness.now(), TestKey::new(Algorithm::Es256));
    let wrong =
        |id: &str, secret: &str| harness.exchange().authenticated(Credentials::Basic(id.to_owned(), secret.to_owned()));
    let plus = |claims: &[(&str, serde_json::Value)]| assertion(&harness, &key, claims);
    let workload = |changes: serde_json::Value| {
        let token = harness.workload_token_with(&changes);
        harness.exchange().authenticated(Credentials::Assertion(token))
    };
    let endpoint = json!(format!("{iss}/oauth2/token"));
    let other_kind = harness.exchange().authenticated(Credentials::None).set("client_assertion", "x");
    let cases = [
        (wrong("coordinator", "x y"), "secret_mismatch", "claimed_client_id=\"coordinator\""),
        (wrong("nobody", "x y"), "client_unknown", "claimed_client_id=\"nobody\""),
        (wrong("plus", "x y"), "secret_not_registered", "claimed_client_id=\"plus\""),
        (wrong("coordinator", ""), "secret_length", "coordinator"),
        (harness.exchange().authenticated(Credentials::None), "client_authentication_absent", "127.0.0.1"),
        (
            harness.exchange().header("authorization", "Bearer x").authenticated(Credentials::None),
            "authorization_malformed",
            "",
        ),
        (plus(&[("aud", endpoint)]), "assertion_audience", "/oauth2/token"),
        (plus(&[("exp", json!(now + 3600))]), "assertion_lifetime", "five minutes"),
        (plus(&[("exp", json!(now - 1))]), "assertion_expired", "iss plus"),
        (plus(&[("jti", json!(""))]), "assertion_jti", "jti"),
        (plus(&[("sub", json!("coordinator"))]), "assertion_issuer", "iss and sub"),
        (assertion(&harness, &stranger, &[]), "assertion_key_unknown", "alg ES256"),
        (workload(json!({ "aud": "kubernetes" })), "workload_audience", "kubernetes"),
        (
            workload(json!({ "iss": "https://kubernetes.default.svc" })),
            "workload_issuer_unknown",
            "iss https://kubernetes.default.svc,",
        ),
        (workload(json!({ "sub": "system:serviceaccount:shop:other" })), "workload_subject_unknown", ""),
        (other_kind.set("client_assertion_type", "urn:x"), "assertion_type", ""),
        (harness.exchange().set("client_id", "inventory"), "client_id_mismatch", ""),
        (harness.exchange().set("audience", "nobody"), "target_unknown", "coordinator"),
        (
            harness.exchange().set("subject_token", harness.user_token_with(&json!({ "aud": "other" }))),
            "subject_not_addressed",
            "aud other",
        ),
        (harness.exchange().content_type(Some("application/json")), "content_type", "Content-Type"),
        (harness.exchange().path("/oauth2/token?x=1"), "parameters_in_query", ""),
        (harness.exchange().method(http::Method::PUT), "method_not_post", ""),
    ];
    for (request, reason, detail) in cases {
        let correlation_id = request.correlation_id();
        let answer = request.send().await;
        assert!(answer.status >= 400, "{reason}: {}", answer.text());
        let line = harness.log_line(&correlation_id);
        assert!(line.contains("INFO") && line.contains("a request was refused"), "{line}");
        assert!(line.contains(&format!("reason=\"{reason}\"")) && line.contains(detail), "{reason}, {detail}: {line}");
    }
}

#[tokio::test]
async fn a_flood_of_refused_requests_leaves_a_bounded_number_of_lines() {
    let harness = Setup::default().option("LISTEN__TRUSTED_PROXIES", "127.0.0.1").start().await;
    // The log is that of the process: a line of this test has the identifier of one of its requests.
    let lines = |sent: &[String]| -> Vec<String> {
        let log = harness.log();
        let refused = log.lines().filter(|line| line.contains("a request was refused"));
        let is_ours = |line: &&str| sent.iter().any(|id| line.contains(&format!("correlation_id=\"{id}\"")));
        refused.filter(is_ours).map(str::to_owned).collect()
    };
    // A source has its lines of a minute at once, and then a share each second. The requests are faster than that.
    let begun = sts_server::telemetry::Stopwatch::start();
    let (mut sent, mut count) = (Vec::new(), 0);
    while sent.len() == count {
        assert!(count < 1000, "every request leaves a line");
        let refused = harness.exchange().set("audience", "nobody");
        sent.push(refused.correlation_id());
        refused.send().await;
        count = lines(&sent).len();
    }
    let share = usize::try_from(begun.elapsed().as_secs()).expect("seconds") + 1;
    assert!((60..=60 + share).contains(&count), "{count}");
    let elsewhere = harness.exchange().set("audience", "nobody").header("x-forwarded-for", "203.0.113.9");
    sent.push(elsewhere.correlation_id());
    elsewhere.send().await;
    let written = lines(&sent);
    assert_eq!(written.len(), count + 1, "another source is not silenced");
    let left_out = written.iter().filter_map(|line| line.rsplit_once("left_out=")?.1.trim().parse::<usize>().ok());
    assert_eq!(left_out.sum::<usize>() + written.len(), sent.len(), "the others are counted: {written:?}");
}

#[tokio::test]
async fn the_event_of_a_refusal_says_what_the_token_claimed() {
    let harness = Harness::start().await;
    let long = "x".repeat(400);
    let token = harness.user_token_with(&json!({ "aud": ["other", long] }));
    let request = harness.exchange().set("subject_token", token);
    let correlation_id = request.correlation_id();
    harness.assert_refused("not addressed", request, ErrorKind::Token, "subject_not_addressed").await;
    let event = harness.events(&correlation_id).await.remove(0);
    assert_eq!(event.claimed_iss.as_deref(), Some(harness.idp.url()));
    let audience = event.claimed_aud.unwrap();
    assert!(audience.starts_with("[\"other\",\"xxx") && audience.chars().count() == 256, "{audience}");
    assert_eq!(
        (event.claimed_alg.as_deref(), event.claimed_kid.as_deref()),
        (Some("ES256"), Some(harness.idp.key().kid()))
    );
    // Also where the token is refused before its claims are read.
    let unsigned = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL290aGVyLmV4YW1wbGUifQ.eA";
    let request = harness.exchange().set("subject_token", unsigned);
    let correlation_id = request.correlation_id();
    harness.assert_refused("HS256", request, ErrorKind::Token, "subject_malformed").await;
    let event = harness.events(&correlation_id).await.remove(0);
    assert_eq!(
        (event.claimed_alg.as_deref(), event.claimed_iss.as_deref()),
        (Some("HS256"), Some("https://other.example"))
    );
    // At the endpoint of revocations too.
    let token = harness.first_hop().await;
    let request = harness.revoke("reporter", &token);
    let correlation_id = request.correlation_id();
    harness.assert_refused("of another agent", request, ErrorKind::Grant, "not_the_clients_token").await;
    let event = harness.events(&correlation_id).await.remove(0);
    assert_eq!((event.claimed_iss.as_deref(), event.claimed_typ.as_deref()), (Some(harness.issuer()), Some("at+jwt")));
    assert!(harness.log_line(&correlation_id).contains(&format!("iss {}", harness.issuer())));
    let request = harness.exchange();
    let correlation_id = request.correlation_id();
    request.send().await.token();
    assert_eq!(
        harness.events(&correlation_id).await.remove(0).claimed_iss,
        None,
        "a success says it in its own fields"
    );
}

#[tokio::test]
async fn a_replayed_assertion_is_recorded_at_the_endpoint_of_revocations_too() {
    let harness = Harness::start().await;
    let token = harness.exchange_by("reporter", &harness.user_token(), "inventory").send().await.token().to_owned();
    let assertion = harness.assertion_with(&json!({}));
    let revoke = || harness.revoke("reporter", &token).authenticated(Credentials::Assertion(assertion.clone()));
    assert_eq!(status(revoke()).await, 200);
    let again = revoke();
    let correlation_id = again.correlation_id();
    harness.assert_refused("again", again, ErrorKind::Client, "assertion_replayed").await;
    let event = harness.events(&correlation_id).await.remove(0);
    assert_eq!((event.client_id.as_deref(), event.claimed_iss.as_deref()), (Some("reporter"), Some("reporter")));
}

#[tokio::test]
async fn a_malformed_request_is_told_which_parameter() {
    let harness = Harness::start().await;
    let exchange = || harness.exchange();
    let body = |rest: &str| {
        let request = exchange();
        let body = [request.encoded(), rest.as_bytes().to_vec()].concat();
        request.body(body)
    };
    for (request, named) in [
        (exchange().without("grant_type"), "grant_type is missing"),
        (exchange().without("subject_token").without("subject_token_type"), "subject_token is missing"),
        (exchange().without("subject_token_type"), "subject_token and its type belong together"),
        (exchange().set("subject_token_type", "urn:x"), "subject_token_type is not served"),
        (exchange().set("requested_token_type", "urn:x"), "requested_token_type is not served"),
        (exchange().header("x-tenant-id", "a b"), "X-Tenant-ID"),
        (exchange().set("client_id", "inventory"), "client_id"),
        (exchange().set("client_assertion_type", JWT_BEARER_ASSERTION), "more than one method"),
        (body("&subject_token=x"), "subject_token is repeated"),
        (body("&scope=%zz"), "scope has a malformed percent-encoding"),
        (body("&hunter2=1&hunter2=2"), "a parameter is repeated"),
        (exchange().content_type(None), "Content-Type"),
        (exchange().path("/oauth2/token?a=b"), "URI"),
    ] {
        let answer = request.send().await;
        sts_tests::refuses(named, &answer, ErrorKind::Request);
        let text = answer.json["error_description"].as_str().unwrap_or_default();
        assert!(text.contains(named) && !text.contains("hunter2"), "{named}: {text}");
    }
}

/// Keycloak, Quarkus and SPIRE's own tools send a JWT-SVID under its own assertion type.
#[tokio::test]
async fn a_jwt_svid_authenticates_under_its_own_assertion_type_and_no_other_assertion_does() {
    const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
    let harness = Harness::start().await;
    let request = |assertion: String| {
        let request = harness.exchange_by("reporter", &harness.user_token(), "inventory");
        let request = request.authenticated(Credentials::None).set("client_assertion", assertion);
        request.set("client_assertion_type", JWT_SPIFFE)
    };
    let good = || request(harness.workload_token_with(&json!({})));
    let sent = good();
    let correlation_id = sent.correlation_id();
    sent.send().await.token();
    assert_eq!(harness.events(&correlation_id).await[0].auth_method.as_deref(), Some("spiffe_jwt"));
    let cases = [
        ("an assertion of an agent", request(harness.assertion_with(&json!({})))),
        ("of a user", request(harness.user_token())),
        ("addressed to another audience", request(harness.workload_token_with(&json!({ "aud": "other" })))),
        ("expired", request(harness.workload_token_with(&json!({ "exp": harness.now() })))),
        ("the type alone", good().without("client_assertion")),
    ];
    let cases = cases.map(|(label, request)| {
        let row = if label == "the type alone" { ErrorKind::Request } else { ErrorKind::Client };
        (label, request, row)
    });
    harness.assert_each_refused_unrecorded(good, cases).await;
}
