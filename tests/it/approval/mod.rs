//! Approvals: what a person must decide on before a token is issued.

mod decisions;
mod deferred;
mod killed;
mod notices;
mod property;
mod requests;
mod stale;
mod stops;
mod users;

use serde_json::{Value, json};
use sts_server::record::{Event, EventKind};
use sts_tests::{Answer, FormRequest, Harness, Setup};

/// The approval of `stock:write` and of the action `refund`, by an operator.
const BY_OPERATOR: &str = "approval = { scopes = ['stock:write'], actions = ['refund'], by = 'operator', \
     remember = '10m', wait = '5m' }\n\
     details = [{ type = 'mcp_tool', actions = ['refund', 'lookup'], limits = { amount = 500 } }]";

fn setup(approval: &'static str) -> Setup {
    Setup::default().operators().registry(move |registry| registry.delegation("coordinator", "inventory", approval))
}

/// The server of this approval on each database.
async fn on_both(approval: &'static str) -> [Harness; 2] {
    [setup(approval).start().await, setup(approval).postgres().start().await]
}

/// An exchange that needs an approval.
fn write(harness: &Harness) -> FormRequest {
    harness.exchange().set("scope", "stock:write")
}

/// The name of the approval that a request waits for.
async fn awaited(request: FormRequest) -> String {
    id_of(&request.send().await)
}

fn id_of(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.error()), (400, "interaction_required"), "{}", answer.text());
    answer.json["approval_id"].as_str().expect("an id").to_owned()
}

/// Decides as an operator.
async fn decide(harness: &Harness, id: &str, decision: &str) -> Answer {
    let request = harness.admin("POST", &format!("/approvals/{id}")).by("operator");
    request.json(&json!({ "decision": decision })).send().await
}

async fn decided(harness: &Harness, id: &str, decision: &str) {
    let answer = decide(harness, id, decision).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn state(harness: &Harness, id: &str) -> Value {
    let answer = harness.admin("GET", &format!("/approvals/{id}")).by("reader").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json["state"].clone()
}

/// The one event of a request.
async fn event(harness: &Harness, correlation_id: &str) -> Event {
    let mut events = harness.events(correlation_id).await;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

fn is_refusal_for(event: &Event, id: &str) -> bool {
    event.event == EventKind::TokenRefused
        && event.reason.as_deref() == Some("approval_required")
        && event.approval.as_deref() == Some(id)
}
