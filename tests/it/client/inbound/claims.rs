//! What the token of an issuer other than the STS may say.

use serde_json::{Value, json};
use sts_client::inbound::Issuer;
use sts_tests::TestIssuer;

use super::{Agent, Row, tenant, with_header};

#[tokio::test]
async fn a_users_token_says_who_calls() {
    let agent = Agent::start().await;
    let told = agent.served("alice", agent.request(&json!({}))).await;
    for (name, value) in [
        ("kind", json!("User")),
        ("issuer", json!(agent.idp.url())),
        ("subject", json!({ "iss": agent.idp.url(), "sub": "alice" })),
        ("actor", Value::Null),
        ("prior_actors", json!([])),
        ("tenant", json!("acme")),
        ("scope", json!(["stock:read"])),
        ("txn", Value::Null),
        ("expires_at", json!(agent.now() + 3600)),
        ("context_tenant", json!("acme")),
        ("context_has_user", json!(true)),
        ("has_authorization", json!(true)),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
}

#[tokio::test]
async fn an_agent_reads_the_claims_of_the_identity_provider() {
    let agent = Agent::start().await;
    let claims = json!({
        "roles": ["clerk", "auditor"], "acr": "mfa", "amr": ["pwd", "otp"], "auth_time": agent.now() - 60, "client_id": "web-app",
        "jti": "t-1", "email": "alice@example.com",
    });
    let told = agent.served("all", agent.request(&claims)).await;
    for (name, value) in claims.as_object().unwrap() {
        assert_eq!(&told[name], value, "{name}");
    }
    let told = agent.served("none", agent.request(&json!({}))).await;
    for name in ["acr", "auth_time", "client_id", "jti", "email"] {
        assert_eq!(told[name], Value::Null, "{name}");
    }
    assert_eq!((&told["roles"], &told["amr"]), (&json!([]), &json!([])));
    let odd = json!({ "roles": [7], "acr": 1, "amr": { "pwd": 1 }, "auth_time": "now", "client_id": [], "jti": 7 });
    let told = agent.served("of other types", agent.request(&odd)).await;
    assert_eq!((&told["roles"], &told["amr"], &told["acr"]), (&json!(["7"]), &json!([]), &Value::Null));
    assert_eq!((&told["auth_time"], &told["client_id"], &told["jti"]), (&Value::Null, &Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_token_that_came_without_headers_is_verified_alike() {
    let agent = Agent::start().await;
    let token = agent.idp.sign(&agent.claims());
    agent.seen.remember(&token);
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let delegation = agent.verifier.verify_token(&token, Some(&acme)).await.unwrap();
    assert_eq!((delegation.subject().sub.as_str(), delegation.tenant()), ("alice", Some(&acme)));
    agent.verifier.verify_token(&token, None).await.unwrap();
    let nightly = agent.idp.sign(&agent.claims_with(&json!({ "sub": "nightly" })));
    let delegation = agent.verifier.verify_token(&nightly, Some(&globex)).await.unwrap();
    assert_eq!((delegation.kind(), delegation.tenant()), (sts_client::Kind::ServiceAccount, Some(&globex)));
    let expired = agent.idp.sign(&agent.claims_with(&json!({ "exp": agent.now() })));
    let long = "a".repeat(100_000);
    for (token, named, reason) in [
        (token.as_str(), Some(&globex), "tenant_contradicted"),
        (&nightly, Some(&tenant("initech")), "tenant_forbidden"),
        (&expired, None, "expired"),
        ("", None, "token_malformed"),
        ("Bearer a.b.c", None, "token_malformed"),
        (&long, None, "token_malformed"),
    ] {
        agent.seen.remember(token);
        let refusal = agent.verifier.verify_token(token, named).await.unwrap_err();
        assert_eq!(refusal.reason(), reason);
    }
}

#[tokio::test]
async fn aud_must_hold_an_audience_of_the_agent() {
    let agent = Agent::start().await;
    let served = [json!(["other", "inventory-agent"]), json!("https://inventory.shop.example/")];
    agent.each_served(served.map(|aud| json!({ "aud": aud }))).await;
    let (other, malformed) = ("not_addressed", "claim_malformed");
    let cases = [
        (json!("other"), other),
        (json!("Inventory-Agent"), other),
        (json!("inventory-agent "), other),
        (json!("https://inventory.shop.example"), other),
        (json!(["other"]), other),
        (json!([]), other),
        (json!(""), malformed),
        (json!(["inventory-agent", ""]), malformed),
        (json!(["inventory-agent", 7]), malformed),
        (json!(null), other),
        (json!({ "inventory-agent": true }), malformed),
    ];
    agent.each_token_refused(cases.map(|(aud, reason)| (json!({ "aud": aud }), reason))).await;
    let without = agent.bearer(&agent.idp.sign(&agent.claims_without("aud")));
    agent.refused("no aud", without, Row::Token, other).await;
}

#[tokio::test]
async fn exp_has_no_grace_and_iat_and_nbf_have_30_seconds() {
    let agent = Agent::start().await;
    let now = agent.now();
    #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
    let half = now as f64 + 1.5;
    agent
        .each_served([
            json!({ "exp": now + 1 }),
            json!({ "exp": half }),
            json!({ "iat": now + 30 }),
            json!({ "nbf": now + 30 }),
        ])
        .await;
    agent
        .each_token_refused([
            (json!({ "exp": now }), "expired"),
            (json!({ "exp": now - 1 }), "expired"),
            (json!({ "exp": half - 2.0 }), "expired"),
            (json!({ "exp": 0 }), "expired"),
            (json!({ "iat": now + 31 }), "not_yet_valid"),
            (json!({ "nbf": now + 31 }), "not_yet_valid"),
            (json!({ "exp": null }), "exp_missing"),
            (json!({ "exp": true }), "claim_malformed"),
            (json!({ "exp": -1 }), "claim_malformed"),
            (json!({ "exp": 1e300 }), "claim_malformed"),
            (json!({ "exp": (now + 60).to_string() }), "claim_malformed"),
            (json!({ "iat": "now" }), "claim_malformed"),
            (json!({ "iat": -5 }), "claim_malformed"),
            (json!({ "nbf": false }), "claim_malformed"),
            (json!({ "nbf": u64::MAX }), "claim_malformed"),
        ])
        .await;
    let without = agent.bearer(&agent.idp.sign(&agent.claims_without("exp")));
    agent.refused("no exp", without, Row::Token, "exp_missing").await;
    agent.served("without iat", agent.bearer(&agent.idp.sign(&agent.claims_without("iat")))).await;
}

#[tokio::test]
async fn a_token_that_dies_is_refused_from_that_second_on() {
    let agent = Agent::start().await;
    let request = agent.request(&json!({}));
    agent.clock.advance(std::time::Duration::from_secs(3599));
    agent.served("its last second", request.clone()).await;
    agent.clock.advance(std::time::Duration::from_secs(1));
    agent.refused("after it", request, Row::Token, "expired").await;
}

#[tokio::test]
async fn the_issuer_is_compared_byte_for_byte() {
    let agent = Agent::start().await;
    let idp = agent.idp.url();
    let others = [
        format!("{idp}/"),
        idp.to_uppercase(),
        idp.replace("127.0.0.1", "127.0.0.01"),
        idp.replace("127.0.0.1", "localhost"),
        idp.replace("http", "https"),
        format!("{idp}0"),
        idp.replace('1', "\u{ff11}"),
        format!("{idp} "),
        String::new(),
    ];
    let mut cases: Vec<_> = others.iter().map(|iss| (json!({ "iss": iss }), "issuer_unknown")).collect();
    for iss in [json!(7), Value::Null, json!([idp])] {
        let reason = if iss.is_null() { "issuer_missing" } else { "claim_malformed" };
        cases.push((json!({ "iss": iss }), reason));
    }
    agent.each_token_refused(cases).await;
    let without = agent.bearer(&agent.idp.sign(&agent.claims_without("iss")));
    agent.refused("no iss", without, Row::Token, "issuer_missing").await;
}

#[tokio::test]
async fn sub_has_1_to_255_characters_none_of_which_is_a_control_character() {
    let agent = Agent::start().await;
    agent.each_served(["a", &"\u{e4}".repeat(255), "auth0|5f", "a b"].map(|sub| json!({ "sub": sub }))).await;
    let mut cases: Vec<_> = ["", "a\nb", "a\u{0}", "a\u{7f}", "a\u{85}", &"a".repeat(256), &"a".repeat(4096)]
        .map(|sub| (json!({ "sub": sub }), "sub"))
        .to_vec();
    for sub in [json!(7), json!(["alice"])] {
        cases.push((json!({ "sub": sub }), "claim_malformed"));
    }
    cases.push((json!({ "sub": null }), "sub"));
    agent.each_token_refused(cases).await;
    let without = agent.bearer(&agent.idp.sign(&agent.claims_without("sub")));
    agent.refused("no sub", without, Row::Token, "sub").await;
}

#[tokio::test]
async fn a_token_bound_to_a_key_is_refused_and_not_used_as_a_bearer_token() {
    let agent = Agent::start().await;
    let bindings = [json!({ "jkt": "x" }), json!({ "x5t#S256": "x" }), json!({}), json!("x"), Value::Null];
    agent.each_token_refused(bindings.map(|cnf| (json!({ "cnf": cnf }), "bound"))).await;
}

#[tokio::test]
async fn the_scope_is_a_string_or_an_array_in_scope_or_scp() {
    let agent = Agent::start().await;
    let read = json!(["stock:read"]);
    for (changes, scope) in [
        (json!({ "scope": "stock:write stock:read" }), json!(["stock:read", "stock:write"])),
        (json!({ "scope": ["stock:read"] }), read.clone()),
        (json!({ "scope": "stock:read", "scp": "stock:write" }), read.clone()),
        (json!({ "scope": "" }), json!([])),
        (json!({ "scope": [] }), json!([])),
    ] {
        assert_eq!(agent.served("scope", agent.request(&changes)).await["scope"], scope, "{changes}");
    }
    for (scp, scope) in [(json!("stock:read"), read.clone()), (json!(["stock:read"]), read)] {
        let mut claims = agent.claims_without("scope");
        claims["scp"] = scp;
        assert_eq!(agent.served("scp", agent.bearer(&agent.idp.sign(&claims))).await["scope"], scope);
    }
    let malformed = [
        json!(7),
        json!({ "stock:read": true }),
        json!("stock:read \"x"),
        json!(["stock:read stock:write"]),
        json!(["stock:read", 7]),
    ];
    agent.each_token_refused(malformed.map(|scope| (json!({ "scope": scope }), "scope_claim"))).await;
    let entry = |issuer: Issuer| issuer.tenant_claim("org_id").scope_claim("https://idp.example/permissions");
    let agent = Agent::of_issuer(entry, |builder, _idp| builder).await;
    let changes = json!({ "https://idp.example/permissions": ["stock:write"] });
    assert_eq!(agent.served("another claim", agent.request(&changes)).await["scope"], json!(["stock:write"]));
}

#[tokio::test]
async fn the_tenant_is_one_value_of_the_claim() {
    let agent = Agent::start().await;
    let array = agent.served("an array of one", agent.request(&json!({ "org_id": ["acme"] }))).await;
    assert_eq!(array["tenant"], "acme");
    let others = [
        json!([]),
        json!(["acme", "globex"]),
        json!(1.5),
        json!(null),
        json!(""),
        json!("a b"),
        json!("x".repeat(129)),
    ];
    agent.each_token_refused(others.map(|tenant| (json!({ "org_id": tenant }), "tenant_claim"))).await;
    let without = agent.bearer(&agent.idp.sign(&agent.claims_without("org_id")));
    agent.refused("absent", without, Row::Token, "tenant_claim").await;
}

#[tokio::test]
async fn the_tenant_may_be_fixed_or_none() {
    let fixed = Agent::of_issuer(|issuer| issuer.tenant(tenant("initech")), |builder, _idp| builder).await;
    assert_eq!(fixed.served("fixed", fixed.request(&json!({}))).await["tenant"], "initech");
    let none = Agent::of_issuer(|issuer| issuer, |builder, _idp| builder).await;
    assert_eq!(none.served("none", none.request(&json!({}))).await["tenant"], Value::Null);
    let named = with_header(none.request(&json!({})), "x-tenant-id", "acme");
    none.refused("named all the same", named, Row::Scope, "tenant_contradicted").await;
}

#[tokio::test]
async fn act_of_an_outside_issuer_is_read_level_by_level() {
    let sts = TestIssuer::start().await;
    let agent = Agent::with(|builder, _idp| builder.issuer(Issuer::sts(sts.url()))).await;
    let act = json!({ "sub": "bot", "iss": "https://other.example", "act": { "sub": "first" } });
    let told = agent.served("a chain", agent.request(&json!({ "act": act }))).await;
    assert_eq!(told["actor"], json!({ "iss": "https://other.example", "sub": "bot" }));
    assert_eq!(told["prior_actors"], json!(["first"]));
    let malformed = [
        json!(null),
        json!("bot"),
        json!([]),
        json!({}),
        json!({ "sub": 7 }),
        json!({ "sub": "bot", "iss": 7 }),
        json!({ "sub": "bot", "act": {} }),
        // The namespace of the STS is its own.
        json!({ "sub": "coordinator", "iss": sts.url() }),
        json!({ "sub": "bot", "act": { "sub": "coordinator", "iss": sts.url() } }),
    ];
    agent.each_token_refused(malformed.map(|act| (json!({ "act": act }), "act"))).await;
}

#[tokio::test]
async fn a_service_account_of_an_outside_issuer_is_known_by_issuer_and_subject() {
    let other = TestIssuer::start().await;
    let agent = Agent::with(|builder, _idp| builder.issuer(Issuer::new(other.url()))).await;
    let mut claims = agent.claims_without("org_id");
    claims["sub"] = json!("nightly");
    let told = agent.served("nightly", agent.bearer(&agent.idp.sign(&claims))).await;
    assert_eq!((&told["kind"], &told["tenant"]), (&json!("ServiceAccount"), &Value::Null));
    assert_eq!(told["context_has_user"], false);
    let of_other = other.sign(&agent.claims_with(&json!({ "iss": other.url(), "sub": "nightly" })));
    assert_eq!(agent.served("of another issuer", agent.bearer(&of_other)).await["kind"], "User");
    agent.each_token_refused([(json!({ "sub": "nightly", "act": { "sub": "x" } }), "contradiction")]).await;
}

#[tokio::test]
async fn a_required_scope_that_is_lacking_is_named() {
    let required = |builder: sts_client::inbound::VerifierBuilder| {
        let scopes = ["stock:read", "stock:list"].map(scope_token);
        scopes.into_iter().fold(builder, sts_client::inbound::VerifierBuilder::require_scope)
    };
    let agent = Agent::with(|builder, _idp| required(builder)).await;
    let both = agent.request(&json!({ "scope": "stock:list stock:read x" }));
    agent.served("both", both.clone()).await;
    for scope in ["", "stock:read", "stock:list", "Stock:Read stock:list", "stock:read:x stock:list"] {
        let request = agent.request(&json!({ "scope": scope }));
        let refusal = agent.refused(scope, request, Row::Scope, "insufficient_scope").await;
        let challenge = refusal.www_authenticate().unwrap();
        assert!(challenge.to_str().unwrap().contains(", scope=\"stock:list stock:read\", "), "{challenge:?}");
    }
    agent.served("both", both).await;
}

fn scope_token(scope: &str) -> sts_protocol::ScopeToken {
    sts_protocol::ScopeToken::new(scope).unwrap()
}
