//! I8, where the keys of an issuer, or of an agent, are out of reach.

use serde_json::json;
use sts_tests::{Credentials, Fault, FormRequest, Harness, Setup};

const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A server that could not read any key set when it started.
async fn cut_off() -> Harness {
    let setup = Setup::default().registry_with(|registry, names| {
        for issuer in [&names.idp, &names.cluster] {
            issuer.fail(Fault::Status(500));
        }
        registry.issuer_without(names.cluster.url(), &["jwks"]);
        let uri = names.cluster.jwks_uri();
        registry
            .add(&format!("[[agents]]\nid = \"remote\"\naccepts = [\"web-app\"]\nauth = {{ jwks_uri = \"{uri}\" }}"));
        registry.add("[[delegations]]\nactor = \"remote\"\ntarget = \"inventory\"\nscopes = [\"stock:read\"]");
    });
    setup.start().await
}

/// A client assertion of `remote`, whose keys are those of the cluster.
fn assertion(harness: &Harness) -> Credentials {
    let mut claims = harness.assertion_claims();
    claims["iss"] = json!("remote");
    claims["sub"] = json!("remote");
    Credentials::Assertion(harness.cluster.sign(&claims))
}

/// Requests that cannot be decided without keys that are out of reach.
fn undecidable(harness: &Harness) -> Vec<(&'static str, FormRequest)> {
    let workload = harness.workload_token_with(&json!({}));
    let by = |agent, token: &str| harness.exchange_by(agent, token, "inventory");
    vec![
        ("the user's issuer", harness.exchange()),
        ("the agent's issuer", by("runner", &harness.user_token())),
        (
            "the agent's issuer, by assertion",
            by("coordinator", &harness.user_token()).authenticated(Credentials::Assertion(workload.clone())),
        ),
        ("the agent's own keys", by("coordinator", &harness.user_token()).authenticated(assertion(harness))),
        (
            "the agent's own keys, to introspect",
            harness.introspect("coordinator", "x").authenticated(assertion(harness)),
        ),
        ("the agent's own keys, to revoke", harness.revoke("coordinator", "x").authenticated(assertion(harness))),
    ]
}

/// Requests that are refused whatever the keys are.
fn refused(harness: &Harness) -> Vec<(&'static str, u16, FormRequest)> {
    let garbage = harness.exchange().set("subject_token", "no token");
    let stranger = harness.user_token_with(&json!({ "iss": "https://unknown.example" }));
    let secret = Credentials::Basic("coordinator".to_owned(), "wrong".to_owned());
    let nobody = harness.assertion_with(&json!({ "iss": "nobody", "sub": "nobody" }));
    vec![
        ("garbage", 400, garbage),
        ("an unknown issuer", 400, harness.exchange().set("subject_token", stranger)),
        ("an unknown target", 400, harness.exchange().set("audience", "nobody")),
        ("a malformed scope", 400, harness.exchange().set("scope", "a \"b")),
        ("a wrong secret", 401, harness.exchange().authenticated(secret)),
        ("no credential", 401, harness.exchange().authenticated(Credentials::None)),
        ("an assertion of nobody", 401, harness.exchange().authenticated(Credentials::Assertion(nobody))),
        ("a garbage actor token", 400, harness.exchange().set("actor_token", "no token").set("actor_token_type", "x")),
    ]
}

#[tokio::test]
async fn i8_keys_out_of_reach_are_an_outage_and_refusals_stay_refusals() {
    let harness = cut_off().await;
    for (label, request) in undecidable(&harness) {
        let answer = request.send().await;
        assert_eq!((answer.status, answer.error()), (503, "temporarily_unavailable"), "{label}");
        assert!(!answer.header("retry-after").is_empty(), "{label}");
    }
    for (label, status, request) in refused(&harness) {
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{label}: {}", answer.text());
        assert!(!answer.headers.contains_key("retry-after"), "{label}");
    }
    assert_eq!(harness.token_count().await, 0);

    harness.idp.mend();
    harness.cluster.mend();
    harness.advance(2);
    for (label, request) in undecidable(&harness) {
        let answer = request.send().await;
        assert_eq!(answer.status, 200, "{label}: {}", answer.text());
    }
    for (label, status, request) in refused(&harness) {
        assert_eq!(request.send().await.status, status, "{label}");
    }
}

#[tokio::test]
async fn i8_a_forged_token_is_refused_though_its_issuer_has_gone() {
    let harness = Harness::start().await;
    let (token, forged) =
        (harness.user_token(), harness.cluster.key().sign_with(&harness.idp.key().header(), &harness.user_claims()));
    harness.idp.fail(Fault::Status(500));
    assert_eq!(harness.exchange().set("subject_token", token).send().await.status, 200);
    let answer = harness.exchange().set("subject_token", forged).set("subject_token_type", JWT_TYPE).send().await;
    assert_eq!((answer.status, answer.error()), (400, "invalid_request"));
}
