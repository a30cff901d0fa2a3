//! Approvals by the STS: a message is opened if its token permits the operation, and else refused.

use http::HeaderMap;
use serde::Serialize;
use serde_json::{Value, json};
use sts_client::IdempotencyKey;
use sts_client::envelope::{Capability, Needs, Reason};

use super::payloads::sealed_by_reference;
use super::{REQUEST, Refund, World, claims, put, refund, scope};

const COMMAND: Capability = Capability::WorkflowCommand;

/// A ledger whose workflow commands need a token for the action `refund`, of so many cents at most.
async fn start() -> World {
    let needs = Needs::scopes([scope("refund:draft")])
        .approved_action("refund", |action, refund: &Refund| action.limit("cents", refund.cents));
    World::with(|ledger| ledger.capability(COMMAND, needs)).await
}

/// The detail for a refund of so many cents under that key.
fn approved(world: &World, key: &str, cents: u32) -> Value {
    approved_for(world, key, &Refund { cents, ..refund() })
}

fn approved_for(world: &World, key: &str, payload: &impl Serialize) -> Value {
    let identifier = identifier(world, key, payload);
    json!({ "type": "message", "actions": ["refund"], "identifier": identifier, "limits": { "cents": 2_000 } })
}

fn identifier(world: &World, key: &str, payload: &impl Serialize) -> String {
    let payload = serde_json::to_vec(payload).unwrap();
    world.billing.approval_identifier(&IdempotencyKey::from_text(key).unwrap(), &payload)
}

fn token(world: &World, details: &Value) -> HeaderMap {
    let claims = if details.is_null() { json!({}) } else { json!({ "authorization_details": details }) };
    world.token(&claims)
}

async fn seal(world: &World, headers: &HeaderMap, key: &str, cents: u32) -> String {
    world.seal_as(headers, key, COMMAND, &Refund { cents, ..refund() }).await.envelope
}

#[tokio::test]
async fn a_message_is_opened_whose_token_permits_exactly_its_operation() {
    let world = start().await;
    let headers =
        token(&world, &json!([{ "type": "message", "actions": ["other"] }, approved(&world, "refund-1", 2_000)]));
    let opened = world.open(&seal(&world, &headers, "refund-1", 2_000).await, &headers).await.unwrap();
    assert_eq!(opened.read::<Refund>().unwrap().cents, 2_000);
    opened.serve(super::draft).await.unwrap();
    let repeated = world.open(&seal(&world, &headers, "refund-1", 2_000).await, &headers).await.unwrap();
    assert!(repeated.is_repeated());
}

#[tokio::test]
async fn a_token_that_is_not_for_the_operation_is_refused_unread() {
    let world = start().await;
    let named = |key: &str| identifier(&world, key, &Refund { cents: 1, ..refund() });
    let with = |member: &str, value: Value| {
        let mut detail = approved(&world, "refund-1", 1);
        match value {
            Value::Null => detail.as_object_mut().unwrap().remove(member),
            value => detail.as_object_mut().unwrap().insert(member.to_owned(), value),
        };
        json!([detail])
    };
    for (label, details) in [
        ("no details", Value::Null),
        ("an empty array", json!([])),
        ("another tool", with("actions", json!(["lookup"]))),
        ("another case", with("actions", json!(["Refund"]))),
        ("every action of a type that has none", with("actions", Value::Null)),
        ("another operation", with("identifier", json!(named("refund-2")))),
        ("the key alone", with("identifier", json!("refund-1"))),
        ("the payload alone", with("identifier", json!(named("refund-1").split_once(':').unwrap().1))),
        (
            "the key of another operation for its payload",
            with("identifier", json!(named("refund-1").replace("-1", "-2"))),
        ),
        ("any operation", with("identifier", Value::Null)),
        (
            "the parts of two details",
            json!([
                { "type": "message", "actions": ["refund"], "identifier": named("refund-2") },
                { "type": "message", "actions": ["lookup"], "identifier": named("refund-1") },
            ]),
        ),
    ] {
        let headers = token(&world, &details);
        let envelope = seal(&world, &headers, "refund-1", 1).await;
        world.refused(label, &envelope, &headers, Reason::ApprovalRequired).await;
    }
    // The verifier refuses a token with malformed details, so that its message is not looked at.
    for (label, details) in [
        ("no array", approved(&world, "refund-1", 1)),
        ("an unknown member", with("privileges", json!(["admin"]))),
        ("a number as a text", with("limits", json!({ "cents": "2000" }))),
    ] {
        assert!(world.verifier.verify(&token(&world, &details)).await.is_err(), "{label}");
    }
}

