//! Payloads that travel by reference, and those that are too large to travel at all.

use serde_json::json;
use sts_client::envelope::{Capability, MAX_ENVELOPE_BYTES, Message, Reason, SealError, Sealed};
use sts_client::{CorrelationId, IdempotencyKey};

use super::{Refund, TRACE_ID, World, claims, draft, refund};

async fn by_reference(world: &World, headers: &http::HeaderMap, key: &str) -> Sealed {
    sealed_by_reference(world, headers, key, (Capability::ToolCall, &refund())).await
}

/// Seals a message whose payload is stored elsewhere.
pub(super) async fn sealed_by_reference(
    world: &World,
    headers: &http::HeaderMap,
    key: &str,
    (capability, refund): (Capability, &Refund),
) -> Sealed {
    let payload = serde_json::to_vec(refund).unwrap();
    let uri = "https://files.shop.example/4711".parse().unwrap();
    let message = Message {
        capability,
        scopes: "ledger:use refund:draft".parse().unwrap(),
        trace_id: &CorrelationId::from_text(TRACE_ID).unwrap(),
        idempotency_key: &IdempotencyKey::from_text(key).unwrap(),
        payload: &payload,
        payload_uri: Some(&uri),
    };
    world.billing.seal("ledger", headers, &message).await.unwrap()
}

#[tokio::test]
async fn a_payload_may_be_elsewhere_and_is_the_one_that_was_signed() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let sealed = by_reference(&world, &headers, "refund-1").await;
    assert!(claims(&sealed.envelope).get("encryptedPayload").is_none());
    let opened = world.open(&sealed.envelope, &headers).await.unwrap();
    assert_eq!(opened.payload_uri(), Some("https://files.shop.example/4711"));
    assert!(opened.payload().is_none() && opened.read::<Refund>().is_err());
    assert_eq!(world.ledger.decryptions().attempted, 0);
    let opened = opened.with_payload(&sealed.detached.unwrap()).await.unwrap();
    assert_eq!(opened.read::<Refund>().unwrap(), refund());
    opened.serve(draft).await.unwrap();
}

#[tokio::test]
async fn another_payload_than_the_one_that_was_signed_stays_shut() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let other = by_reference(&world, &headers, "refund-2").await.detached.unwrap();
    let sealed = by_reference(&world, &headers, "refund-1").await;
    let opened = world.open(&sealed.envelope, &headers).await.unwrap();
    let refusal = opened.with_payload(&other).await.unwrap_err();
    assert_eq!(refusal.reason(), Reason::Undecryptable);
    assert_eq!(world.ledger.decryptions().attempted, 0);
    // It was not done: it may be asked for again.
    let again = by_reference(&world, &headers, "refund-1").await;
    let opened = world.open(&again.envelope, &headers).await.unwrap();
    opened.with_payload(&again.detached.unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_is_too_large_is_not_sealed() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let payload = vec![b'x'; MAX_ENVELOPE_BYTES * 2 / 3];
    let payload = serde_json::to_vec(&json!({ "order": String::from_utf8(payload).unwrap(), "cents": 1 })).unwrap();
    let mut message = Message {
        capability: Capability::ToolCall,
        scopes: "ledger:use refund:draft".parse().unwrap(),
        trace_id: &CorrelationId::from_text(TRACE_ID).unwrap(),
        idempotency_key: &IdempotencyKey::from_text("large").unwrap(),
        payload: &payload,
        payload_uri: None,
    };
    let error = world.billing.seal("ledger", &headers, &message).await.unwrap_err();
    assert!(matches!(error, SealError::TooLarge), "{error:?}");
    let uri = "https://files.shop.example/large".parse().unwrap();
    message.payload_uri = Some(&uri);
    let sealed = world.billing.seal("ledger", &headers, &message).await.unwrap();
    let opened = world.open(&sealed.envelope, &headers).await.unwrap();
    assert_eq!(opened.with_payload(&sealed.detached.unwrap()).await.unwrap().payload(), Some(payload.as_slice()));
}

#[tokio::test]
async fn nothing_is_sealed_for_a_token_of_another_agent_or_for_another_recipient() {
    let world = World::start().await;
    let payload = serde_json::to_vec(&refund()).unwrap();
    let message = Message {
        capability: Capability::ToolCall,
        scopes: "ledger:use refund:draft".parse().unwrap(),
        trace_id: &CorrelationId::from_text(TRACE_ID).unwrap(),
        idempotency_key: &IdempotencyKey::from_text("refund-1").unwrap(),
        payload: &payload,
        payload_uri: None,
    };
    for changes in [json!({ "act": { "sub": "warehouse" } }), json!({ "aud": "warehouse" }), json!({ "sub": null })] {
        let error = world.billing.seal("ledger", &world.token(&changes), &message).await.unwrap_err();
        assert!(matches!(error, SealError::TokenOfAnother | SealError::Claim(_)), "{changes}: {error:?}");
    }
    let headers = world.token(&json!({}));
    let error = world.billing.seal("warehouse", &headers, &message).await.unwrap_err();
    assert!(matches!(error, SealError::UnknownPeer), "{error:?}");
    let error = world.billing.seal("ledger", &http::HeaderMap::new(), &message).await.unwrap_err();
    assert!(matches!(error, SealError::NoToken), "{error:?}");
}
