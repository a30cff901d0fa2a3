//! Decisions of users: who may decide, what they see, and the page.

use serde_json::{Value, json};
use sts_server::record::EventKind;
use sts_tests::{Answer, Harness, Wire};

use super::{awaited, event, on_both, setup, state, write};

const BY_USER: &str = "approval = { scopes = ['stock:write'], by = 'user' }";

/// The token of `alice` for this service, who has just signed in.
fn token(harness: &Harness, changes: &Value) -> String {
    let mut all = json!({ "aud": harness.issuer(), "auth_time": harness.now() });
    all.as_object_mut().expect("claims").extend(changes.as_object().expect("claims").clone());
    let token = harness.user_token_with(&all);
    harness.seen.remember(&token);
    token
}

async fn send(wire: &Wire, method: &str, id: &str, token: Option<&str>, body: Option<Value>) -> Answer {
    let mut request = wire.person(method, &format!("/approvals/{id}"));
    if let Some(token) = token {
        request = request.bearer(token);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await
}

async fn grant(harness: &Harness, id: &str, token: &str) -> Answer {
    send(harness.wire(), "POST", id, Some(token), Some(json!({ "decision": "grant" }))).await
}

#[tokio::test]
async fn a_user_sees_what_is_bound_and_grants_it() {
    for harness in on_both(BY_USER).await {
        let id = awaited(write(&harness)).await;
        let token = token(&harness, &json!({}));
        let shown = send(harness.wire(), "GET", &id, Some(&token), None).await;
        assert_eq!(shown.status, 200, "{}", shown.text());
        for (member, value) in [
            ("id", json!(id)),
            ("state", json!("pending")),
            ("client_id", json!("coordinator")),
            ("target", json!("inventory")),
            ("scope", json!("stock:write")),
            ("tenant_id", json!("acme")),
            ("sub", json!("alice")),
        ] {
            assert_eq!(shown.json[member], value, "{member}");
        }
        let granted = grant(&harness, &id, &token).await;
        assert_eq!((granted.status, &granted.json["state"]), (200, &json!("granted")), "{}", granted.text());
        assert_eq!(granted.header("cache-control"), "no-store");
        let event = event(&harness, granted.header("x-correlation-id")).await;
        assert_eq!((event.event, event.approval.as_deref()), (EventKind::ApprovalGranted, Some(id.as_str())));
        assert_eq!((event.sub.as_deref(), event.admin), (Some("alice"), None));
        write(&harness).send().await.token();

        let withdrawn = send(harness.wire(), "POST", &id, Some(&token), Some(json!({ "decision": "withdraw" }))).await;
        assert_eq!(withdrawn.json["state"], "withdrawn");
        assert_ne!(awaited(write(&harness)).await, id);
    }
}

#[tokio::test]
async fn nobody_else_decides() {
    let harness = setup(BY_USER).start().await;
    let id = awaited(write(&harness)).await;
    let now = harness.now();
    let with = |changes: Value| token(&harness, &changes);
    let agents = harness.exchange().set("scope", "stock:read").send().await.token().to_owned();
    let account = harness.client_credentials().set("scope", "stock:read").send().await.token().to_owned();
    let acting = json!({ "sub": "coordinator", "iss": "https://other.example" });
    let workload = harness.workload_token_with(&json!({ "auth_time": now }));
    let cases = [
        ("the token that an agent holds", with(json!({ "aud": "web-app" })), 401),
        ("addressed to an agent too", with(json!({ "aud": [harness.issuer(), "web-app"] })), 401),
        ("addressed to nobody", with(json!({ "aud": null })), 401),
        ("with an actor", with(json!({ "act": acting })), 401),
        ("of a service account", with(json!({ "tenant_ids": ["acme"] })), 401),
        ("bound to a key", with(json!({ "cnf": { "jkt": "x" } })), 401),
        ("signed in eleven minutes ago", with(json!({ "auth_time": now - 601 })), 401),
        ("signed in in the future", with(json!({ "auth_time": now + 31 })), 401),
        ("without auth_time", with(json!({ "auth_time": null })), 401),
        ("auth_time as text", with(json!({ "auth_time": now.to_string() })), 401),
        ("an ID token", with(json!({ "nonce": "n" })), 401),
        ("an ID token of a flow", with(json!({ "at_hash": "h" })), 401),
        ("an ID token of Keycloak", with(json!({ "typ": "ID" })), 401),
        ("issued to an agent", with(json!({ "azp": "coordinator" })), 401),
        ("issued to an agent, by RFC 9068", with(json!({ "client_id": "inventory" })), 401),
        ("expired", with(json!({ "exp": now - 1 })), 401),
        ("of an agent by name", with(json!({ "sub": "coordinator" })), 401),
        ("another user", with(json!({ "sub": "bob" })), 404),
        ("the user in another tenant", with(json!({ "org_id": "globex" })), 404),
        ("without a tenant", with(json!({ "org_id": null })), 401),
        ("a token of ours", agents, 401),
        ("a service account of ours", account, 401),
        ("a workload", workload, 401),
        ("no JWT", "token".to_owned(), 401),
    ];
    for (label, token, status) in cases {
        harness.seen.remember(&token);
        for (method, body) in [("GET", None), ("POST", Some(json!({ "decision": "grant" })))] {
            let answer = send(harness.wire(), method, &id, Some(&token), body).await;
            assert_eq!(answer.status, status, "{label}: {method}: {}", answer.text());
            assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "{label}");
        }
        assert_eq!(state(&harness, &id).await, "pending", "{label}");
    }
    for (label, changes) in [
        ("ten minutes", json!({ "auth_time": now - 600 })),
        ("an array", json!({ "aud": [harness.issuer()] })),
        ("issued to a portal", json!({ "azp": "portal", "client_id": "portal" })),
    ] {
        let answer = send(harness.wire(), "GET", &id, Some(&with(changes)), None).await;
        assert_eq!(answer.status, 200, "{label}: {}", answer.text());
    }
    assert_eq!(grant(&harness, &id, &with(json!({}))).await.status, 200);
}

