//! Tokens that nobody should believe, in every slot that takes a token (docs/threats.md, JWT parsing).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_tests::{Credentials, FormRequest, Harness, TestIssuer, TestKey, base64url};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Mutations of a token that `key` signs over `claims`; none may be believed anywhere. `attacker` must never be asked for keys.
pub(crate) fn mutations(key: &TestKey, claims: &Value, attacker: &TestIssuer) -> Vec<(String, String)> {
    let mut tokens: Vec<(String, String)> = Vec::new();
    let mut add = |label: &str, token: String| tokens.push((label.to_owned(), token));
    let honest = key.sign(claims);
    let segments: Vec<&str> = honest.split('.').collect();
    let [header, payload, signature] = segments[..] else { panic!("three segments") };
    let with = |changes: Value| {
        let mut header = key.header();
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        key.sign_with(&header, claims)
    };

    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "ES256K", "ES512", "es256", "RSA-OAEP"] {
        let header = json!({ "alg": alg, "kid": key.kid() });
        let input = format!("{}.{payload}", base64url(header.to_string()));
        add(&format!("alg {alg:?} without signature"), format!("{input}."));
        add(&format!("alg {alg:?} with a signature"), key.sign_input(&input));
    }
    for alg in ["HS256", "HS384", "HS512"] {
        let header = json!({ "alg": alg, "kid": key.kid() });
        let input = format!("{}.{payload}", base64url(header.to_string()));
        let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key.public_bytes());
        let mac = aws_lc_rs::hmac::sign(&secret, input.as_bytes());
        add(&format!("{alg} with the public key"), format!("{input}.{}", base64url(mac)));
    }
    for alg in ["RS256", "PS256", "EdDSA", "ES384"] {
        add(&format!("{alg}, which is not the key's"), with(json!({ "alg": alg })));
    }
    add("no alg", key.sign_bytes(json!({ "kid": key.kid() }).to_string(), claims.to_string()));
    for alg in [json!(null), json!(["ES256"]), json!(256)] {
        add(&format!("alg {alg}"), with(json!({ "alg": alg })));
    }
    for kid in [
        json!("../../../../dev/null"),
        json!("' OR 1=1 --"),
        json!("x".repeat(257)),
        json!("k\u{0}"),
        json!(""),
        json!(7),
        json!(null),
        json!([key.kid()]),
        json!("unknown"),
    ] {
        let label: String = format!("kid {kid}").chars().take(40).collect();
        add(&label, with(json!({ "kid": kid })));
    }
    for crit in [json!(["x"]), json!([]), json!(["exp"]), json!(["b64"]), json!("x"), json!(null)] {
        add(&format!("crit {crit}"), with(json!({ "crit": crit, "x": 1 })));
    }
    add("b64 false", with(json!({ "b64": false, "crit": ["b64"] })));
    add("b64 false without crit", with(json!({ "b64": false })));
    for typ in [json!(1), json!(null), json!(["JWT"])] {
        add(&format!("typ {typ}"), with(json!({ "typ": typ })));
    }
    add("cty of a nested token", key.sign_bytes(key.header().to_string(), honest.clone()));

    let forger = TestKey::new(sts_jose::Algorithm::Es256);
    let forged = |changes: Value| {
        let mut header = forger.header();
        header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        forger.sign_with(&header, claims)
    };
    add("another key", forged(json!({})));
    add("another key of its name", forged(json!({ "kid": key.kid() })));
    add("another key, in the header", forged(json!({ "jwk": forger.jwk(), "kid": key.kid() })));
    for name in ["jku", "x5u", "iss"] {
        add(&format!("another key, at {name}"), forged(json!({ name: attacker.jwks_uri(), "kid": key.kid() })));
        add(&format!("an unknown key, at {name}"), forged(json!({ name: attacker.jwks_uri() })));
    }
    add(
        "another key, with a certificate",
        forged(json!({ "x5c": [STANDARD.encode(forger.public_bytes())], "kid": key.kid() })),
    );

    add("padding", format!("{header}.{payload}.{signature}=="));
    add("padding in the payload", key.sign_input(&format!("{header}.{payload}=")));
    add("the other alphabet", key.sign_input(&format!("{header}.{payload}+/")));
    add("spare bits", spare_bits(&honest));
    add("a line break", honest.replacen('.', ".\n", 1));
    add("a space", honest.replacen('.', " .", 1));
    add("four segments", format!("{honest}.{signature}"));
    add("five segments", format!("{honest}.{signature}.{signature}"));
    add("two segments", format!("{header}.{payload}"));
    add("no signature", format!("{header}.{payload}."));
    add("no payload", key.sign_input(&format!("{header}.")));
    add("no header", key.sign_input(&format!(".{payload}")));
    add("dots", "...".to_owned());
    add("a truncated signature", honest[..honest.len() - 4].to_owned());
    add("the signature of another", format!("{header}.{payload}.{}", forger.sign(claims).rsplit('.').next().unwrap()));
    add("a signature of zeros", format!("{header}.{payload}.{}", base64url([0_u8; 64])));
    let json_form = json!({ "payload": payload, "signatures": [{ "protected": header, "signature": signature }] });
    add("JSON serialisation", json_form.to_string());
    add("flattened", json!({ "payload": payload, "protected": header, "signature": signature }).to_string());

    let text = claims.to_string();
    let body = &text[1..];
    let payload_of = |payload: Vec<u8>| key.sign_bytes(key.header().to_string(), payload);
    let duplicated = |member: &str| payload_of(format!("{{{member},{body}").into_bytes());
    add("sub twice", duplicated(r#""sub":"mallory""#));
    add("aud twice", duplicated(r#""aud":"x""#));
    add("exp twice", duplicated(r#""exp":1"#));
    add("a member twice, escaped", duplicated("\"s\\u0075b\":\"mallory\""));
    add("a member twice, deep inside", duplicated(r#""x":{"y":[{"z":1,"z":2}]}"#));
    let header_text = key.header().to_string();
    let header_twice = format!(r#"{{"alg":"none",{}"#, &header_text[1..]);
    add("alg twice", key.sign_bytes(header_twice, &text));
    add("a lone surrogate", duplicated(r#""x":"\ud800""#));
    add("not UTF-8", payload_of([b"{\"x\":\"\xff\xfe\",".as_slice(), body.as_bytes()].concat()));
    add("a byte order mark", payload_of([b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat()));
    add("text after it", payload_of(format!("{text}x").into_bytes()));
    add("another object after it", payload_of(format!("{text}{text}").into_bytes()));
    add("an array", payload_of(format!("[{text}]").into_bytes()));
    add("a string", payload_of(b"\"claims\"".to_vec()));
    add("null", payload_of(b"null".to_vec()));
    add("nothing", payload_of(Vec::new()));
    add("NaN", duplicated(r#""x":NaN"#));
    add("deep nesting", duplicated(&format!(r#""x":{}{}"#, "[".repeat(2000), "]".repeat(2000))));
    add("17 KiB", duplicated(&format!(r#""x":"{}""#, "x".repeat(13 * 1024))));
    tokens
}

/// The token with another last character that decodes to the same bytes.
fn spare_bits(token: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = token.chars().last().unwrap();
    let other = ALPHABET.chars().nth(ALPHABET.find(last).unwrap() + 1).unwrap();
    format!("{}{other}", &token[..token.len() - 1])
}

/// The request is refused for this token: it is malformed, or no key of its issuer has signed it.
async fn assert_refused_as(harness: &Harness, token: &str, label: &str, request: FormRequest) {
    let correlation_id = request.correlation_id();
    let before = harness.token_count().await;
    let answer = request.send().await;
    sts_tests::refuses(label, &answer, ErrorKind::Token);
    assert_eq!(harness.token_count().await, before, "{label}");
    let events = harness.events(&correlation_id).await;
    let reason = events[0].reason.clone().unwrap();
    assert_eq!(events.len(), 1, "{label}");
    let reasons = ["malformed", "signature", "key_unknown", "algorithm"];
    assert!(reasons.iter().any(|kind| reason == format!("{token}_{kind}")), "{label}: {reason}");
}

#[tokio::test]
async fn as_subject_token() {
    let harness = Harness::start().await;
    let attacker = TestIssuer::start().await;
    let request = |token: String| harness.exchange().set("subject_token", token);
    harness.exchange().send().await.token();
    for (label, token) in mutations(harness.idp.key(), &harness.user_claims(), &attacker) {
        assert_refused_as(&harness, "subject", &label, request(token)).await;
    }
    harness.exchange().send().await.token();
    assert_eq!(attacker.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn as_actor_token_of_an_authenticated_agent() {
    let harness = Harness::start().await;
    let attacker = TestIssuer::start().await;
    let exchange = || {
        let workload = Credentials::Assertion(harness.workload_token_with(&json!({})));
        harness.exchange_by("reporter", &harness.user_token(), "inventory").authenticated(workload)
    };
    let request = |token: String| exchange().set("actor_token", token).set("actor_token_type", JWT);
    let twin = || request(harness.workload_token_with(&json!({})));
    twin().send().await.token();
    for (label, token) in mutations(harness.cluster.key(), &harness.workload_claims(), &attacker) {
        assert_refused_as(&harness, "workload", &label, request(token)).await;
    }
    twin().send().await.token();
    assert_eq!(attacker.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn as_actor_token_that_is_the_credential() {
    let harness = Harness::start().await;
    let attacker = TestIssuer::start().await;
    let request =
        |token: String| harness.exchange_by("runner", &harness.user_token(), "inventory").set("actor_token", token);
    let cases = mutations(harness.cluster.key(), &harness.workload_claims(), &attacker).into_iter();
    let cases = cases.map(|(label, token)| (label, request(token), ErrorKind::Token));
    let twin = || request(harness.workload_token_with(&json!({})));
    harness.assert_each_refused_unrecorded(twin, cases.collect::<Vec<_>>()).await;
    assert_eq!(attacker.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn as_client_assertion() {
    let harness = Harness::start().await;
    let attacker = TestIssuer::start().await;
    let request = |token: String| -> FormRequest {
        let exchange = harness.exchange_by("reporter", &harness.user_token(), "inventory");
        exchange.authenticated(Credentials::Assertion(token))
    };
    let cases = mutations(&harness.reporter, &harness.assertion_claims(), &attacker).into_iter();
    let cases = cases.map(|(label, token)| (label, request(token), ErrorKind::Client));
    let twin = || request(harness.assertion_with(&json!({})));
    harness.assert_each_refused_unrecorded(twin, cases.collect::<Vec<_>>()).await;
    assert_eq!(attacker.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_header_says_about_keys_is_ignored_and_nothing_fetched() {
    let harness = Harness::start().await;
    let attacker = TestIssuer::start().await;
    let mut header = harness.idp.key().header();
    for name in ["jku", "x5u"] {
        header[name] = json!(attacker.jwks_uri());
    }
    header["jwk"] = attacker.key().jwk();
    header["x5c"] = json!(["AAAA"]);
    let token = harness.idp.key().sign_with(&header, &harness.user_claims());
    harness.exchange().set("subject_token", token).send().await.token();
    assert_eq!(attacker.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn as_token_to_introspect_or_revoke() {
    let harness = Harness::start().await;
    let attacker = TestIssuer::start().await;
    let claims = harness.exchange().send().await.claims();
    for (label, token) in mutations(harness.idp.key(), &claims, &attacker) {
        let answer = harness.introspect("inventory", &token).send().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"active":false}"#), "{label}");
        let answer = harness.revoke("coordinator", &token).send().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{label}");
    }
    assert_eq!(attacker.paths(), Vec::<String>::new());
}
