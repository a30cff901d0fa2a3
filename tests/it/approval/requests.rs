//! The request for an approval, and the exchange that passes once it is granted.

use serde_json::json;
use sts_server::error_kind::ErrorKind;
use sts_server::record::EventKind;
use sts_tests::members;

use super::{BY_OPERATOR, awaited, decided, event, id_of, is_refusal_for, on_both, setup, state, write};

#[tokio::test]
async fn an_exchange_passes_once_its_approval_is_granted_and_as_long_as_it_is_remembered() {
    for harness in on_both(BY_OPERATOR).await {
        let request = write(&harness);
        let correlation_id = request.correlation_id();
        let answer = request.send().await;
        let id = id_of(&answer);
        assert_eq!(members(&answer.json), ["approval_id", "approver", "error", "error_description", "interaction_uri"]);
        assert_eq!(answer.json["approver"], "operator");
        assert_eq!(answer.json["interaction_uri"], format!("{}/approvals/{id}", harness.issuer()));
        assert_eq!(answer.header("cache-control"), "no-store");
        let requested = event(&harness, &correlation_id).await;
        assert_eq!((requested.event, requested.approval.as_deref()), (EventKind::ApprovalRequested, Some(id.as_str())));
        assert_eq!(requested.scope.map(|scope| scope.to_string()).as_deref(), Some("stock:write"));
        assert_eq!(harness.token_count().await, 0);

        let again = write(&harness);
        let correlation_id = again.correlation_id();
        assert_eq!(awaited(again).await, id, "equal requests share one approval");
        let refused = event(&harness, &correlation_id).await;
        assert!(is_refusal_for(&refused, &id), "{refused:?}");

        decided(&harness, &id, "grant").await;
        let request = write(&harness);
        let correlation_id = request.correlation_id();
        let claims = request.send().await.claims();
        assert_eq!(claims["scope"], "stock:write");
        let issued = event(&harness, &correlation_id).await;
        assert_eq!((issued.event, issued.approval.as_deref()), (EventKind::TokenIssued, Some(id.as_str())));
        write(&harness).send().await.token();

        harness.advance(10 * 60);
        assert_ne!(awaited(write(&harness)).await, id, "the approval is remembered for ten minutes");
    }
}

#[tokio::test]
async fn what_needs_no_approval_passes_without_one() {
    let harness = setup(BY_OPERATOR).start().await;
    harness.exchange().set("scope", "stock:read").send().await.token();
    let lookup = json!([{ "type": "mcp_tool", "actions": ["lookup"] }]).to_string();
    harness.exchange().set("scope", "stock:read").set("authorization_details", lookup).send().await.token();
    awaited(harness.exchange()).await;
    harness.exchange_by("reporter", &harness.user_token(), "inventory").send().await.token();
}

#[tokio::test]
async fn an_approval_is_of_exactly_what_would_be_granted() {
    let harness = setup(BY_OPERATOR).start().await;
    let refund = |amount: u32| {
        let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": amount } }]);
        harness.exchange().set("scope", "stock:read").set("authorization_details", details.to_string())
    };
    let id = awaited(refund(50)).await;
    decided(&harness, &id, "grant").await;
    refund(50).send().await.token();
    let bob = harness.user_token_with(&json!({ "sub": "bob" }));
    let globex = harness.user_token_with(&json!({ "org_id": "globex" }));
    let mut others = vec![id];
    for (label, request) in [
        ("another amount", refund(51)),
        ("a smaller one", refund(49)),
        ("another scope", refund(50).set("scope", "stock:read stock:write")),
        ("another user", refund(50).set("subject_token", bob)),
        ("another tenant", refund(50).set("subject_token", globex)),
        ("the scope alone", write(&harness)),
    ] {
        let id = awaited(request).await;
        assert!(!others.contains(&id), "{label}");
        others.push(id);
    }
    refund(50).send().await.token();
}

#[tokio::test]
async fn a_denied_request_is_refused_until_it_would_have_expired() {
    for harness in on_both(BY_OPERATOR).await {
        let id = awaited(write(&harness)).await;
        decided(&harness, &id, "deny").await;
        let denied = write(&harness);
        harness.assert_refused("denied", denied, ErrorKind::Denied, "approval_denied").await;
        harness.advance(5 * 60);
        assert_ne!(awaited(write(&harness)).await, id);
    }
}

#[tokio::test]
async fn a_request_without_a_decision_expires_with_an_event() {
    for harness in on_both(BY_OPERATOR).await {
        let id = awaited(write(&harness)).await;
        harness.advance(5 * 60 - 1);
        assert_eq!(awaited(write(&harness)).await, id);
        harness.advance(1);
        assert_eq!(state(&harness, &id).await, "expired");
        assert_ne!(awaited(write(&harness)).await, id);
        let administration = harness.administration().await;
        administration.expire_approvals().await.expect("a database");
        assert_eq!(administration.expire_approvals().await.expect("a database"), 0, "each once");
        assert_eq!(harness.approval_events(&id).await, [EventKind::ApprovalRequested, EventKind::ApprovalExpired]);
    }
}

