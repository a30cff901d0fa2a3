//! Service accounts: what an agent may do on its own behalf.

use serde_json::json;
use sts_server::error_kind::ErrorKind;
use sts_tests::{ACCESS_TOKEN, Harness, Setup, members};

#[tokio::test]
async fn the_token_names_the_agent_alone() {
    let harness = Harness::start().await;
    let answer = harness.client_credentials().send().await;
    let mut claims = harness.verify(answer.token()).await;
    for name in ["jti", "txn"] {
        claims[name] = json!("random");
    }
    let now = harness.now();
    assert_eq!(
        claims,
        json!({
            "iss": harness.issuer(), "sub": "coordinator", "aud": "inventory-agent", "client_id": "coordinator",
            "iat": now, "exp": now + 300, "jti": "random", "txn": "random",
            "scope": "stock:read stock:write", "tenant_ids": ["acme", "globex"],
        })
    );
    assert_eq!(members(&answer.json), ["access_token", "expires_in", "issued_token_type", "scope", "token_type"]);
}

#[tokio::test]
async fn the_request_takes_audience_resource_and_scope_like_an_exchange() {
    let harness = Harness::start().await;
    let request = || harness.client_credentials();
    let by_resource = request().without("audience").set("resource", "https://inventory.shop.example/");
    assert_eq!(by_resource.send().await.claims()["aud"], "inventory-agent");
    assert_eq!(request().set("scope", "stock:read").send().await.json["scope"], "stock:read");
    let not_entitled = harness.client_credentials().authenticated(harness.credentials("inventory"));
    let cases = [
        ("no target", request().without("audience"), ErrorKind::Target, "target_missing"),
        ("an unknown target", request().set("audience", "nobody"), ErrorKind::Target, "target_unknown"),
        ("several targets", request().add("audience", "warehouse"), ErrorKind::Target, "target_several"),
        ("no delegation", request().set("audience", "warehouse"), ErrorKind::Target, "no_delegation"),
        ("not a service account", not_entitled.set("audience", "warehouse"), ErrorKind::Grant, "not_a_service_account"),
        ("too much scope", request().set("scope", "stock:delete"), ErrorKind::Scope, "scope_beyond"),
        ("malformed scope", request().set("scope", "a \"b"), ErrorKind::Scope, "scope_malformed"),
        (
            "another token type",
            request().set("requested_token_type", "urn:x"),
            ErrorKind::Request,
            "token_type_unsupported",
        ),
        ("a DPoP header", request().header("dpop", "x"), ErrorKind::Proof, "dpop_proof_malformed"),
        ("details", request().set("authorization_details", "[]"), ErrorKind::Details, "details_malformed"),
    ];
    harness.assert_each_refused(request, cases).await;
}

#[tokio::test]
async fn an_exchange_that_lost_its_subject_token_is_never_another_grant() {
    let harness = Harness::start().await;
    let request = || harness.client_credentials();
    let token = harness.user_token();
    let cases = [
        ("a subject token", request().set("subject_token", token.clone()), "parameter_foreign"),
        ("its type", request().set("subject_token_type", ACCESS_TOKEN), "parameter_foreign"),
        ("an actor token", request().set("actor_token", token), "parameter_foreign"),
        ("an actor token's type", request().set("actor_token_type", ACCESS_TOKEN), "parameter_foreign"),
        ("an exchange without one", harness.exchange().without("subject_token"), "token_without_type"),
        (
            "without its type either",
            harness.exchange().without("subject_token").without("subject_token_type"),
            "parameter_missing",
        ),
        ("an empty one", harness.exchange().set("subject_token", ""), "token_without_type"),
    ];
    let cases = cases.map(|(label, request, reason)| (label, request, ErrorKind::Request, reason));
    harness.assert_each_refused(request, cases).await;
}

#[tokio::test]
async fn such_a_token_is_no_subject_token() {
    let harness = Harness::start().await;
    let token = harness.client_credentials().send().await.token().to_owned();
    for (agent, target) in [("inventory", "warehouse"), ("coordinator", "inventory")] {
        let request = harness.exchange_by(agent, &token, target);
        harness.assert_refused(agent, request, ErrorKind::Token, "subject_service_account").await;
    }
}

