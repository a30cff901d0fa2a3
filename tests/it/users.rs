//! Users and workloads apart: whose tokens are subject tokens, and which names they may have.

use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_tests::{Harness, Setup, TestIssuer};

/// A workload's token that is addressed to an agent, as a cluster gives one to any of its pods.
fn pod(harness: &Harness, audience: &str) -> String {
    harness.workload_token_with(&json!({ "sub": "system:serviceaccount:anywhere:default", "aud": audience }))
}

#[tokio::test]
async fn a_workload_is_no_user_unless_a_delegation_lists_its_issuer_and_then_for_that_delegation_alone() {
    let mut harness = Harness::start().await;
    let request = |harness: &Harness| harness.exchange_by("coordinator", &pod(harness, "coordinator"), "inventory");
    let refused = request(&harness);
    harness.assert_refused("any pod", refused, ErrorKind::Token, "subject_issuer_of_workloads").await;
    let own = harness.workload_token_with(&json!({ "aud": ["coordinator", harness.issuer()] }));
    let request_of_own = harness.exchange_by("coordinator", &own, "inventory");
    harness.assert_refused("the agent itself", request_of_own, ErrorKind::Token, "subject_issuer_of_workloads").await;

    let (idp, cluster) = (harness.idp.url().to_owned(), harness.cluster.url().to_owned());
    let listed = format!("issuers = ['{idp}', '{cluster}']");
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", &listed)).await;
    let first = request(&harness).send().await;
    assert_eq!(first.claims()["sub"], "system:serviceaccount:anywhere:default");
    let request_of_own = harness.exchange_by("coordinator", &own, "inventory");
    harness.assert_refused("an agent is never a user", request_of_own, ErrorKind::Token, "subject_sub_is_agent").await;
    let next = harness.exchange_by("inventory", first.token(), "warehouse");
    harness.assert_refused("a delegation that lists none", next, ErrorKind::Target, "no_delegation").await;
    let by_reporter = harness.exchange_by("reporter", &pod(&harness, "reporter"), "inventory");
    harness.assert_refused("another delegation", by_reporter, ErrorKind::Target, "no_delegation").await;

    // What the delegation gave stands no longer than it lists the issuer.
    assert_eq!(harness.introspect("inventory", first.token()).send().await.json["active"], true);
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", &format!("issuers = ['{idp}']"))).await;
    assert_eq!(harness.introspect("inventory", first.token()).send().await.json, json!({ "active": false }));
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn the_token_of_a_service_account_is_no_subject_token_whichever_service_issued_it() {
    let harness = Harness::start().await;
    let token = |changes: &Value| harness.exchange().set("subject_token", harness.user_token_with(changes));
    let act = json!({ "sub": "coordinator", "iss": "https://peer.example" });
    let twin = || token(&json!({ "tenant_ids": ["acme"], "act": act }));
    harness
        .assert_each_refused(
            twin,
            [
                ("of a peer", token(&json!({ "tenant_ids": ["acme"] })), ErrorKind::Token, "subject_service_account"),
                ("of no tenant", token(&json!({ "tenant_ids": [] })), ErrorKind::Token, "subject_service_account"),
            ],
        )
        .await;
}

#[tokio::test]
async fn no_user_has_a_name_that_begins_with_the_prefix_of_another_issuer() {
    let corp = TestIssuer::start().await;
    let entry = format!("[[issuers]]\nissuer = '{}'\ntenant = 'acme'\nsubject_prefix = 'corp:'", corp.url());
    let harness = Setup::default().registry(move |registry| registry.add(&entry)).start().await;
    let named = |sub: &str| harness.exchange().set("subject_token", harness.user_token_with(&json!({ "sub": sub })));
    harness
        .assert_each_refused(
            || named("corporate"),
            [
                ("a user of the other", named("corp:alice"), ErrorKind::Token, "subject_sub"),
                ("the prefix alone", named("corp:"), ErrorKind::Token, "subject_sub"),
            ],
        )
        .await;
    let mut claims = harness.user_claims();
    claims["iss"] = json!(corp.url());
    let alice = harness.exchange().set("subject_token", corp.sign(&claims)).send().await;
    assert_eq!(alice.claims()["sub"], "corp:alice");
    // Within an issuer, a name may begin as its prefix does.
    claims["sub"] = json!("corp:alice");
    let twice = harness.exchange().set("subject_token", corp.sign(&claims)).send().await;
    assert_eq!(twice.claims()["sub"], "corp:corp:alice");
}

#[tokio::test]
async fn an_actor_that_an_outside_issuer_wrote_has_a_name_like_a_user() {
    let harness = Harness::start().await;
    let acted = |act: Value| harness.exchange().set("subject_token", harness.user_token_with(&json!({ "act": act })));
    let long = "a".repeat(256);
    let cases = [
        ("empty", json!({ "sub": "" })),
        ("NUL", json!({ "sub": "a\0" })),
        ("a line break", json!({ "sub": "a\nb" })),
        ("an escape", json!({ "sub": "\u{1b}[2J" })),
        ("too long", json!({ "sub": long })),
        ("an issuer with a line break", json!({ "sub": "a", "iss": "https://x\n" })),
        ("an empty issuer", json!({ "sub": "a", "iss": "" })),
        ("within", json!({ "sub": "a", "act": { "sub": "" } })),
    ];
    let cases = cases.map(|(label, act)| (label, acted(act), ErrorKind::Token, "subject_act"));
    harness
        .assert_each_refused(|| acted(json!({ "sub": "a", "iss": "https://x", "act": { "sub": "b" } })), cases)
        .await;
}
