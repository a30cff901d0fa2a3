//! The page of approvals: what is asked, and the decision of an operator.

use serde_json::Value;
use sts_tests::{Harness, Setup};

use super::Browser;

/// A server whose delegation from the coordinator to the inventory needs an approval.
async fn server(by: &'static str) -> Harness {
    let approval = format!("approval = {{ scopes = ['stock:write'], by = '{by}', remember = '15m', wait = '5m' }}");
    let setup = Setup::default().operators().postgres();
    setup.registry(move |registry| registry.delegation("coordinator", "inventory", &approval)).start().await
}

/// Asks for what needs an approval. Returns its id.
async fn ask(harness: &Harness) -> String {
    let answer = harness.exchange().set("scope", "stock:write").send().await;
    assert_eq!(answer.error(), "interaction_required", "{}", answer.text());
    answer.json["approval_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn an_operator_grants_and_withdraws_exactly_what_is_shown() {
    let harness = server("operator").await;
    let id = ask(&harness).await;
    let operator = Browser::signed_in(&harness, "operator").await;
    let page = operator.page("/console/approvals").await;
    let (waiting, rest) = page.split_once("<h2>Granted</h2>").expect("the lists");
    for text in ["coordinator asks to call inventory for alice", "stock:write", harness.idp.url(), &id, ">Grant<"] {
        assert!(waiting.contains(text), "{text}: {waiting}");
    }
    assert!(!rest.contains(&id), "{rest}");

    let path = format!("/console/approvals/{id}");
    let answer = operator.submit(&path, &[("decision", "maybe")]).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(operator.post(&path, &[("decision", "grant")]).await.status, 403, "no token of the form");
    let reader = Browser::signed_in(&harness, "reader").await;
    assert!(!reader.page("/console/approvals").await.contains("<form class=\"line\""));
    assert_eq!(reader.submit(&path, &[("decision", "grant")]).await.status, 403);
    assert_eq!(harness.exchange().set("scope", "stock:write").send().await.error(), "interaction_required");

    assert_eq!(operator.submit(&path, &[("decision", "grant")]).await.status, 303);
    let token = harness.exchange().set("scope", "stock:write").send().await;
    assert_eq!(token.claims()["scope"], Value::from("stock:write"));
    let page = operator.page("/console/approvals").await;
    assert!(page.contains("granted, by operator"), "{page}");

    assert_eq!(operator.submit(&path, &[("decision", "withdraw")]).await.status, 303);
    assert_eq!(harness.exchange().set("scope", "stock:write").send().await.error(), "interaction_required");
    let closed = operator.submit(&path, &[("decision", "grant")]).await;
    assert_eq!(closed.status, 409, "{}", closed.text());
    let unknown = operator.submit("/console/approvals/unknown", &[("decision", "grant")]).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
}

#[tokio::test]
async fn an_operator_withdraws_what_the_user_decides_and_grants_it_never() {
    let harness = server("user").await;
    let id = ask(&harness).await;
    let operator = Browser::signed_in(&harness, "admin").await;
    let page = operator.page("/console/approvals").await;
    assert!(page.contains("The user decides") && !page.contains(">Grant<"), "{page}");
    let path = format!("/console/approvals/{id}");
    assert_eq!(operator.submit(&path, &[("decision", "grant")]).await.status, 409);
    assert_eq!(operator.submit(&path, &[("decision", "withdraw")]).await.status, 303);
    let page = operator.page("/console/approvals").await;
    assert!(page.contains("withdrawn, by admin"), "{page}");
}
