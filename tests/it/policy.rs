//! What a token may allow: target, scope, roles, lifetime.

use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_tests::{Answer, FormRequest, Harness, Setup, members};

#[tokio::test]
async fn target_any_name_of_one_agent_names_it() {
    let harness = Harness::start().await;
    let without = || harness.exchange().without("audience");
    let uri = "https://inventory.shop.example/";
    for (label, request) in [
        ("its id", without().set("audience", "inventory")),
        ("its audience", without().set("audience", "inventory-agent")),
        ("its URI", without().set("audience", uri)),
        ("its URI as resource", without().set("resource", uri)),
        (
            "several names of one agent",
            without().add("audience", "inventory").add("audience", uri).add("resource", uri),
        ),
        ("with an empty one", without().add("audience", "").add("audience", "inventory")),
    ] {
        let claims = request.send().await.claims();
        assert_eq!(claims["aud"], "inventory-agent", "{label}");
    }
}

#[tokio::test]
async fn target_whatever_is_wrong_with_it_is_one_answer() {
    let setup = Setup::default().entries(
        "[[agents]]\nid = 'gone'\ndisabled = true\n\n[[agents]]\nid = 'closed'\n\n\
         [[delegations]]\nactor = 'coordinator'\ntarget = 'gone'\nscopes = ['stock:read']\n\n\
         [[delegations]]\nactor = 'coordinator'\ntarget = 'closed'\nscopes = ['stock:read']\ndisabled = true\n",
    );
    let harness = setup.start().await;
    let without = || harness.exchange().without("audience");
    let audience = |audience: &str| harness.exchange().set("audience", audience);
    let resource = |resource: &str| harness.exchange().set("resource", resource);
    let cases = [
        ("missing, without default", without(), "target_missing"),
        ("empty", audience(""), "target_missing"),
        ("unknown", audience("nobody"), "target_unknown"),
        ("another case", audience("Inventory"), "target_unknown"),
        ("the URI without its slash", audience("https://inventory.shop.example"), "target_unknown"),
        ("two agents", audience("inventory").add("audience", "warehouse"), "target_several"),
        (
            "audience and resource of two",
            audience("warehouse").add("resource", "https://inventory.shop.example/"),
            "target_several",
        ),
        ("one known, one unknown", audience("inventory").add("audience", "nobody"), "target_unknown"),
        ("two in one value", audience("inventory warehouse"), "target_unknown"),
        ("a relative resource", resource("/stock"), "resource_malformed"),
        ("a resource with a fragment", resource("https://inventory.shop.example/#x"), "resource_malformed"),
        ("an unknown resource", resource("https://other.example/"), "target_unknown"),
        ("no delegation", audience("shelf"), "no_delegation"),
        ("itself", audience("coordinator"), "no_delegation"),
        ("disabled", audience("gone"), "target_disabled"),
        ("a delegation that is disabled", audience("closed"), "no_delegation"),
        ("this service", audience(harness.issuer()), "target_unknown"),
    ];
    let mut bodies = Vec::new();
    harness.exchange().send().await.token();
    for (label, request, reason) in cases {
        bodies.push(harness.assert_refused(label, request, ErrorKind::Target, reason).await.text());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn scope_a_request_that_asks_for_more_than_its_bounds_is_malformed() {
    let harness = Harness::start().await;
    let words = |word: &str, count: usize| vec![word; count].join(" ");
    for (label, scope) in [
        ("a long value", format!("stock:read {}", "x".repeat(257))),
        ("many values", words("stock:read", 101)),
        ("many bytes", words(&"x".repeat(255), 17)),
        ("one value of 60,000 characters", "x".repeat(60_000)),
        ("15,000 values", words("abc", 15_000)),
    ] {
        harness
            .assert_refused(label, harness.exchange().set("scope", scope), ErrorKind::Scope, "scope_malformed")
            .await;
    }
    let repeated = harness.exchange().set("scope", words("stock:read", 100)).send().await;
    assert_eq!(repeated.claims()["scope"], "stock:read");
}

#[tokio::test]
async fn target_a_delegation_may_be_for_the_users_of_some_issuers() {
    let setup = Setup::default().registry_with(|registry, names| {
        registry.delegation("coordinator", "inventory", &format!("issuers = ['{}']", names.cluster.url()));
    });
    let mut harness = setup.start().await;
    harness.assert_refused("of another issuer", harness.exchange(), ErrorKind::Target, "no_delegation").await;
    let idp = harness.idp.url().to_owned();
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", &format!("issuers = ['{idp}']"))).await;
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn target_the_issuer_of_a_user_stays_that_of_the_first_hop() {
    let setup = Setup::default().registry_with(|registry, names| {
        registry.delegation("inventory", "warehouse", &format!("issuers = ['{}']", names.idp.url()));
    });
    let mut harness = setup.start().await;
    let first = harness.first_hop().await;
    harness.exchange_by("inventory", &first, "warehouse").send().await.token();
    let cluster = harness.cluster.url().to_owned();
    harness
        .apply(|registry, _| registry.delegation("inventory", "warehouse", &format!("issuers = ['{cluster}']")))
        .await;
    let request = harness.exchange_by("inventory", &first, "warehouse");
    harness.assert_refused("of another issuer", request, ErrorKind::Target, "no_delegation").await;
}

#[tokio::test]
async fn the_first_step_that_fails_names_the_error() {
    let harness = Harness::start().await;
    let bad_token = || harness.exchange().set("subject_token", harness.user_token_with(&json!({ "exp": 1 })));
    harness
        .assert_refused(
            "target before subject",
            bad_token().set("audience", "nobody"),
            ErrorKind::Target,
            "target_unknown",
        )
        .await;
    harness
        .assert_refused(
            "scope's grammar before subject",
            bad_token().set("scope", "\""),
            ErrorKind::Scope,
            "scope_malformed",
        )
        .await;
    harness
        .assert_refused(
            "subject before delegation",
            bad_token().set("audience", "shelf"),
            ErrorKind::Token,
            "subject_expired",
        )
        .await;
    harness
        .assert_refused("subject before scope", bad_token().set("scope", "none"), ErrorKind::Token, "subject_expired")
        .await;
    let no_delegation = harness.exchange().set("audience", "shelf").set("scope", "none");
    harness.assert_refused("target before scope", no_delegation, ErrorKind::Target, "no_delegation").await;
}

fn scope_of(answer: &Answer) -> String {
    let scope = answer.json["scope"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer.claims()["scope"], json!(scope), "the answer says what the token does");
    scope
}

#[tokio::test]
async fn scope_what_is_asked_for_is_granted_and_without_asking_all_that_is_allowed() {
    let harness = Harness::start().await;
    for (asked, granted) in [
        ("", "stock:read stock:write"),
        ("stock:read", "stock:read"),
        ("stock:write stock:read", "stock:read stock:write"),
        ("stock:read stock:read", "stock:read"),
    ] {
        let answer = harness.exchange().set("scope", asked).send().await;
        assert_eq!(scope_of(&answer), granted, "{asked:?}");
    }
}

#[tokio::test]
async fn scope_beyond_what_is_allowed_or_malformed_is_refused() {
    let harness = Harness::start().await;
    let request = |scope: &str| harness.exchange().set("scope", scope);
    let cases = [
        ("stock:delete", "scope_beyond"),
        ("stock:read stock:delete", "scope_beyond"),
        ("Stock:read", "scope_beyond"),
        ("STOCK:READ", "scope_beyond"),
        ("stock", "scope_beyond"),
        ("stock:*", "scope_beyond"),
        ("bin:read", "scope_beyond"),
        ("stock:read,\"", "scope_malformed"),
        ("stock:\\read", "scope_malformed"),
        ("sto\u{e7}k", "scope_malformed"),
        (" ", "scope_malformed"),
    ];
    let cases = cases.map(|(scope, reason)| (scope, request(scope), ErrorKind::Scope, reason));
    harness.assert_each_refused(|| harness.exchange(), cases).await;
}

#[tokio::test]
async fn scope_spare_white_space_is_dropped() {
    let harness = Harness::start().await;
    for scope in
        [" stock:read stock:write", "stock:read stock:write ", "stock:read  stock:write", "stock:read	stock:write"]
    {
        let answer = harness.exchange().set("scope", scope).send().await;
        assert_eq!(scope_of(&answer), "stock:read stock:write", "{scope:?}");
    }
}

#[tokio::test]
async fn scope_a_derived_one_needs_one_of_those_that_it_is_derived_from() {
    let harness = Harness::start().await;
    let first = harness.exchange().set("scope", "stock:read").send().await;
    let second = || harness.exchange_by("inventory", first.token(), "warehouse");
    assert_eq!(scope_of(&second().send().await), "bin:read stock:read");
    assert_eq!(scope_of(&second().set("scope", "bin:read").send().await), "bin:read");
    let write_only = harness.exchange().set("scope", "stock:write").send().await;
    let without = || harness.exchange_by("inventory", write_only.token(), "warehouse");
    harness.assert_refused("not entitled", without(), ErrorKind::Scope, "scope_empty").await;
    harness.assert_refused("not entitled", without().set("scope", "bin:read"), ErrorKind::Scope, "scope_empty").await;
}

#[tokio::test]
async fn scope_of_an_outside_token_is_all_plain_scopes_and_what_they_entitle_to() {
    let setup = Setup::default().registry(|registry| {
        let scopes = "scopes = ['a', { scope = 'b', from = ['a'] }, { scope = 'c', from = ['b', 'z'] }]";
        registry.delegation("coordinator", "inventory", scopes);
    });
    let harness = setup.start().await;
    // c is derived from another derived one, and so from nothing that the token holds.
    assert_eq!(scope_of(&harness.exchange().send().await), "a b");
    harness.assert_refused("c", harness.exchange().set("scope", "c"), ErrorKind::Scope, "scope_beyond").await;
}

#[tokio::test]
async fn scope_narrowed_once_is_never_regained() {
    let setup = Setup::default().registry(|registry| {
        registry.delegation("inventory", "warehouse", "scopes = ['stock:read', 'stock:write']");
    });
    let harness = setup.start().await;
    let narrow = harness.exchange().set("scope", "stock:read").send().await;
    let request = || harness.exchange_by("inventory", narrow.token(), "warehouse");
    assert_eq!(scope_of(&request().send().await), "stock:read");
    for scope in ["stock:write", "stock:read stock:write"] {
        harness.assert_refused(scope, request().set("scope", scope), ErrorKind::Scope, "scope_beyond").await;
    }
}

#[tokio::test]
async fn roles_pass_only_as_far_as_the_delegation_names_them() {
    let setup = Setup::default().registry(|registry| {
        registry.delegation("coordinator", "inventory", "roles = ['viewer', 'editor', 'unused']");
        registry.delegation("inventory", "warehouse", "roles = ['editor', 'admin']");
    });
    let harness = setup.start().await;
    let token = harness.user_token_with(&json!({ "roles": ["admin", "viewer", "editor", "Viewer"] }));
    let first = harness.exchange_by("coordinator", &token, "inventory").send().await;
    assert_eq!(first.claims()["roles"], json!(["viewer", "editor"]));
    let second = harness.exchange_by("inventory", first.token(), "warehouse").send().await;
    assert_eq!(second.claims()["roles"], json!(["editor"]));
    let third = harness.exchange_by("warehouse", second.token(), "shelf").send().await;
    assert_eq!(third.claims().get("roles"), None, "by default none");
    for roles in [json!({ "viewer": true }), json!([1]), json!(7)] {
        let token = harness.user_token_with(&json!({ "roles": roles }));
        let claims = harness.exchange_by("coordinator", &token, "inventory").send().await.claims();
        assert_eq!(claims.get("roles"), None, "{roles}");
    }
}

async fn expires_in(request: FormRequest) -> i64 {
    let answer = request.send().await;
    let claims = answer.claims();
    let expires_in = answer.json["expires_in"].as_i64().expect("an integer");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), expires_in);
    expires_in
}

#[tokio::test]
async fn lifetime_is_the_shortest_of_target_delegation_service_and_subject() {
    let mut harness = Setup::default().option("LIMITS__MAX_TTL", "10m").start().await;
    assert_eq!(expires_in(harness.exchange()).await, 300, "the target's default");
    harness.apply(|registry, _| registry.agent("inventory", "token_ttl = '1h'")).await;
    assert_eq!(expires_in(harness.exchange()).await, 600, "the service's");
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", "max_ttl = '2m'")).await;
    assert_eq!(expires_in(harness.exchange()).await, 120, "the delegation's");
    let short = harness.user_token_with(&json!({ "exp": harness.now() + 45 }));
    assert_eq!(expires_in(harness.exchange().set("subject_token", short)).await, 45, "the subject token's");
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", "max_ttl = '1h'")).await;
    assert_eq!(expires_in(harness.client_credentials()).await, 600, "of a service account likewise");
}

#[tokio::test]
async fn lifetime_repetition_never_extends() {
    let harness = Harness::start().await;
    let first = harness.exchange().send().await;
    let dies = first.claims()["exp"].clone();
    for later in [0, 100, 150] {
        harness.advance(later);
        let again = harness.exchange_by("inventory", first.token(), "warehouse").send().await;
        assert_eq!(again.claims()["exp"], dies);
    }
}

#[tokio::test]
async fn a_target_may_have_its_tokens_signed_with_rs256_or_eddsa() {
    let mut harness = Harness::start().await;
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        harness.apply(|registry, _| registry.agent("inventory", &format!("signing_alg = '{algorithm}'"))).await;
        let answer = harness.exchange().send().await;
        assert_eq!(answer.token_header()["alg"], algorithm);
        let claims = harness.verify(answer.token()).await;
        assert_eq!(claims, answer.claims());
        // And such a token goes on.
        harness.exchange_by("inventory", answer.token(), "warehouse").send().await.token();
    }
}

