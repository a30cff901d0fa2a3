//! Entries that the API makes, changes and deletes.

use serde_json::{Value, json};
use sts_tests::{Harness, Setup};

use super::{assert_refused, etag, make, on_both, pointers, robot};

#[tokio::test]
async fn an_entry_is_made_read_changed_and_deleted_and_each_holds_when_it_is_answered() {
    for harness in on_both().await {
        let first = make(&harness, "/agents/robot", &robot()).await;
        let delegation = json!({ "actor": "coordinator", "target": "robot", "scopes": ["stock:read"] });
        make(&harness, "/delegations/coordinator-%3Erobot", &delegation).await;
        let issued = harness.exchange().set("audience", "robot").send().await;
        assert_eq!(issued.claims()["aud"], "robot", "the next request knows the agent and the delegation");

        let got = harness.admin("GET", "/agents/robot").by("reader").send().await;
        assert_eq!((got.status, got.header("etag"), got.header("entry-origin")), (200, first.as_str(), "api"));
        assert_eq!(got.json["audience"], json!(["robot", "https://robot.example/"]));
        assert_eq!((&got.json["token_ttl"], &got.json["disabled"]), (&json!("5m"), &json!(false)), "defaults are told");

        let changed = json!({ "id": "robot", "disabled": true });
        let put = harness.admin("PUT", "/agents/robot").by("admin").if_match(&first).json(&changed).send().await;
        assert_eq!(put.status, 200, "{}", put.text());
        assert_ne!(put.header("etag"), first);
        assert_eq!(harness.exchange().set("audience", "robot").send().await.error(), "invalid_target");

        let path = "/delegations/coordinator-%3Erobot";
        let gone = harness.admin("DELETE", path).by("admin").if_match(&etag(&harness, path).await).send().await;
        assert_eq!((gone.status, gone.body.len()), (204, 0));
        let gone = harness.admin("DELETE", "/agents/robot").by("admin").if_match(put.header("etag")).send().await;
        assert_eq!(gone.status, 204, "{}", gone.text());
        assert_refused(&harness, "gone", harness.admin("GET", "/agents/robot").by("reader"), 404, "not_found").await;
    }
}

#[tokio::test]
async fn what_is_read_can_be_put_back_and_changes_nothing() {
    for harness in on_both().await {
        let issuer = json!({ "issuer": "https://login.example.com", "jwks_uri": "https://login.example.com/jwks", "tenant": "acme" });
        make(&harness, "/issuers/https%3A%2F%2Flogin.example.com", &issuer).await;
        make(&harness, "/agents/robot", &json!({ "id": "robot", "auth": { "client_secret_sha256": "0".repeat(64) } }))
            .await;
        let version = harness.store.state().await.expect("a database").versions.registry;
        let mut count = 0;
        for kind in ["issuers", "agents", "delegations"] {
            let listed = harness.admin("GET", &format!("/{kind}")).by("reader").send().await;
            for entry in listed.json["entries"].as_array().expect("entries") {
                let id = entry["id"].as_str().expect("an id");
                let path = format!("/{kind}/{}", percent_encoded(id));
                let got = harness.admin("GET", &path).by("reader").send().await;
                assert_eq!(got.json, entry["entry"], "{path}");
                assert_eq!(got.header("etag"), format!("\"{}\"", entry["etag"].as_str().expect("an etag")), "{path}");
                assert_eq!(got.header("entry-origin"), entry["origin"], "{path}");
                let put = harness.admin("PUT", &path).by("operator").if_match(got.header("etag")).json(&got.json);
                let put = put.send().await;
                assert_eq!((put.status, put.header("etag")), (200, got.header("etag")), "{path}: {}", put.text());
                assert_eq!(put.json, got.json, "{path}");
                count += 1;
            }
        }
        assert!(count > 12, "the standard registry and two more: {count}");
        assert_eq!(harness.store.state().await.expect("a database").versions.registry, version);
    }
}

