//! A chain of agents, as it should be.

use serde_json::json;
use sts_tests::Harness;

#[tokio::test]
async fn one_hop_names_the_user_and_the_agent() {
    let harness = Harness::start().await;
    let answer = harness.exchange().set("scope", "stock:read").send().await;
    let claims = harness.verify(answer.token()).await;
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["aud"], "inventory-agent");
    assert_eq!(claims["client_id"], "coordinator");
    assert_eq!(claims["act"], json!({ "sub": "coordinator", "iss": harness.issuer() }));
    assert_eq!(claims["sub_id"], json!({ "format": "iss_sub", "iss": harness.idp.url(), "sub": "alice" }));
    assert_eq!(claims["scope"], "stock:read");
    assert_eq!(claims["tenant_id"], "acme");
    assert_eq!(answer.json["scope"], "stock:read");
}

#[tokio::test]
async fn three_hops_keep_the_user_and_nest_the_agents() {
    let harness = Harness::start().await;
    let first = harness.first_hop().await;
    let second = harness.exchange_by("inventory", &first, "warehouse").send().await;
    let third = harness.exchange_by("warehouse", second.token(), "shelf").send().await;
    let claims = harness.verify(third.token()).await;
    let iss = harness.issuer();
    let chain = json!({
        "sub": "warehouse", "iss": iss,
        "act": { "sub": "inventory", "iss": iss, "act": { "sub": "coordinator", "iss": iss } },
    });
    assert_eq!(claims["act"], chain);
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["scope"]),
        (&json!("alice"), &json!("shelf"), &json!("bin:read"))
    );
    assert_eq!(claims["txn"], second.claims()["txn"]);
}

#[tokio::test]
async fn the_agent_that_a_token_is_for_may_introspect_it() {
    let harness = Harness::start().await;
    let answer = harness.exchange().send().await;
    let introspected = harness.introspect("inventory", answer.token()).send().await;
    assert_eq!(introspected.json["active"], true);
    assert_eq!(introspected.json["act"], answer.claims()["act"]);
}