#[tokio::test]
async fn rfc_9068_the_token_has_these_claims_and_no_others() {
    let harness = Harness::start().await;
    let answer = harness.exchange().send().await;
    let header = answer.token_header();
    assert_eq!(members(&header), ["alg", "kid", "typ"]);
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("ES256")));
    let mut claims = harness.verify(answer.token()).await;
    for name in ["jti", "txn"] {
        let value = claims[name].as_str().unwrap();
        assert_eq!(value.len(), 36, "{name}: {value}");
        claims[name] = json!("random");
    }
    let now = harness.now();
    assert_eq!(
        claims,
        json!({
            "iss": harness.issuer(),
            "sub": "alice",
            "aud": "inventory-agent",
            "client_id": "coordinator",
            "iat": now,
            "exp": now + 300,
            "jti": "random",
            "scope": "stock:read stock:write",
            "act": { "sub": "coordinator", "iss": harness.issuer() },
            "sub_id": { "format": "iss_sub", "iss": harness.idp.url(), "sub": "alice" },
            "tenant_id": "acme",
            "txn": "random",
        })
    );
}

#[tokio::test]
async fn txn_is_made_at_a_first_hop_and_copied_below_it() {
    let harness = Harness::start().await;
    let (one, other) = (harness.exchange().send().await, harness.exchange().send().await);
    assert_ne!(one.claims()["txn"], other.claims()["txn"]);
    assert_ne!(one.claims()["jti"], other.claims()["jti"]);
    let below = harness.exchange_by("inventory", one.token(), "warehouse").send().await;
    assert_eq!(below.claims()["txn"], one.claims()["txn"]);
    let from_outside = harness.user_token_with(&json!({ "txn": "theirs" }));
    let claims = harness.exchange_by("coordinator", &from_outside, "inventory").send().await.claims();
    assert_ne!(claims["txn"], Value::from("theirs"));
}

#[tokio::test]
async fn a_token_that_would_pass_8_kib_is_refused() {
    let setup = Setup::default().registry(|registry| {
        let scopes: Vec<String> = (0..60).map(|n| format!("'scope-{n}-{}'", "x".repeat(100))).collect();
        registry.delegation("coordinator", "inventory", &format!("scopes = ['stock:read', {}]", scopes.join(", ")));
    });
    let harness = setup.start().await;
    let twin = || harness.exchange().set("scope", "stock:read");
    let too_large = harness.exchange();
    harness.assert_each_refused(twin, [("all scopes", too_large, ErrorKind::TokenSize, "token_too_large")]).await;
}
