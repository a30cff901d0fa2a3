//! The admin API, driven from outside, on both databases.

mod access;
mod apply;
mod audit;
mod document;
mod entries;
mod explain;
mod oidc;
mod pages;
mod races;
mod requests;
mod switch;

use serde_json::{Value, json};
use sts_tests::{AdminRequest, Answer, Harness, Setup};

/// A server with operators on each database.
async fn on_both() -> [Harness; 2] {
    [Setup::default().operators().start().await, Setup::default().operators().postgres().start().await]
}

/// An agent that nobody knows yet.
fn robot() -> Value {
    json!({ "id": "robot", "audience": ["robot", "https://robot.example/"], "tenants": ["acme"] })
}

/// Makes an entry; its `ETag`.
async fn make(harness: &Harness, path: &str, entry: &Value) -> String {
    let made = harness.admin("PUT", path).by("admin").if_new().json(entry).send().await;
    assert_eq!(made.status, 201, "{}", made.text());
    made.header("etag").to_owned()
}

/// The `ETag` of an entry.
async fn etag(harness: &Harness, path: &str) -> String {
    let got = harness.admin("GET", path).by("reader").send().await;
    assert_eq!(got.status, 200, "{}", got.text());
    got.header("etag").to_owned()
}

/// The request is refused for this reason: as a problem, with its correlation id, and nothing in the registry changes.
async fn assert_refused(harness: &Harness, label: &str, request: AdminRequest, status: u16, reason: &str) -> Answer {
    let before = harness.store.state().await.expect("a database").versions;
    let answer = request.send().await;
    assert_eq!((answer.status, answer.json["reason"].as_str()), (status, Some(reason)), "{label}: {}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json", "{label}");
    assert_eq!(answer.header("cache-control"), "no-store", "{label}");
    assert_eq!(answer.json["status"], status, "{label}");
    assert_eq!(answer.json["correlation_id"], request.correlation_id(), "{label}");
    assert_eq!(answer.header("x-correlation-id"), request.correlation_id(), "{label}");
    let after = harness.store.state().await.expect("a database").versions;
    assert_eq!(before, after, "{label}: nothing changes");
    answer
}

/// The pointers of the faults that an answer lists.
fn pointers(answer: &Answer) -> Vec<&str> {
    let faults = answer.json["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
    faults.iter().map(|fault| fault["pointer"].as_str().unwrap_or("none")).collect()
}
