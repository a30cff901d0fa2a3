//! A key is the caller's own: it counts within (tenant, caller, route), and these are verified.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use serde_json::json;
use sts_client::idempotency::{Idempotency, IdempotencyLayer};
use sts_jose::{Clock as _, ManualClock, SystemClock};

use super::{Agent, memory, request, send};

#[tokio::test]
async fn another_user_or_tenant_or_actor_with_the_same_key_is_another_operation() {
    let agent = Agent::start().await;
    let callers = [
        json!({}),
        json!({ "sub": "bob" }),
        json!({ "org_id": "globex" }),
        json!({ "act": { "sub": "coordinator" } }),
        json!({ "act": { "sub": "other" } }),
    ];
    for (number, caller) in callers.iter().enumerate() {
        let answer = agent.send(request(agent.headers_of(caller), "/reserve/tea", "k", "body")).await;
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (201, ""), "{caller}");
        assert_eq!(agent.reserved(), number + 1, "{caller}");
    }
    for caller in &callers {
        let answer = agent.send(request(agent.headers_of(caller), "/reserve/tea", "k", "body")).await;
        assert_eq!(answer.header("idempotency-replayed"), "true", "{caller}");
    }
    let later = json!({ "exp": 1_800_000_900, "act": { "sub": "other", "act": { "sub": "x" } } });
    let answer = agent.send(request(agent.headers_of(&later), "/reserve/tea", "k", "body")).await;
    assert_eq!(answer.header("idempotency-replayed"), "true", "another token of the same caller");
}

#[tokio::test]
async fn a_tenant_that_a_header_names_changes_nothing() {
    let agent = Agent::start().await;
    agent.send(agent.post("/reserve/tea", "k", "")).await;
    let mut named = agent.post("/reserve/tea", "k", "");
    named.headers_mut().insert("x-tenant-id", "globex".parse().unwrap());
    assert_eq!(agent.send(named).await.status, 403);
    let mut repeated = agent.post("/reserve/tea", "k", "");
    repeated.headers_mut().insert("x-tenant-id", "acme".parse().unwrap());
    assert_eq!(agent.send(repeated).await.header("idempotency-replayed"), "true");
    assert_eq!(agent.reserved(), 1);
}

#[tokio::test]
async fn without_a_verifier_before_it_nobody_with_a_key_is_served() {
    let store = memory(&ManualClock::new(SystemClock.now()));
    let layer = IdempotencyLayer::new(Idempotency::new(Arc::clone(&store)), "open");
    let app: Router = Router::new().route("/reserve/tea", post(async || "reserved")).layer(layer);
    let answer = send(&app, request(Default::default(), "/reserve/tea", "k", "")).await;
    assert_eq!((answer.status, answer.json["code"].as_str()), (500, Some("MISCONFIGURED")));
}

#[tokio::test]
async fn layers_of_two_names_share_a_store_and_no_keys() {
    let agent = Agent::start().await;
    let store = memory(&agent.clock);
    let named = |name: &'static str| {
        let layer = IdempotencyLayer::new(Idempotency::new(Arc::clone(&store)), name);
        let inner = Router::new().route("/x", post(move || async move { name })).layer(layer);
        Router::new().nest(&format!("/{name}"), inner)
    };
    let app = named("a").merge(named("b")).layer(agent.verifier.layer());
    assert_eq!(send(&app, agent.post("/a/x", "k", "")).await.text(), "a");
    assert_eq!(send(&app, agent.post("/b/x", "k", "")).await.text(), "b");
}
