//! Actors: who acts, who acted, who may act (actor, may_act, act, depth and loops).

use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_tests::{Credentials, FormRequest, Harness, Setup};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

fn with(harness: &Harness, changes: &Value) -> FormRequest {
    harness.exchange().set("subject_token", harness.user_token_with(changes))
}

fn with_value(harness: &Harness, claim: &str, value: Value) -> FormRequest {
    let mut claims = harness.user_claims();
    claims[claim] = value;
    harness.exchange().set("subject_token", harness.idp.sign(&claims))
}

/// A chain of this many actors that an outside issuer wrote.
fn chain(depth: usize) -> Value {
    (1..=depth).rev().fold(Value::Null, |prior, level| match prior {
        Value::Null => json!({ "sub": format!("outside-{level}") }),
        prior => json!({ "sub": format!("outside-{level}"), "act": prior }),
    })
}

/// A harness whose coordinator also is a workload.
async fn with_workload() -> Harness {
    let setup = Setup::default().registry_with(|registry, names| {
        let workload = format!(
            "workload = [{{ issuer = '{}', subject = 'system:serviceaccount:shop:coordinator' }}]",
            names.cluster.url()
        );
        registry.agent_auth("coordinator", &workload);
    });
    setup.start().await
}

#[tokio::test]
async fn actor_an_actor_token_must_be_of_the_agent_that_authenticated() {
    let harness = with_workload().await;
    let sub = "system:serviceaccount:shop:coordinator";
    let token = |changes: Value| {
        let mut changes = changes;
        if changes.get("sub").is_none() {
            changes["sub"] = json!(sub);
        }
        harness.workload_token_with(&changes)
    };
    let request = |actor: String| harness.exchange().set("actor_token", actor).set("actor_token_type", JWT);
    let twin = || request(token(json!({})));
    let now = harness.now();
    let ours = harness.first_hop().await;
    let typ = |typ: &str| {
        let mut header = harness.cluster.key().header();
        header["typ"] = json!(typ);
        let mut claims = harness.workload_claims();
        claims["sub"] = json!(sub);
        harness.cluster.key().sign_with(&header, &claims)
    };
    let cases = [
        ("of another agent", request(harness.workload_token_with(&json!({}))), "actor_token_mismatch"),
        ("expired", request(token(json!({ "exp": now }))), "workload_expired"),
        ("without exp", request(token(json!({ "exp": null }))), "workload_exp_missing"),
        ("not valid yet", request(token(json!({ "nbf": now + 31 }))), "workload_not_yet_valid"),
        ("has an act claim", request(token(json!({ "act": { "sub": "x" } }))), "workload_delegated"),
        ("addressed to another audience", request(token(json!({ "aud": "kubernetes" }))), "workload_audience"),
        ("addressed to nobody", request(token(json!({ "aud": null }))), "workload_audience"),
        (
            "of no workload",
            request(token(json!({ "sub": "system:serviceaccount:shop:nobody" }))),
            "workload_subject_unknown",
        ),
        ("of an unknown issuer", request(token(json!({ "iss": "https://other.example" }))), "workload_issuer_unknown"),
        ("of the users' issuer", request(harness.user_token_with(&json!({ "sub": sub }))), "workload_issuer_unknown"),
        ("one of ours", request(ours), "workload_issuer_unknown"),
        ("no token", request("x".to_owned()), "workload_malformed"),
        ("of another kind", request(typ("logout+jwt")), "workload_typ"),
    ];
    let cases = cases.map(|(label, request, reason)| (label, request, ErrorKind::Token, reason));
    harness.assert_each_refused(twin, cases).await;
    let claims = twin().send().await.claims();
    assert_eq!(claims["act"], json!({ "sub": "coordinator", "iss": harness.issuer() }));
}

#[tokio::test]
async fn actor_dropping_the_actor_token_sheds_no_actor() {
    let harness = with_workload().await;
    let token = harness.workload_token_with(&json!({ "sub": "system:serviceaccount:shop:coordinator" }));
    let with = harness.exchange().set("actor_token", token).set("actor_token_type", JWT).send().await.claims();
    let without = harness.exchange().send().await.claims();
    assert_eq!(with["act"], without["act"]);
    assert_eq!(without["act"]["sub"], "coordinator");
}

