//! draft-ietf-httpapi-idempotency-key-header: the key.

use http::HeaderValue;
use sts_client::IdempotencyKey;
use sts_jose::{Clock as _, ManualClock, SystemClock};

use super::{Agent, memory};

#[tokio::test]
async fn section_2_1_a_string_and_a_bare_token_are_one_key() {
    let agent = Agent::start().await;
    assert_eq!(agent.send(agent.post("/reserve/tea", "\"k-1\"", "")).await.header("idempotency-replayed"), "");
    assert_eq!(agent.send(agent.post("/reserve/tea", "k-1", "")).await.header("idempotency-replayed"), "true");
    assert_eq!(agent.reserved(), 1);
}

#[tokio::test]
async fn a_key_that_is_malformed_or_repeated_is_400() {
    let agent = Agent::start().await;
    let long = "x".repeat(256);
    for key in ["\"\"", "\"k", "\"k\"x", "\"k\";a=1", "a b", "\"\\k\"", &long, "\"k\\\""] {
        let answer = agent.send(agent.post("/reserve/tea", key, "")).await;
        assert_eq!((answer.status, answer.json["code"].as_str()), (400, Some("IDEMPOTENCY_KEY_MALFORMED")), "{key:?}");
        assert_eq!(answer.header("content-type"), "application/vnd.yaagents.clarification+json");
        assert_eq!(answer.json["requiredInputs"][0]["name"], "Idempotency-Key");
        assert_eq!(answer.json["requiredInputs"][0]["location"], "header");
    }
    let mut twice = agent.post("/reserve/tea", "k", "");
    twice.headers_mut().append("idempotency-key", HeaderValue::from_static("k"));
    assert_eq!(agent.send(twice).await.json["code"], "IDEMPOTENCY_KEY_MALFORMED");
    let mut bytes = agent.post("/reserve/tea", "", "");
    bytes.headers_mut().insert("idempotency-key", HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(agent.send(bytes).await.json["code"], "IDEMPOTENCY_KEY_MALFORMED");
    assert_eq!(agent.reserved(), 0);
}

#[tokio::test]
async fn section_2_7_where_a_key_is_required_a_request_without_one_is_400() {
    let clock = ManualClock::new(SystemClock.now());
    let agent = Agent::with(memory(&clock), clock, |layer| layer.required()).await;
    let answer = agent.send(agent.post("/reserve/tea", "", "")).await;
    assert_eq!((answer.status, answer.json["code"].as_str()), (400, Some("IDEMPOTENCY_KEY_MISSING")));
    assert_eq!(agent.reserved(), 0);
    assert_eq!(agent.send(agent.post("/reserve/tea", "k", "")).await.status, 201);
}

#[test]
fn a_key_is_what_stands_between_the_quotation_marks() {
    let key = |text: &str| IdempotencyKey::from_text(text).map(|key| key.as_str().to_owned());
    assert_eq!(key("a-1").as_deref(), Some("a-1"));
    assert_eq!(key(r#""a \"b\" \\ c""#).as_deref(), Some(r#"a "b" \ c"#));
    assert_eq!(key(&"x".repeat(255)).map(|key| key.len()), Some(255));
}

#[test]
fn a_child_key_is_named_after_its_operation_and_always_the_same() {
    let key = |text: &str| IdempotencyKey::from_text(text).unwrap();
    assert_eq!(key("k").child("reserve").as_str(), "k::reserve");
    assert_eq!(key("k").child("reserve").child("tea").as_str(), "k::reserve::tea");
    assert_eq!(key("\"k\"").child("reserve"), key("k").child("reserve"), "however it is written");
    assert_eq!(key("\"a b\"").child("c d").as_str(), "a b::c d");
    // What cannot stand in a header is a digest: bounded, stable, and another for another operation.
    for operation in ["größe", "a\r\nb", "a b", &"x".repeat(300)] {
        let child = key("k").child(operation);
        assert_eq!((child.as_str().len(), &child), (64, &key("k").child(operation)), "{operation:?}");
        assert_ne!(child, key("l").child(operation));
        assert_ne!(child, key("k").child("other operation"));
    }
}
