//! Who must bind its tokens, and what becomes of a binding along a chain.

use serde_json::json;
use sts_server::error_kind::ErrorKind;
use sts_tests::{Harness, ProofKey, Setup};

async fn with_entries(entries: &'static [(&'static str, &'static str)]) -> Harness {
    let edit = move |registry: &mut sts_tests::Registry, _: &sts_tests::Names| {
        for (agent, keys) in entries {
            registry.agent(agent, keys);
        }
    };
    Setup::default().registry_with(edit).start().await
}

#[tokio::test]
async fn each_hop_is_bound_to_the_key_of_its_own_agent() {
    let harness = Harness::start().await;
    let keys = [ProofKey::new(), ProofKey::new(), ProofKey::new()];
    let first = harness.exchange().proving(&harness, &keys[0]).send().await;
    let second = harness.exchange_by("inventory", first.token(), "warehouse").proving(&harness, &keys[1]).send().await;
    let third = harness.exchange_by("warehouse", second.token(), "shelf").proving(&harness, &keys[2]).send().await;
    for (answer, key) in [first, second, third].iter().zip(&keys) {
        assert_eq!(
            (&answer.claims()["cnf"], &answer.json["token_type"]),
            (&json!({ "jkt": key.jkt() }), &json!("DPoP"))
        );
    }
}

#[tokio::test]
async fn a_bound_token_never_yields_a_bearer_token() {
    let harness = Harness::start().await;
    let (key, own) = (ProofKey::new(), ProofKey::new());
    let token = harness.exchange().proving(&harness, &key).send().await.token().to_owned();
    let next = || harness.exchange_by("inventory", &token, "warehouse");
    let request = next();
    let correlation_id = request.correlation_id();
    harness.assert_refused("no proof", request, ErrorKind::Binding, "binding_downgrade").await;
    assert!(harness.events(&correlation_id).await[0].parent_bound);
    next().proving(&harness, &own).send().await.token();
    // It is still for the agent that it is addressed to alone, whoever has the key.
    let stolen = harness.exchange_by("auditor", &token, "inventory").proving(&harness, &key);
    harness.assert_refused("another agent", stolen, ErrorKind::Token, "subject_not_addressed").await;

    let outside = harness.user_token_with(&json!({ "cnf": { "jkt": "a key of the user's client" } }));
    let request = harness.exchange_by("coordinator", &outside, "inventory");
    harness.assert_refused("of an outside issuer", request, ErrorKind::Binding, "binding_downgrade").await;
    let bound = harness.exchange_by("coordinator", &outside, "inventory").proving(&harness, &own).send().await;
    assert_eq!(bound.claims()["cnf"]["jkt"], own.jkt());
}

#[tokio::test]
async fn an_agent_whose_tokens_must_be_bound_gets_no_other() {
    let harness = with_entries(&[("coordinator", "dpop_bound_access_tokens = true")]).await;
    let key = ProofKey::new();
    let cases = [
        ("exchange", harness.exchange(), ErrorKind::Binding, "proof_required"),
        ("client credentials", harness.client_credentials(), ErrorKind::Binding, "proof_required"),
        ("no delegation", harness.exchange().set("audience", "shelf"), ErrorKind::Target, "no_delegation"),
    ];
    harness.assert_each_refused(|| harness.exchange().proving(&harness, &key), cases).await;
    // Others are as free as before.
    harness.exchange_by("auditor", &harness.user_token(), "inventory").send().await.token();
}

#[tokio::test]
async fn a_target_that_demands_bound_tokens_gets_no_other() {
    let harness = with_entries(&[("inventory", "dpop_bound_access_tokens_required = true")]).await;
    let key = ProofKey::new();
    for request in [harness.exchange(), harness.client_credentials()] {
        harness.assert_refused("no proof", request, ErrorKind::Binding, "proof_required").await;
    }
    let first = harness.exchange().proving(&harness, &key).send().await;
    // The key is about tokens for it, not about those that are issued to it: the chain demands this one.
    let next = harness.exchange_by("inventory", first.token(), "warehouse");
    harness.assert_refused("its own", next, ErrorKind::Binding, "binding_downgrade").await;
}

#[tokio::test]
async fn a_target_that_takes_bearer_tokens_alone_ends_a_bound_chain() {
    let harness = with_entries(&[
        ("warehouse", "bearer_only = true"),
        ("auditor", "dpop_bound_access_tokens = true"),
        ("inventory", "bearer_only = false"),
    ])
    .await;
    let (key, own) = (ProofKey::new(), ProofKey::new());
    let token = harness.exchange().proving(&harness, &key).send().await.token().to_owned();
    let next = || harness.exchange_by("inventory", &token, "warehouse");
    for request in [next(), next().proving(&harness, &own)] {
        let answer = request.send().await;
        assert_eq!((answer.claims().get("cnf"), &answer.json["token_type"]), (None, &json!("Bearer")));
        assert_eq!(answer.json.get("cnf"), None);
    }

    let harness =
        with_entries(&[("inventory", "bearer_only = true"), ("coordinator", "dpop_bound_access_tokens = true")]).await;
    let proving = |request: sts_tests::FormRequest| request.proving(&harness, &key);
    for request in [proving(harness.exchange()), proving(harness.client_credentials()), harness.exchange()] {
        harness.assert_refused("both", request, ErrorKind::Target, "target_bearer_only").await;
    }
}
