//! Decisions of operators.

use serde_json::json;
use sts_server::record::EventKind;

use super::{BY_OPERATOR, awaited, decide, decided, event, on_both, setup, state, write};

const BY_USER: &str = "approval = { scopes = ['stock:write'], by = 'user' }";

#[tokio::test]
async fn a_decision_shows_what_is_bound_and_is_recorded() {
    for harness in on_both(BY_OPERATOR).await {
        let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": 50 } }]);
        let request = write(&harness).set("authorization_details", details.to_string());
        let id = awaited(request.clone()).await;
        let shown = harness.admin("GET", &format!("/approvals/{id}")).by("reader").send().await.json;
        let expected = json!({
            "id": id, "state": "pending", "by": "operator", "sub": "alice", "subject_issuer": harness.idp.url(),
            "tenant_id": "acme", "client_id": "coordinator", "actors": ["coordinator"], "target": "inventory",
            "scope": "stock:write", "authorization_details": details, "delegation": "coordinator->inventory",
            "remember": "10m", "requested_at": shown["requested_at"], "expires_at": shown["expires_at"],
        });
        assert_eq!(shown, expected);
        let listed = harness.admin("GET", "/approvals").by("reader").send().await.json;
        assert_eq!(listed, json!({ "approvals": [expected] }));
        harness.advance(7);
        let answer = decide(&harness, &id, "grant").await;
        assert_eq!((&answer.json["state"], &answer.json["decided_by"]), (&json!("granted"), &json!("operator")));
        let granted = event(&harness, answer.header("x-correlation-id")).await;
        assert_eq!(granted.event, EventKind::ApprovalGranted);
        assert_eq!((granted.admin.as_deref(), granted.approval.as_deref()), (Some("operator"), Some(id.as_str())));
        assert_eq!((granted.sub.as_deref(), granted.target.as_deref()), (Some("alice"), Some("inventory")));
        assert_eq!(json!(granted.authorization_details), details);
        let history = granted.detail.expect("a history");
        assert!(history.contains("7 s after the request"), "{history}");
    }
}

#[tokio::test]
async fn a_decision_that_is_not_possible_changes_nothing() {
    let harness = setup(BY_OPERATOR).start().await;
    let id = awaited(write(&harness)).await;
    let path = format!("/approvals/{id}");
    let grant = json!({ "decision": "grant" });
    for (label, request, status) in [
        ("nobody", harness.admin("POST", &path).json(&grant), 401),
        ("a reader", harness.admin("POST", &path).by("reader").json(&grant), 403),
        ("an unknown approval", harness.admin("POST", "/approvals/x").by("operator").json(&grant), 404),
        ("no decision", harness.admin("POST", &path).by("operator").json(&json!({})), 422),
        (
            "an unknown decision",
            harness.admin("POST", &path).by("operator").json(&json!({ "decision": "approve" })),
            422,
        ),
    ] {
        assert_eq!(request.send().await.status, status, "{label}");
        assert_eq!(state(&harness, &id).await, "pending", "{label}");
    }
    decided(&harness, &id, "grant").await;
    for decision in ["grant", "deny"] {
        let answer = decide(&harness, &id, decision).await;
        assert_eq!((answer.status, &answer.json["reason"]), (409, &json!("approval_undecidable")), "{decision}");
    }
    assert_eq!(state(&harness, &id).await, "granted");
}

#[tokio::test]
async fn an_operator_withdraws_what_a_user_decides_on_and_grants_it_never() {
    for harness in on_both(BY_USER).await {
        let id = awaited(write(&harness)).await;
        for decision in ["grant", "deny"] {
            let answer = decide(&harness, &id, decision).await;
            assert_eq!((answer.status, &answer.json["reason"]), (409, &json!("approval_undecidable")), "{decision}");
            assert_eq!(state(&harness, &id).await, "pending", "{decision}");
        }
        decided(&harness, &id, "withdraw").await;
        assert_eq!(state(&harness, &id).await, "withdrawn");
        assert_ne!(awaited(write(&harness)).await, id);
        assert_eq!(harness.approval_events(&id).await, [EventKind::ApprovalRequested, EventKind::ApprovalWithdrawn]);
    }
}

#[tokio::test]
async fn what_an_operator_granted_is_no_approval_of_the_user() {
    let mut harness = setup(BY_OPERATOR).start().await;
    let id = awaited(write(&harness)).await;
    decided(&harness, &id, "grant").await;
    write(&harness).send().await.token();
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", BY_USER)).await;
    assert_ne!(awaited(write(&harness)).await, id);
}

#[tokio::test]
async fn approvals_are_listed_in_pages() {
    for harness in on_both(BY_OPERATOR).await {
        let mut ids = Vec::new();
        for amount in 1..=5 {
            let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": amount } }]);
            harness.advance(1);
            ids.push(awaited(write(&harness).set("authorization_details", details.to_string())).await);
        }
        decided(&harness, &ids[1], "deny").await;
        let page = async |query: &str| {
            let answer = harness.admin("GET", &format!("/approvals{query}")).by("reader").send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let listed = answer.json["approvals"].as_array().expect("approvals").iter();
            let listed: Vec<String> = listed.map(|it| it["id"].as_str().expect("an id").to_owned()).collect();
            (listed, answer.json["next"].as_str().map(str::to_owned))
        };
        assert_eq!(page("").await, (ids.clone(), None), "the oldest first");
        let (mut all, mut after) = (Vec::new(), String::new());
        for size in [2, 2, 1] {
            let (listed, next) = page(&format!("?limit=2{after}")).await;
            assert_eq!(listed.len(), size);
            assert_eq!(next.is_some(), size == 2);
            all.extend(listed);
            after = next.map(|next| format!("&after={next}")).unwrap_or_default();
        }
        assert_eq!(all, ids);
        for query in ["?limit=0", "?limit=1001", "?limit=many", "?limit=-1", "?after=!", "?cursor=1"] {
            let answer = harness.admin("GET", &format!("/approvals{query}")).by("reader").send().await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        }
    }
}
