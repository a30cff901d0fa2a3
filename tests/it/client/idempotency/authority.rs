//! An outcome is for the authority under which it was done; a refusal for want of authority is not the end of an operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::Request;
use serde_json::{Value, json};
use sts_client::Caller;
use sts_client::idempotency::{Idempotency, IdempotencyLayer};

use super::{Agent, memory, request, send};

/// A handler that tells a salary to callers that may read it, and how often it has.
fn payroll(agent: &Agent) -> (Router, Arc<AtomicUsize>) {
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    let handler = move |caller: Caller| {
        let answer: Response = match caller.require_scope("payroll:read") {
            Ok(()) => format!("salary {}", counter.fetch_add(1, Ordering::SeqCst) + 1).into_response(),
            Err(refusal) => refusal.into_response(),
        };
        std::future::ready(answer)
    };
    let layer = IdempotencyLayer::new(Idempotency::new(memory(&agent.clock)), "payroll");
    (Router::new().route("/salary", post(handler)).layer(layer).layer(agent.verifier.layer()), told)
}

fn ask(agent: &Agent, changes: &Value) -> Request<axum::body::Body> {
    request(agent.headers_of(changes), "/salary", "k", "")
}

#[tokio::test]
async fn a_refusal_for_want_of_scope_is_answered_otherwise_once_the_scope_is_there() {
    let agent = Agent::start().await;
    let (app, told) = payroll(&agent);
    for _ in 0..2 {
        let refused = send(&app, ask(&agent, &json!({ "scope": "stock:read" }))).await;
        assert_eq!((refused.status, refused.header("idempotency-replayed")), (403, ""));
        assert!(refused.header("www-authenticate").contains("insufficient_scope"));
    }
    let answer = send(&app, ask(&agent, &json!({ "scope": "stock:read payroll:read" }))).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "salary 1"));
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_outcome_is_repeated_to_the_same_authority_alone() {
    let agent = Agent::start().await;
    let (app, told) = payroll(&agent);
    let first = json!({ "scope": "payroll:read stock:read", "roles": ["hr", "staff"], "acr": "mfa" });
    assert_eq!(send(&app, ask(&agent, &first)).await.text(), "salary 1");
    let same = [
        first.clone(),
        json!({ "scope": "stock:read payroll:read", "roles": ["staff", "hr"], "acr": "mfa" }),
        json!({ "scope": "payroll:read stock:read", "roles": ["hr", "staff"], "acr": "mfa", "jti": "another" }),
    ];
    for changes in &same {
        let answer = send(&app, ask(&agent, changes)).await;
        assert_eq!((answer.text().as_str(), answer.header("idempotency-replayed")), ("salary 1", "true"), "{changes}");
    }
    let others = [
        json!({ "scope": "stock:read", "roles": ["hr", "staff"], "acr": "mfa" }),
        json!({ "scope": "payroll:read", "roles": ["hr", "staff"], "acr": "mfa" }),
        json!({ "scope": "payroll:read stock:read payroll:write", "roles": ["hr", "staff"], "acr": "mfa" }),
        json!({ "scope": "payroll:read stock:read", "roles": ["hr"], "acr": "mfa" }),
        json!({ "scope": "payroll:read stock:read", "acr": "mfa" }),
        json!({ "scope": "payroll:read stock:read", "roles": ["hr", "staff"], "acr": "password" }),
        json!({ "scope": "payroll:read stock:read", "roles": ["hr", "staff"], "acr": "mfa", "groups": ["board"] }),
        json!({ "scope": "payroll:read stock:read", "roles": ["hr", "staff"], "acr": "mfa", "amr": ["pwd"] }),
    ];
    for changes in &others {
        let answer = send(&app, ask(&agent, changes)).await;
        assert_eq!(
            (answer.status, answer.json["code"].as_str()),
            (409, Some("IDEMPOTENCY_OTHER_AUTHORITY")),
            "{changes}"
        );
    }
    assert_eq!(told.load(Ordering::SeqCst), 1);
}