#[tokio::test]
async fn actor_spliced_subject_and_actor_tokens_are_refused() {
    let harness = Harness::start().await;
    // A token for inventory, presented by the workload runner with its own, good actor token.
    let stolen = harness.first_hop().await;
    let request = harness.exchange_by("runner", &stolen, "inventory");
    harness.assert_refused("spliced", request, ErrorKind::Token, "subject_not_addressed").await;
}

#[tokio::test]
async fn actor_claims_sent_as_parameters_change_nothing() {
    let harness = Harness::start().await;
    let request = harness.exchange().set("act", r#"{"sub":"other"}"#).set("sub", "mallory").set("tenant_id", "globex");
    let claims = request.set("client", "x").set("roles", "admin").send().await.claims();
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["tenant_id"], "acme");
    assert_eq!(claims["act"]["sub"], "coordinator");
    assert_eq!(claims["roles"], Value::Null);
}

#[tokio::test]
async fn unauthenticated_the_workload_token_is_the_credential() {
    let harness = Harness::start().await;
    let request = || harness.exchange_by("runner", &harness.user_token(), "inventory");
    let answer = request().send().await;
    let claims = answer.claims();
    assert_eq!(claims["client_id"], "runner");
    assert_eq!(claims["act"], json!({ "sub": "runner", "iss": harness.issuer() }));
    let by_default = request().without("audience");
    let correlation_id = by_default.correlation_id();
    assert_eq!(by_default.send().await.claims()["aud"], "inventory-agent");
    let events = harness.events(&correlation_id).await;
    assert_eq!(events[0].auth_method.as_deref(), Some("workload_actor_token"));
    // It is used again until it is rotated.
    let token = harness.workload_token_with(&json!({}));
    for _ in 0..2 {
        request().set("actor_token", token.clone()).send().await.token();
    }
}

#[tokio::test]
async fn unauthenticated_a_bad_actor_token_is_a_bad_request() {
    let harness = Harness::start().await;
    let request = |changes: Value| {
        let token = harness.workload_token_with(&changes);
        harness.exchange_by("runner", &harness.user_token(), "inventory").set("actor_token", token)
    };
    let now = harness.now();
    let cases = [
        ("addressed to a cluster", request(json!({ "aud": "https://kubernetes.default.svc" })), ErrorKind::Token),
        ("addressed to nobody", request(json!({ "aud": null })), ErrorKind::Token),
        (
            "addressed to the token endpoint",
            request(json!({ "aud": format!("{}/oauth2/token", harness.issuer()) })),
            ErrorKind::Token,
        ),
        ("expired", request(json!({ "exp": now })), ErrorKind::Token),
        ("of no workload", request(json!({ "sub": "system:serviceaccount:shop:nobody" })), ErrorKind::Token),
        ("of another issuer", request(json!({ "iss": harness.idp.url() })), ErrorKind::Token),
        ("has an act claim", request(json!({ "act": { "sub": "x" } })), ErrorKind::Token),
        ("a user's", request(json!({})).set("actor_token", harness.user_token()), ErrorKind::Token),
        ("no token", request(json!({})).set("actor_token", "x"), ErrorKind::Token),
        ("an id token", request(json!({})).set("actor_token_type", ID_TOKEN), ErrorKind::Request),
        ("of an unknown type", request(json!({})).set("actor_token_type", "urn:x"), ErrorKind::Request),
        ("without its type", request(json!({})).without("actor_token_type"), ErrorKind::Request),
        ("another agent's id", request(json!({})).set("client_id", "coordinator"), ErrorKind::Request),
    ];
    harness.assert_each_refused_unrecorded(|| request(json!({})), cases).await;
    request(json!({})).set("client_id", "runner").send().await.token();
    let not_an_exchange = request(json!({})).set("grant_type", "client_credentials");
    harness.assert_refused_unrecorded("another grant", not_an_exchange, ErrorKind::Client).await;
    let only_the_type = request(json!({})).without("actor_token");
    harness.assert_refused_unrecorded("the type alone", only_the_type, ErrorKind::Client).await;
}