fn percent_encoded(id: &str) -> String {
    id.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn rfc_9110_section_13_a_change_names_what_it_changes() {
    let harness = &on_both().await[0];
    let tag = make(harness, "/agents/robot", &robot()).await;
    let put = |path: &str| harness.admin("PUT", path).by("admin").json(&robot());
    let delete = || harness.admin("DELETE", "/agents/robot").by("admin");
    for (label, request, status, reason) in [
        ("put blindly", put("/agents/robot"), 428, "precondition_required"),
        ("make blindly", put("/agents/other").json(&json!({ "id": "other" })), 428, "precondition_required"),
        ("make again", put("/agents/robot").if_new(), 412, "precondition_failed"),
        ("another tag", put("/agents/robot").if_match("\"abc\""), 412, "precondition_failed"),
        ("a weak tag", put("/agents/robot").if_match(&format!("W/{tag}")), 412, "precondition_failed"),
        ("of none", put("/agents/other").if_match(&tag).json(&json!({ "id": "other" })), 412, "precondition_failed"),
        ("an empty tag", put("/agents/robot").if_match(""), 400, "parameters_malformed"),
        ("no tag", put("/agents/robot").if_match("abc"), 400, "parameters_malformed"),
        ("a tag to be new", put("/agents/robot").header("if-none-match", &tag), 400, "parameters_malformed"),
        ("both", put("/agents/robot").if_match(&tag).if_new(), 400, "parameters_malformed"),
        ("delete blindly", delete(), 428, "precondition_required"),
        ("delete another", delete().if_match("\"abc\""), 412, "precondition_failed"),
    ] {
        assert_refused(harness, label, request, status, reason).await;
    }
    let put = put("/agents/robot").if_match(&format!("\"abc\", {tag}")).json(&json!({ "id": "robot" })).send().await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(delete().header("if-match", "*").send().await.status, 204);
}

#[tokio::test]
async fn every_fault_of_a_body_is_told_with_its_place() {
    let harness = &on_both().await[0];
    let body = json!({
        "id": "robot", "audiense": [], "tenants": ["*", "acme"], "token_ttl": "soon", "auth": {
            "client_secret_hash": "a secret, put there by mistake",
            "workload": [{ "issuer": "https://k8s.example.com", "subjet": "x" }],
        }, "disabled": null,
    });
    let request = harness.admin("PUT", "/agents/robot").by("admin").if_new().json(&body);
    let answer = assert_refused(harness, "many faults", request, 422, "body_at_fault").await;
    let mut found = pointers(&answer);
    found.sort_unstable();
    assert_eq!(
        found,
        ["/audiense", "/auth/workload/0/subjet", "/disabled", "/tenants", "/token_ttl"],
        "{}",
        answer.text()
    );
    assert!(answer.text().contains("did you mean \\\"audience\\\"?"), "{}", answer.text());
    assert!(!answer.text().contains("by mistake"), "{}", answer.text());
}

#[tokio::test]
async fn the_rules_of_the_registry_file_hold_for_each_entry() {
    let harness = &on_both().await[0];
    let agent = |body: Value| ("/agents/robot", body);
    let delegation = |body: Value| ("/delegations/robot-%3Eshelf", body);
    let issuer = |body: Value| ("/issuers/https%3A%2F%2Fx.example", body);
    for ((path, body), pointer) in [
        (agent(json!({})), "none"),
        (agent(json!({ "id": "other" })), "/id"),
        (agent(json!({ "id": "robot", "audience": ["inventory-agent"] })), "/audience/0"),
        (agent(json!({ "id": "robot", "default_target": "nobody" })), "/default_target"),
        (agent(json!({ "id": "robot", "signing_alg": "HS256" })), "/signing_alg"),
        (agent(json!({ "id": "robot", "auth": { "client_secret_hash": "x" } })), "/auth/client_secret_hash"),
        (agent(json!({ "id": "robot", "auth": { "client_secret_sha256": "withheld" } })), "/auth/client_secret_sha256"),
        (agent(json!({ "id": "robot", "auth": { "jwks_uri": "http://keys.example/" } })), "/auth/jwks_uri"),
        (agent(json!({ "id": "robot", "auth": { "jwks": { "keys": [7] } } })), "/auth/jwks"),
        (delegation(json!({ "actor": "robot", "target": "shelf", "scopes": ["a"] })), "/actor"),
        (delegation(json!({ "actor": "coordinator", "target": "shelf", "scopes": ["a"] })), "/actor"),
        (issuer(json!({ "issuer": "https://y.example" })), "/issuer"),
        (issuer(json!({ "issuer": "https://x.example", "algorithms": ["HS256"] })), "/algorithms/0"),
        (issuer(json!({ "issuer": "https://x.example", "jwks_file": "/etc/keys.json" })), "/jwks_file"),
        (issuer(json!({ "issuer": "https://x.example", "ca_file": "/dev/zero" })), "/ca_file"),
        (
            issuer(
                json!({ "issuer": "https://x.example", "jwks_uri": "https://x.example/", "jwks_bearer_token_file": "/etc/shadow" }),
            ),
            "/jwks_bearer_token_file",
        ),
    ] {
        let label = body.to_string();
        let request = harness.admin("PUT", path).by("admin").if_new().json(&body);
        let answer = assert_refused(harness, &label, request, 422, "body_at_fault").await;
        // A missing key is a fault of the whole.
        let found = pointers(&answer);
        assert!(found.contains(&pointer) || (pointer == "none" && found == [""]), "{label}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_issuer_of_the_registry_file_can_be_disabled_though_it_names_files() {
    let setup = Setup::default().operators().registry_with(|registry, names| {
        std::fs::write(names.directory.join("bearer"), "a-token").unwrap();
        registry.issuer(names.idp.url(), "jwks_bearer_token_file = 'bearer'");
    });
    let harness = setup.start().await;
    harness.exchange().send().await.token();
    let path = format!("/issuers/{}", percent_encoded(harness.idp.url()));
    let mut entry = harness.admin("GET", &path).by("reader").send().await.json;
    entry["disabled"] = json!(true);
    let put = harness.admin("PUT", &path).by("operator").if_match(&etag(&harness, &path).await).json(&entry);
    let put = put.send().await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(harness.exchange().send().await.status, 400);
}

#[tokio::test]
async fn no_change_leaves_the_registry_at_fault() {
    for harness in on_both().await {
        make(&harness, "/agents/robot", &robot()).await;
        let delegation = json!({ "actor": "coordinator", "target": "robot", "scopes": ["stock:read"] });
        make(&harness, "/delegations/coordinator-%3Erobot", &delegation).await;
        let delete = harness.admin("DELETE", "/agents/robot").by("admin").header("if-match", "*");
        let answer = assert_refused(&harness, "its delegation stays", delete, 409, "registry_at_fault").await;
        assert!(answer.text().contains("\\\"robot\\\" of a delegation is not an agent"), "{}", answer.text());
        let overlapping = harness.admin("PUT", "/delegations/coordinator-%3Erobot%232").by("admin").if_new();
        let overlapping = overlapping.json(&delegation);
        assert_refused(&harness, "covers the same", overlapping, 422, "body_at_fault").await;
    }
}

#[tokio::test]
async fn a_second_delegation_of_a_pair_has_a_number() {
    let harness = &on_both().await[0];
    make(harness, "/agents/robot", &json!({ "id": "robot" })).await;
    let of = |tenant: &str| json!({ "actor": "coordinator", "target": "robot", "scopes": ["a"], "tenants": [tenant] });
    make(harness, "/delegations/coordinator-%3Erobot", &of("acme")).await;
    make(harness, "/delegations/coordinator-%3Erobot%232", &of("globex")).await;
    for id in
        ["coordinator-%3Erobot%231", "coordinator-%3Erobot%2302", "coordinator-%3Erobot%23x", "coordinator-%3Eshelf"]
    {
        let request = harness.admin("PUT", &format!("/delegations/{id}")).by("admin").if_new().json(&of("initech"));
        assert_refused(harness, id, request, 422, "body_at_fault").await;
    }
}

#[tokio::test]
async fn hashes_of_secrets_are_withheld_and_stay_where_they_are_put_back() {
    let harness = &on_both().await[0];
    let secret = "a random secret of 256 bits, or not";
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let sha256 = sts_jose::hex(sha256.as_ref());
    let body = json!({ "id": "robot", "auth": { "client_secret_sha256": sha256 } });
    let first = make(harness, "/agents/robot", &body).await;
    let got = harness.admin("GET", "/agents/robot").by("admin").send().await;
    assert_eq!(got.json["auth"], json!({ "client_secret_sha256": "withheld" }));
    for path in ["/agents", "/audit?limit=1000"] {
        assert!(!harness.admin("GET", path).by("admin").send().await.text().contains(&sha256), "{path}");
    }
    let mut changed = got.json.clone();
    changed["tenants"] = json!(["acme"]);
    let put = harness.admin("PUT", "/agents/robot").by("admin").if_match(&first).json(&changed).send().await;
    assert_eq!((put.status, &put.json["auth"]["client_secret_sha256"]), (200, &json!("withheld")), "{}", put.text());
    assert!(is_known(harness, secret).await, "the secret is what it was");
}

/// Whether the secret is the robot's: then it is refused for another reason than its authentication.
async fn is_known(harness: &Harness, secret: &str) -> bool {
    let request =
        harness.exchange().authenticated(sts_tests::Credentials::Basic("robot".to_owned(), secret.to_owned()));
    request.send().await.error() != "invalid_client"
}
