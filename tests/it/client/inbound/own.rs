//! Tokens of a real STS: delegated ones, and those of service accounts.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};
use sts_client::inbound::{Issuer, Verifier};
use sts_tests::Harness;

use super::{bearer, guarded, send, with_header};

/// The inventory agent, which believes the STS alone.
fn inventory(harness: &Harness) -> Verifier {
    let builder = Verifier::builder(["inventory-agent"]).issuer(Issuer::sts(harness.issuer()));
    builder.clock(Arc::new(harness.clock.clone())).build().unwrap()
}

/// What the agent makes of a request.
async fn told(harness: &Harness, headers: HeaderMap) -> Value {
    let answer = send(&guarded(&inventory(harness)), headers).await;
    assert_eq!(answer.status, 200, "{} {:?}", answer.text(), answer.headers);
    answer.json
}

#[tokio::test]
async fn a_delegated_token_names_user_actor_tenant_scope_and_transaction() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    let claims = harness.verify(&token).await;
    let told = told(&harness, with_header(bearer(&token), "x-tenant-id", "acme")).await;
    for (name, value) in [
        ("kind", json!("User")),
        ("issuer", json!(harness.issuer())),
        ("subject", json!({ "iss": harness.idp.url(), "sub": "alice" })),
        ("actor", json!({ "iss": harness.issuer(), "sub": "coordinator" })),
        ("prior_actors", json!([])),
        ("tenant", json!("acme")),
        ("scope", json!(["stock:read", "stock:write"])),
        ("client_id", json!("coordinator")),
        ("jti", claims["jti"].clone()),
        ("txn", claims["txn"].clone()),
        ("expires_at", claims["exp"].clone()),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
}

#[tokio::test]
async fn prior_actors_can_be_read_for_the_audit_log() {
    let harness = Harness::start().await;
    let first = harness.first_hop().await;
    let second = harness.exchange_by("inventory", &first, "warehouse").send().await.token().to_owned();
    let builder = Verifier::builder(["warehouse"]).issuer(Issuer::sts(harness.issuer()));
    let verifier = builder.clock(Arc::new(harness.clock.clone())).build().unwrap();
    let caller = verifier.verify(&bearer(&second)).await.unwrap();
    assert_eq!(caller.actor().map(|actor| actor.sub), Some("inventory"));
    assert_eq!(caller.prior_actors().to_string(), "coordinator");
}

#[tokio::test]
async fn a_token_for_another_agent_is_refused() {
    let harness = Harness::start().await;
    let first = harness.first_hop().await;
    let second = harness.exchange_by("inventory", &first, "warehouse").send().await.token().to_owned();
    let refusal = inventory(&harness).verify(&bearer(&second)).await.unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (401, "not_addressed"));
    inventory(&harness).verify(&bearer(&first)).await.unwrap();
}

#[tokio::test]
async fn a_service_accounts_token_names_the_tenants_that_it_may_speak_for() {
    let harness = Harness::start().await;
    let token = harness.client_credentials().send().await.token().to_owned();
    let request = |tenant: &str| with_header(bearer(&token), "x-tenant-id", tenant);
    let told = told(&harness, request("globex")).await;
    assert_eq!((&told["kind"], &told["tenant"]), (&json!("ServiceAccount"), &json!("globex")));
    assert_eq!((&told["actor"], &told["context_has_user"]), (&Value::Null, &json!(false)));
    assert_eq!(told["subject"], json!({ "iss": harness.issuer(), "sub": "coordinator" }));
    let verifier = inventory(&harness);
    assert_eq!(verifier.verify(&bearer(&token)).await.unwrap().tenant(), None);
    let refusal = verifier.verify(&request("initech")).await.unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (403, "tenant_forbidden"));
}