#[tokio::test]
async fn unauthenticated_the_entry_may_name_another_audience() {
    let setup = Setup::default().registry_with(|registry, names| {
        let subject = "system:serviceaccount:shop:runner";
        let issuer = names.cluster.url();
        registry.agent_auth(
            "runner",
            &format!("workload = [{{ issuer = '{issuer}', subject = '{subject}', audience = 'cluster' }}]"),
        );
    });
    let harness = setup.start().await;
    let request = |audience: Value| {
        let token = harness.workload_token_with(&json!({ "aud": audience }));
        harness.exchange_by("runner", &harness.user_token(), "inventory").set("actor_token", token)
    };
    request(json!(["cluster", "other"])).send().await.token();
    let ours = request(json!(harness.issuer()));
    harness.assert_refused_unrecorded("our issuer is not the audience then", ours, ErrorKind::Token).await;
}

#[tokio::test]
async fn may_act_must_name_the_actor_when_it_is_there() {
    let harness = Harness::start().await;
    let iss = harness.issuer();
    for may_act in [
        json!({ "sub": "coordinator" }),
        json!({ "sub": "coordinator", "iss": iss }),
        json!({ "sub": "coordinator", "email": "x@example.com" }),
    ] {
        let answer = with(&harness, &json!({ "may_act": may_act })).send().await;
        assert_eq!(answer.status, 200, "{may_act}");
    }
    let cases = [
        (json!({ "sub": "inventory" }), "may_act_mismatch"),
        (json!({ "sub": "Coordinator" }), "may_act_mismatch"),
        (json!({ "sub": "" }), "may_act_mismatch"),
        (json!({ "sub": "coordinator", "iss": harness.idp.url() }), "may_act_mismatch"),
        (json!({ "sub": "coordinator", "iss": format!("{iss}/") }), "may_act_mismatch"),
        (json!({}), "subject_may_act"),
        (json!({ "iss": iss }), "subject_may_act"),
        (json!({ "sub": 1 }), "subject_may_act"),
        (json!({ "sub": ["coordinator"] }), "subject_may_act"),
        (json!({ "sub": "coordinator", "iss": null }), "subject_may_act"),
        (json!("coordinator"), "subject_may_act"),
        (json!([{ "sub": "coordinator" }]), "subject_may_act"),
        (Value::Null, "subject_may_act"),
    ];
    let cases = cases.map(|(may_act, reason)| {
        (may_act.to_string(), with_value(&harness, "may_act", may_act), ErrorKind::Token, reason)
    });
    harness.assert_each_refused(|| harness.exchange(), cases).await;
}

#[tokio::test]
async fn may_act_may_name_the_workload_that_the_actor_is() {
    let harness = Harness::start().await;
    let subject = "system:serviceaccount:shop:runner";
    let request = |may_act: Value| {
        harness.exchange_by("runner", &harness.user_token_with(&json!({ "may_act": may_act })), "inventory")
    };
    request(json!({ "sub": subject, "iss": harness.cluster.url() })).send().await.token();
    let elsewhere = request(json!({ "sub": subject, "iss": harness.idp.url() }));
    harness.assert_refused("of another issuer", elsewhere, ErrorKind::Token, "may_act_mismatch").await;
    let nameless = request(json!({ "sub": subject }));
    harness.assert_refused("of no issuer", nameless, ErrorKind::Token, "may_act_mismatch").await;
}

#[tokio::test]
async fn act_that_an_outside_issuer_wrote_is_kept_unchanged() {
    let harness = Harness::start().await;
    let prior =
        json!({ "sub": "portal", "iss": "https://portal.example", "x": [1, { "y": null }], "act": { "sub": "z" } });
    let answer = with(&harness, &json!({ "act": prior })).send().await;
    assert_eq!(answer.claims()["act"], json!({ "sub": "coordinator", "iss": harness.issuer(), "act": prior }));
}

