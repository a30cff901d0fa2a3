//! What a registry file made, and what the API may do to it.

use serde_json::json;
use sts_tests::Harness;

use super::{assert_refused, etag, make, on_both, robot};

/// Puts `inventory` as it is, but for `disabled`; the status and the answer.
async fn put_disabled(harness: &Harness, disabled: bool) -> sts_tests::Answer {
    let got = harness.admin("GET", "/agents/inventory").by("operator").send().await;
    let mut body = got.json.clone();
    body["disabled"] = json!(disabled);
    harness.admin("PUT", "/agents/inventory").by("operator").if_match(got.header("etag")).json(&body).send().await
}

#[tokio::test]
async fn what_a_file_made_is_disabled_by_an_operator_until_an_operator_lifts_it() {
    for mut harness in on_both().await {
        let disabled = put_disabled(&harness, true).await;
        assert_eq!((disabled.status, &disabled.json["disabled"]), (200, &json!(true)), "{}", disabled.text());
        assert_eq!(harness.exchange().send().await.error(), "invalid_target");
        harness.apply(|registry, _| registry.add("[[agents]]\nid = \"another\"\n")).await;
        assert_eq!(harness.exchange().send().await.error(), "invalid_target", "a file that is applied lifts nothing");
        let listed = harness.admin("GET", "/agents").by("reader").send().await;
        let entries = listed.json["entries"].as_array().expect("entries");
        let inventory = entries.iter().find(|entry| entry["id"] == "inventory").expect("the inventory");
        assert_eq!((&inventory["disabled_by_admin"], &inventory["origin"]), (&json!(true), &json!("file")));

        let lifted = put_disabled(&harness, false).await;
        assert_eq!((lifted.status, &lifted.json["disabled"]), (200, &json!(false)), "{}", lifted.text());
        assert_eq!(harness.exchange().send().await.status, 200);
    }
}

#[tokio::test]
async fn nothing_else_of_what_a_file_made_is_changed() {
    let mut harness = on_both().await.into_iter().next().expect("one");
    harness.apply(|registry, _| registry.add("[[agents]]\nid = \"off\"\ndisabled = true\n")).await;
    let tag = etag(&harness, "/agents/shelf").await;
    let put = || harness.admin("PUT", "/agents/shelf").by("admin").if_match(&tag);
    let changed = put().json(&json!({ "id": "shelf", "tenants": ["acme"], "token_ttl": "1m" }));
    let answer = assert_refused(&harness, "another key", changed, 409, "made_by_file").await;
    assert_eq!(answer.json["faults"][0]["message"], "this differs: tenants, token_ttl", "{}", answer.text());
    let both = put().json(&json!({ "id": "shelf", "tenants": ["acme"], "disabled": true }));
    assert_refused(&harness, "and disabled", both, 409, "made_by_file").await;
    let delete = harness.admin("DELETE", "/agents/shelf").by("admin").if_match(&tag);
    assert_refused(&harness, "deleted", delete, 409, "made_by_file").await;
    let off = etag(&harness, "/agents/off").await;
    let on = harness.admin("PUT", "/agents/off").by("admin").if_match(&off).json(&json!({ "id": "off" }));
    assert_refused(&harness, "what the file disables", on, 409, "made_by_file").await;
}

#[tokio::test]
async fn a_file_leaves_what_the_api_made_alone() {
    for mut harness in on_both().await {
        let tag = make(&harness, "/agents/robot", &robot()).await;
        harness.apply(|registry, _| registry.add("[[agents]]\nid = \"another\"\n")).await;
        assert_eq!(etag(&harness, "/agents/robot").await, tag);
    }
}

#[tokio::test]
async fn what_an_operator_disabled_and_the_file_dropped_can_be_lifted_and_then_goes() {
    let mut harness = on_both().await.into_iter().next().expect("one");
    harness.apply(|registry, _| registry.add("[[agents]]\nid = \"another\"\n")).await;
    let body = json!({ "id": "another", "disabled": true });
    let put = harness.admin("PUT", "/agents/another").by("operator").header("if-match", "*").json(&body).send().await;
    assert_eq!(put.status, 200, "{}", put.text());
    harness.apply(|registry, _| registry.without_agent("another")).await;
    let kept = harness.admin("GET", "/agents/another").by("operator").send().await;
    assert_eq!((kept.status, &kept.json["disabled"]), (200, &json!(true)));
    let mut body = kept.json.clone();
    body["disabled"] = json!(false);
    let lifted = harness.admin("PUT", "/agents/another").by("operator").if_match(kept.header("etag")).json(&body);
    assert_eq!(lifted.send().await.status, 200);
    harness.apply(|_, _| {}).await;
    assert_eq!(harness.admin("GET", "/agents/another").by("reader").send().await.status, 404);
}