#[tokio::test]
async fn a_token_that_contradicts_itself_is_refused() {
    let harness = Harness::start().await;
    let user = harness.verify(&harness.first_hop().await).await;
    let account = harness.verify(harness.client_credentials().send().await.token()).await;
    let verifier = inventory(&harness);
    let sign = |claims: &Value| bearer(&harness.sign_as_ours(Some("at+jwt"), claims));
    let set = |claims: &Value, name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        sign(&claims)
    };
    let without = |claims: &Value, name: &str| {
        let mut claims = claims.clone();
        claims.as_object_mut().unwrap().remove(name);
        sign(&claims)
    };
    let (contradiction, malformed) = ("contradiction", "claim_malformed");
    let cases = [
        ("a user with tenant_ids", set(&user, "tenant_ids", json!(["acme"])), contradiction),
        ("a user with no tenant_ids but the claim", set(&user, "tenant_ids", json!([])), contradiction),
        ("a user without act", without(&user, "act"), contradiction),
        ("an account with tenant_id", set(&account, "tenant_id", json!("acme")), contradiction),
        ("an account of another client", set(&account, "client_id", json!("inventory")), contradiction),
        ("an account with a principal", set(&account, "sub_id", user["sub_id"].clone()), contradiction),
        ("an account with act", set(&account, "act", user["act"].clone()), contradiction),
        ("act malformed", set(&user, "act", json!({ "iss": "x" })), malformed),
        ("a tenant malformed", set(&user, "tenant_id", json!("a b")), malformed),
        ("a tenant of several", set(&user, "tenant_id", json!(["acme"])), malformed),
        ("tenant_ids malformed", set(&account, "tenant_ids", json!("acme")), malformed),
        ("a principal of another format", set(&user, "sub_id", json!({ "format": "email" })), malformed),
        ("aud of several", set(&user, "aud", json!(["inventory-agent"])), malformed),
        ("scope malformed", set(&user, "scope", json!(["stock:read"])), malformed),
        ("no txn", without(&user, "txn"), malformed),
        ("no sub", without(&user, "sub"), malformed),
        ("an empty sub", set(&user, "sub", json!("")), "sub"),
        ("bound", set(&user, "cnf", json!({})), "bound"),
    ];
    for claims in [&user, &account] {
        verifier.verify(&sign(claims)).await.unwrap();
    }
    for (label, headers, reason) in cases {
        let refusal = verifier.verify(&headers).await.expect_err(label);
        assert_eq!((refusal.status().as_u16(), refusal.reason()), (401, reason), "{label}");
    }
}

#[tokio::test]
async fn a_delegated_token_without_sub_id_is_of_its_own_subject_and_one_without_tenant_has_none() {
    let harness = Harness::start().await;
    let mut claims = harness.verify(&harness.first_hop().await).await;
    for name in ["sub_id", "tenant_id"] {
        claims.as_object_mut().unwrap().remove(name);
    }
    let request = bearer(&harness.sign_as_ours(Some("at+jwt"), &claims));
    let verifier = inventory(&harness);
    let caller = verifier.verify(&request).await.unwrap();
    let subject = caller.subject();
    assert_eq!((subject.iss.as_str(), subject.sub.as_str()), (harness.issuer(), "alice"));
    assert_eq!(caller.tenant(), None);
    let refusal = verifier.verify(&with_header(request, "x-tenant-id", "acme")).await.unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (403, "tenant_contradicted"));
}

#[tokio::test]
async fn rfc_9068_section_4_an_sts_signs_access_tokens_of_their_own_typ() {
    let harness = Harness::start().await;
    let claims = harness.verify(&harness.first_hop().await).await;
    let verifier = inventory(&harness);
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        verifier.verify(&bearer(&harness.sign_as_ours(Some(typ), &claims))).await.expect(typ);
    }
    for typ in [None, Some("JWT"), Some("application/jwt"), Some("at+jwt2"), Some("id_token")] {
        let refusal = verifier.verify(&bearer(&harness.sign_as_ours(typ, &claims))).await.unwrap_err();
        assert_eq!((refusal.status().as_u16(), refusal.reason()), (401, "typ"), "{typ:?}");
    }
}