#[tokio::test]
async fn act_that_is_malformed_or_claims_our_namespace_is_refused() {
    let harness = Harness::start().await;
    let iss = harness.issuer();
    let cases = [
        Value::Null,
        json!("portal"),
        json!([]),
        json!({}),
        json!({ "iss": "https://portal.example" }),
        json!({ "sub": 1 }),
        json!({ "sub": null }),
        json!({ "sub": "a", "iss": 1 }),
        json!({ "sub": "a", "act": "b" }),
        json!({ "sub": "a", "act": null }),
        json!({ "sub": "a", "act": { "sub": "b", "act": {} } }),
        json!({ "sub": "inventory", "iss": iss }),
        json!({ "sub": "a", "act": { "sub": "inventory", "iss": iss } }),
    ];
    let cases = cases.map(|act| (act.to_string(), with_value(&harness, "act", act), ErrorKind::Token, "subject_act"));
    harness.assert_each_refused(|| harness.exchange(), cases).await;
}

#[tokio::test]
async fn depth_a_chain_of_more_than_eight_actors_is_refused_and_never_truncated() {
    let harness = Harness::start().await;
    let answer = with(&harness, &json!({ "act": chain(7) })).send().await;
    let full = answer.claims();
    let mut level = &full["act"];
    let mut depth = 0;
    while level.is_object() {
        depth += 1;
        level = &level["act"];
    }
    assert_eq!(depth, 8);
    let next = harness.exchange_by("inventory", answer.token(), "warehouse");
    harness.assert_refused("a ninth of ours", next, ErrorKind::Token, "chain_too_deep").await;
    for depth in [8, 9, 20] {
        let request = with(&harness, &json!({ "act": chain(depth) }));
        harness.assert_refused("too deep", request, ErrorKind::Token, "chain_too_deep").await;
    }
}

#[tokio::test]
async fn depth_is_what_the_configuration_says() {
    let harness = Setup::default().option("LIMITS__CHAIN_DEPTH", "1").start().await;
    let first = harness.first_hop().await;
    let second = harness.exchange_by("inventory", &first, "warehouse");
    harness.assert_refused("the second actor", second, ErrorKind::Token, "chain_too_deep").await;
}

/// warehouse may call inventory back, which is how a loop begins.
async fn with_way_back(values: &'static str) -> Harness {
    let setup = Setup::default()
        .entries("[[delegations]]\nactor = 'warehouse'\ntarget = 'inventory'\nscopes = ['stock:read']\n");
    setup.registry(move |registry| registry.delegation("inventory", "warehouse", values)).start().await
}

async fn back_at_inventory(harness: &Harness) -> String {
    let first = harness.first_hop().await;
    let second = harness.exchange_by("inventory", &first, "warehouse").send().await;
    harness.exchange_by("warehouse", second.token(), "inventory").send().await.token().to_owned()
}

#[tokio::test]
async fn loops_an_actor_that_stands_in_the_chain_is_refused() {
    let harness = with_way_back("reentrant = false").await;
    let token = back_at_inventory(&harness).await;
    let again = harness.exchange_by("inventory", &token, "warehouse");
    harness.assert_refused("again", again, ErrorKind::Token, "actor_loop").await;
}

#[tokio::test]
async fn loops_a_reentrant_delegation_lets_an_actor_act_again() {
    let harness = with_way_back("reentrant = true").await;
    let token = back_at_inventory(&harness).await;
    let claims = harness.exchange_by("inventory", &token, "warehouse").send().await.claims();
    let actors: Vec<_> = std::iter::successors(Some(&claims["act"]), |act| act.get("act"))
        .map(|act| act["sub"].as_str().unwrap())
        .collect();
    assert_eq!(actors, ["inventory", "warehouse", "inventory", "coordinator"]);
}

#[tokio::test]
async fn loops_an_actor_of_another_namespace_is_another_actor() {
    let harness = Harness::start().await;
    for act in [json!({ "sub": "coordinator" }), json!({ "sub": "coordinator", "iss": "https://other.example" })] {
        with(&harness, &json!({ "act": act })).send().await.token();
    }
}

#[tokio::test]
async fn a_token_never_lacks_act_and_no_exchange_shortens_a_chain() {
    let harness = Harness::start().await;
    let first = harness.first_hop().await;
    let Credentials::Basic(id, secret) = harness.credentials("inventory") else { panic!("inventory has a secret") };
    let second = harness.exchange_by("inventory", &first, "warehouse").authenticated(Credentials::Post(id, secret));
    let claims = second.set("requested_token_type", JWT).send().await.claims();
    assert_eq!(claims["act"]["act"], harness.verify(&first).await["act"]);
}