#[tokio::test]
async fn the_tenants_that_it_forwards_are_within_those_of_target_and_delegation() {
    for restricted in ["target", "delegation"] {
        let setup = Setup::default().registry(move |registry| match restricted {
            "target" => registry.agent("inventory", "tenants = ['globex', 'initech']"),
            _ => registry.delegation("coordinator", "inventory", "tenants = ['globex', 'initech']"),
        });
        let harness = setup.start().await;
        let claims = harness.client_credentials().send().await.claims();
        assert_eq!(claims["tenant_ids"], json!(["globex"]), "{restricted}");
        let outside = harness.client_credentials().header("x-tenant-id", "acme");
        harness.assert_refused(restricted, outside, ErrorKind::Token, "tenant_outside").await;
        let not_forwarded = harness.client_credentials().header("x-tenant-id", "initech");
        harness.assert_refused(restricted, not_forwarded, ErrorKind::Token, "tenant_outside").await;
    }
}

#[tokio::test]
async fn the_header_narrows_it_to_one_tenant() {
    let harness = Harness::start().await;
    let request = |tenant: &str| harness.client_credentials().header("x-tenant-id", tenant);
    let claims = request("globex").send().await.claims();
    assert_eq!(claims["tenant_ids"], json!(["globex"]));
    let cases = [
        ("one that it may not forward", request("initech"), ErrorKind::Token, "tenant_outside"),
        ("malformed", request("a b"), ErrorKind::Request, "tenant_header_malformed"),
    ];
    harness.assert_each_refused(|| harness.client_credentials(), cases).await;
}

#[tokio::test]
async fn an_agent_that_forwards_no_tenant_gets_a_token_only_where_every_tenant_fits() {
    let mut harness =
        Setup::default().registry(|registry| registry.agent("coordinator", "forward_tenants = []")).start().await;
    let claims = harness.client_credentials().send().await.claims();
    assert_eq!(claims["tenant_ids"], json!([]));
    harness.apply(|registry, _| registry.agent("inventory", "tenants = ['acme']")).await;
    harness.assert_refused("restricted", harness.client_credentials(), ErrorKind::Token, "tenant_outside").await;
}

#[tokio::test]
async fn parity_a_disabled_target_agent_or_delegation_gives_no_token() {
    let mut harness = Harness::start().await;
    harness.client_credentials().send().await.token();
    harness.apply(|registry, _| registry.agent("inventory", "disabled = true")).await;
    harness.assert_refused("target", harness.client_credentials(), ErrorKind::Target, "target_disabled").await;
    harness.apply(|registry, _| registry.agent("inventory", "disabled = false")).await;
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", "disabled = true")).await;
    harness.assert_refused("delegation", harness.client_credentials(), ErrorKind::Target, "no_delegation").await;
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", "disabled = false")).await;
    harness.apply(|registry, _| registry.agent("coordinator", "disabled = true")).await;
    harness.assert_refused_unrecorded("agent", harness.client_credentials(), ErrorKind::Client).await;
}

#[tokio::test]
async fn a_tenant_on_hold_is_left_out_of_what_may_be_forwarded() {
    let harness = Setup::default().operators().start().await;
    let both = harness.client_credentials().send().await;
    let hold = json!({ "tenant": "acme", "hold": true });
    assert_eq!(harness.admin("POST", "/revocations").by("operator").json(&hold).send().await.status, 200);
    let held = harness.introspect("inventory", both.token()).send().await;
    assert_eq!(held.json, json!({ "active": false }), "what may forward it is refused");
    let other = harness.client_credentials().send().await;
    assert_eq!(other.claims()["tenant_ids"], json!(["globex"]));
    assert_eq!(harness.introspect("inventory", other.token()).send().await.json["active"], true);
    let named = harness.client_credentials().header("x-tenant-id", "acme");
    harness.assert_refused("the tenant itself", named, ErrorKind::Token, "tenant_outside").await;
}

#[tokio::test]
async fn a_token_lives_no_longer_than_a_delegation_lets_its_agent_call_on_its_own_behalf() {
    let mut harness = Harness::start().await;
    let token = harness.client_credentials().send().await.token().to_owned();
    for (values, active) in [
        ("service_account = false", false),
        ("service_account = true", true),
        ("tenants = ['acme']", false),
        ("tenants = ['acme', 'globex']", true),
        ("disabled = true", false),
        ("disabled = false", true),
    ] {
        harness.apply(|registry, _| registry.delegation("coordinator", "inventory", values)).await;
        let answer = harness.introspect("inventory", &token).send().await;
        assert_eq!(answer.json["active"], active, "{values}");
    }
    harness.apply(|registry, _| registry.without_delegation("coordinator", "inventory")).await;
    assert_eq!(harness.introspect("inventory", &token).send().await.json, json!({ "active": false }));
}