#[tokio::test]
async fn an_unknown_approval_is_answered_as_that_of_another() {
    let mut harness = setup(BY_USER).start().await;
    let id = awaited(write(&harness)).await;
    let bob = token(&harness, &json!({ "sub": "bob" }));
    let others = send(harness.wire(), "GET", &id, Some(&bob), None).await;
    let unknown = send(harness.wire(), "GET", "unknown", Some(&bob), None).await;
    assert_eq!((others.status, others.text()), (unknown.status, unknown.text()));
    let approval = "approval = { scopes = ['stock:write'], by = 'operator' }";
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", approval)).await;
    let id = awaited(write(&harness)).await;
    let answer = grant(&harness, &id, &token(&harness, &json!({}))).await;
    assert_eq!(answer.status, 404, "an operator decides: {}", answer.text());
}

#[tokio::test]
async fn a_malformed_request_decides_nothing() {
    let harness = setup(BY_USER).start().await;
    let id = awaited(write(&harness)).await;
    let token = token(&harness, &json!({}));
    for body in
        [json!({}), json!({ "decision": "approve" }), json!({ "decision": 1 }), json!({ "decision": "grant", "x": 1 })]
    {
        let answer = send(harness.wire(), "POST", &id, Some(&token), Some(body.clone())).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    let person = || harness.wire().person("POST", &format!("/approvals/{id}"));
    let form = "application/x-www-form-urlencoded";
    for (label, request, status) in [
        ("no token", person().json(&json!({ "decision": "grant" })), 401),
        (
            "another scheme",
            person().header("authorization", &format!("DPoP {token}")).json(&json!({ "decision": "grant" })),
            400,
        ),
        (
            "two headers",
            person().bearer(&token).another_header("authorization", "Bearer x").json(&json!({ "decision": "grant" })),
            400,
        ),
        (
            "two tokens",
            person().bearer(&token).header("content-type", form).body(format!("token={token}&decision=grant")),
            400,
        ),
        ("no decision", person().bearer(&token).header("content-type", form).body("x=y"), 400),
        (
            "a repeated decision",
            person().bearer(&token).header("content-type", form).body("decision=grant&decision=deny"),
            400,
        ),
        ("another body", person().bearer(&token).header("content-type", "text/plain").body("grant"), 400),
    ] {
        assert_eq!(request.send().await.status, status, "{label}");
        assert_eq!(state(&harness, &id).await, "pending", "{label}");
    }
    assert_eq!(grant(&harness, &id, &token).await.status, 200);
    assert_eq!(grant(&harness, &id, &token).await.status, 409);
}

#[tokio::test]
async fn a_portal_posts_the_token_and_the_user_decides_on_a_page() {
    let harness = setup(BY_USER).start().await;
    let id = awaited(write(&harness)).await;
    let token = token(&harness, &json!({}));
    let page = async |body: String| {
        let request = harness.wire().person("POST", &format!("/approvals/{id}")).header("accept", "text/html");
        request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await
    };
    let shown = page(format!("token={token}")).await;
    assert_eq!((shown.status, shown.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = shown.header("content-security-policy").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    for part in ["coordinator", "inventory", "stock:write", "alice", "acme", "value=\"grant\"", "value=\"deny\""] {
        assert!(shown.text().contains(part), "{part}: {}", shown.text());
    }
    assert!(!shown.text().contains("<script"), "{}", shown.text());
    assert_eq!(state(&harness, &id).await, "pending", "to look decides nothing");
    let denied = page(format!("token={token}&decision=deny")).await;
    assert_eq!(denied.status, 200);
    assert!(denied.text().contains("denied") && !denied.text().contains("<form"), "{}", denied.text());
    assert_eq!(state(&harness, &id).await, "denied");

    let link = harness.wire().person("GET", &format!("/approvals/{id}")).header("accept", "text/html,*/*").send().await;
    assert_eq!((link.status, link.header("content-type")), (401, "text/html; charset=utf-8"));
    assert!(!link.text().contains("alice"), "who comes with a link alone sees nothing: {}", link.text());
}

#[tokio::test]
async fn a_revoked_user_decides_nothing() {
    let harness = setup(BY_USER).start().await;
    let id = awaited(write(&harness)).await;
    let token = token(&harness, &json!({}));
    let answer = harness.admin("POST", "/revocations").by("operator").json(&json!({ "sub": "alice" })).send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(grant(&harness, &id, &token).await.status, 401);
    assert_eq!(state(&harness, &id).await, "ended");
}