#[tokio::test]
async fn a_payload_beyond_the_limits_of_its_token_reaches_no_handler() {
    let world = start().await;
    let with = |key: &str, cents: u32, member: &str, value: Value| {
        let mut detail = approved(&world, key, cents);
        detail[member] = value;
        detail
    };
    for (label, key, cents, detail) in [
        ("beyond the limit", "refund-1", 2_001, approved(&world, "refund-1", 2_001)),
        (
            "a limit that the payload does not name",
            "refund-2",
            1,
            with("refund-2", 1, "limits", json!({ "cents": 2_000, "orders": 1 })),
        ),
        ("another place", "refund-3", 1, with("refund-3", 1, "locations", json!(["https://elsewhere.example/"]))),
    ] {
        let headers = token(&world, &json!([detail]));
        let envelope = seal(&world, &headers, key, cents).await;
        let error = world.open(&envelope, &headers).await.expect_err(label);
        assert_eq!(error.reason(), Some(Reason::ApprovalRequired), "{label}: {error:?}");
    }
    let no_refund = json!({ "order": "order-4711" });
    let headers = token(&world, &json!([approved_for(&world, "refund-4", &no_refund)]));
    let foreign = world.seal_as(&headers, "refund-4", COMMAND, &no_refund).await;
    let error = world.open(&foreign.envelope, &headers).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::ApprovalRequired), "{error:?}");
    // A refusal gives the operation up: a new message opens it with a token that permits it.
    let headers = token(&world, &json!([approved(&world, "refund-3", 1)]));
    world.open(&seal(&world, &headers, "refund-3", 1).await, &headers).await.unwrap();
}

/// The agent has an approval for one payload, and seals another one under the same key and with the same
/// quantities.
#[tokio::test]
async fn a_token_for_another_payload_opens_nothing() {
    let world = start().await;
    let diverted = Refund { order: "order-of-the-thief".to_owned(), cents: 2_000 };
    for (label, key, payload) in [
        ("another order", "refund-2", json!(diverted)),
        ("a smaller amount", "refund-3", json!(Refund { cents: 1, ..refund() })),
        ("another member", "refund-4", json!({ "order": refund().order, "cents": 2_000, "payee": "thief" })),
    ] {
        let headers = token(&world, &json!([approved(&world, key, 2_000)]));
        let sealed = world.seal_as(&headers, key, COMMAND, &payload).await;
        world.refused(label, &sealed.envelope, &headers, Reason::ApprovalRequired).await;
    }
    let headers = token(&world, &json!([approved(&world, "refund-1", 2_000)]));
    // The thief signs the tag that was approved over the payload that was not.
    let approved = seal(&world, &headers, "refund-1", 2_000).await;
    let other = world.seal_as(&headers, "refund-1", COMMAND, &diverted).await;
    let tag = claims(&approved)["payloadTag"].clone();
    let forged = world.resigned(&other.envelope, |claims| put(claims, "payloadTag", tag));
    world.refused("the tag of the approved payload", &forged, &headers, Reason::Undecryptable).await;
    let payload = claims(&other.envelope)["encryptedPayload"].clone();
    let forged = world.resigned(&approved, |claims| put(claims, "encryptedPayload", payload));
    world.refused("the payload beside the approved tag", &forged, &headers, Reason::Undecryptable).await;
    let approved = seal(&world, &headers, "refund-1", 2_000).await;
    assert_eq!(world.open(&approved, &headers).await.unwrap().read::<Refund>().unwrap().order, refund().order);
}

/// The thief holds the signing key of the agent, and a token that permits another operation or none.
#[tokio::test]
async fn a_forged_message_is_no_approved_one() {
    let world = start().await;
    let headers = token(&world, &json!([approved_for(&world, "refund-1", &refund())]));
    let envelope = seal(&world, &headers, "refund-1", refund().cents).await;
    let other = world.resigned(&envelope, |claims| put(claims, "idempotencyKey", json!("refund-2")));
    world.refused("for another operation", &other, &headers, Reason::ApprovalRequired).await;
    let bare = world.token(&json!({}));
    let plain = world.seal(&bare, "refund-1").await.envelope;
    let raised = world.resigned(&plain, |claims| put(claims, "capability", json!("workflow_command")));
    world.refused("raised to a command", &raised, &bare, Reason::ApprovalRequired).await;
    world.refused("beside an approved token", &plain, &headers, Reason::CallerMismatch).await;
    let mut stolen = claims(&world.seal(&bare, "refund-1").await.envelope);
    stolen.insert("tokenHash".to_owned(), claims(&envelope)["tokenHash"].clone());
    put(&mut stolen, "capability", json!("workflow_command"));
    let text = world.billing_keys.signing.sign(Some(REQUEST), &serde_json::to_vec(&stolen).unwrap()).unwrap();
    world.refused("the payload of another message", &text, &headers, Reason::Undecryptable).await;
}

#[tokio::test]
async fn a_payload_that_is_fetched_later_is_held_to_the_same_limits() {
    let world = start().await;
    for (cents, is_opened) in [(2_000, true), (2_001, false)] {
        let key = format!("refund-{cents}");
        let headers = token(&world, &json!([approved(&world, &key, cents)]));
        let sealed = sealed_by_reference(&world, &headers, &key, (COMMAND, &Refund { cents, ..refund() })).await;
        let opened = world.open(&sealed.envelope, &headers).await.unwrap();
        let read = opened.with_payload(sealed.detached.as_deref().unwrap()).await;
        let reason = read.err().map(|refusal| refusal.reason());
        assert_eq!(reason, (!is_opened).then_some(Reason::ApprovalRequired), "{cents}");
    }
}