#[tokio::test]
async fn a_service_account_gets_nothing_that_needs_an_approval() {
    let harness = setup(BY_OPERATOR).start().await;
    let request = || harness.client_credentials();
    let answer = request().send().await;
    assert_eq!(answer.claims()["scope"], "stock:read", "what is left when no scope is named");
    let refund = json!([{ "type": "mcp_tool", "actions": ["refund"] }]).to_string();
    let any = json!([{ "type": "mcp_tool", "actions": ["lookup", "refund"] }]).to_string();
    let cases = [
        ("the scope", request().set("scope", "stock:write")),
        ("with another", request().set("scope", "stock:read stock:write")),
        ("the action", request().set("authorization_details", refund)),
        ("the action beside another", request().set("authorization_details", any)),
    ];
    let cases = cases.map(|(label, request)| (label, request, ErrorKind::Grant, "approval_without_user"));
    harness.assert_each_refused(request, cases).await;
}

#[tokio::test]
async fn a_user_is_asked_a_bounded_number_of_times() {
    for harness in on_both(BY_OPERATOR).await {
        let request = |amount: u32| {
            let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": amount } }]);
            harness.exchange().set("authorization_details", details.to_string())
        };
        let mut ids = Vec::new();
        for amount in 0..30 {
            ids.push(awaited(request(amount)).await);
        }
        decided(&harness, &ids[0], "deny").await;
        harness.assert_refused("one more", request(30), ErrorKind::TooMany, "too_many_approvals").await;
        assert_eq!(awaited(request(1)).await, ids[1], "what is known is no new request");
        let token = harness.user_token_with(&json!({ "sub": "bob" }));
        awaited(request(30).set("subject_token", token)).await;
        harness.advance(60 * 60);
        awaited(request(30)).await;
    }
}

/// The statement that copies the one approval, past the servers.
fn copies(count: u32, state: &str, [user, requested_at]: [&str; 2]) -> String {
    format!(
        "INSERT INTO approvals
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         SELECT 'x' || i, 'x' || i, '{state}', principal_iss, {user}, 'x', tenant_id, agents, {requested_at}, expires_at,
                version, body, code
         FROM approvals, n"
    )
}

#[tokio::test]
async fn approvals_are_bounded_of_a_user_and_over_all_users() {
    for harness in on_both(BY_OPERATOR).await {
        let id = awaited(write(&harness)).await;
        for (copies, reason) in [
            (copies(9_999, "pending", ["'x' || i", "requested_at"]), "too_many_pending_approvals"),
            (copies(10_000, "granted", ["'x' || i", "requested_at"]), "too_many_remembered_approvals"),
            (copies(299, "granted", ["principal_sub", "requested_at - 7200000"]), "too_many_approvals"),
        ] {
            harness.execute(&copies).await;
            let another = write(&harness).set("scope", "stock:read stock:write");
            harness.assert_refused(reason, another, ErrorKind::TooMany, reason).await;
            harness.execute("DELETE FROM approvals WHERE id LIKE 'x%'").await;
        }
        harness.execute(&copies(600, "denied", ["principal_sub", "requested_at - 7200000"])).await;
        let another = awaited(write(&harness).set("scope", "stock:read stock:write")).await;
        assert_ne!(another, id, "closed approvals lock no user out");
    }
}

#[tokio::test]
async fn explain_says_what_needs_an_approval_and_which_one_allows_it() {
    let harness = setup(BY_OPERATOR).start().await;
    let explained = async || {
        let question = json!({
            "actor": "coordinator", "target": ["inventory"], "subject_token": harness.user_token(), "scope": "stock:write",
        });
        harness.admin("POST", "/explain").by("reader").json(&question).send().await.json
    };
    let outcome = explained().await["outcome"].clone();
    assert_eq!(
        outcome,
        json!({
            "outcome": "approval_required", "delegation": "coordinator->inventory", "by": "operator", "approval": null,
            "sub": "alice", "target": "inventory", "scope": "stock:write", "authorization_details": [],
            "tenant_id": "acme",
        })
    );
    let id = awaited(write(&harness)).await;
    assert_eq!(explained().await["outcome"]["approval"], id);
    decided(&harness, &id, "grant").await;
    let explained = explained().await;
    assert_eq!(explained["outcome"]["outcome"], "allowed");
    let steps = explained["steps"].to_string();
    assert!(steps.contains(&format!("with the approval {id}")), "{steps}");
}

#[tokio::test]
async fn an_equal_request_at_another_server_shares_the_approval_and_its_grant() {
    for harness in on_both(BY_OPERATOR).await {
        let replica = harness.replica().await;
        let at_replica = || write(&harness).at(&replica.wire);
        let id = awaited(write(&harness)).await;
        assert_eq!(awaited(at_replica()).await, id);
        decided(&harness, &id, "grant").await;
        replica.server.sts().refresh().await.expect("a database");
        at_replica().send().await.token();
    }
}

#[tokio::test]
async fn a_credential_that_asks_for_an_approval_is_spent() {
    let approval = "approval = { scopes = ['stock:read'], by = 'operator' }";
    let setup = sts_tests::Setup::default().operators();
    let harness = setup.registry(move |registry| registry.delegation("reporter", "inventory", approval)).start().await;
    let request = || harness.exchange_by("reporter", &harness.user_token(), "inventory");
    let first = request();
    let id = awaited(first.clone()).await;
    let replayed = first.header("x-correlation-id", "replayed-1");
    harness.assert_refused("replayed", replayed, ErrorKind::Client, "assertion_replayed").await;
    let again = request();
    assert_eq!(awaited(again.clone()).await, id);
    let replayed = again.header("x-correlation-id", "replayed-2");
    harness.assert_refused("replayed", replayed, ErrorKind::Client, "assertion_replayed").await;
}
