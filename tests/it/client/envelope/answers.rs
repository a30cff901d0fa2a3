//! Answers: bound to their request, and held against their schema before anybody reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use serde_json::json;
use sts_client::envelope::{AnswerError, Capability, Reason, SchemaError, Sealed};

use super::{ANSWER, Drafted, REQUEST, World, claims, draft, put, refund};

/// A request and its answer.
async fn exchange(world: &World, key: &str) -> (Sealed, String) {
    exchange_with(world, &world.token(&json!({})), key).await
}

async fn exchange_with(world: &World, headers: &HeaderMap, key: &str) -> (Sealed, String) {
    let sealed = world.seal(headers, key).await;
    let opened = world.open(&sealed.envelope, headers).await.unwrap();
    let answer = opened.serve(draft).await.unwrap();
    (sealed, answer)
}

async fn reason(sealed: Sealed, answer: &str) -> Option<Reason> {
    match sealed.awaiting.open::<Drafted>(answer).await.unwrap_err() {
        AnswerError::Open(error) => error.reason(),
        AnswerError::Schema(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_request_sent_back_is_no_answer() {
    let world = World::start().await;
    let (sealed, _) = exchange(&world, "refund-1").await;
    let request = sealed.envelope.clone();
    assert_eq!(reason(sealed, &request).await, Some(Reason::BadSignature));
    // Even where the ledger signs what it was sent.
    let (sealed, _) = exchange(&world, "refund-2").await;
    for typ in [REQUEST, ANSWER] {
        let (sealed_again, _) = exchange(&world, &format!("refund-{typ}")).await;
        let json = serde_json::to_vec(&claims(&sealed.envelope)).unwrap();
        let reflected = world.ledger_keys.signing.sign(Some(typ), &json).unwrap();
        assert_eq!(reason(sealed_again, &reflected).await, Some(Reason::BadSignature), "{typ}");
    }
    assert_eq!(world.billing.decryptions().attempted, 0);
}

#[tokio::test]
async fn the_answer_to_another_request_is_refused() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let (first, of_first) = exchange_with(&world, &headers, "refund-1").await;
    let (second, of_second) = exchange_with(&world, &headers, "refund-2").await;
    assert_eq!(reason(first, &of_second).await, Some(Reason::Replay));
    // The same operation, asked for twice: the answers differ in what they answer alone.
    let (again, of_again) = exchange_with(&world, &headers, "refund-2").await;
    assert_eq!(reason(second, &of_again).await, Some(Reason::Replay));
    assert_eq!(reason(again, &of_second).await, Some(Reason::Replay));
    let (last, _) = exchange_with(&world, &headers, "refund-1").await;
    assert_eq!(reason(last, &of_first).await, Some(Reason::Replay));
    // Under another token it is not even of the same caller.
    let (other, _) = exchange(&world, "refund-3").await;
    assert_eq!(reason(other, &of_first).await, Some(Reason::CallerMismatch));
    assert_eq!(world.billing.decryptions().attempted, 0);
}

#[tokio::test]
async fn every_signed_field_of_an_answer_that_is_wrong_is_refused_with_its_reason() {
    let world = World::start().await;
    let rows = [
        ("caller/serviceId", json!("billing"), Reason::BadSignature),
        ("caller/subject", json!("bob"), Reason::CallerMismatch),
        ("tokenHash", json!("x"), Reason::CallerMismatch),
        ("caller/tenantId", json!("globex"), Reason::WrongTenant),
        ("auth/audience", json!("ledger"), Reason::WrongAudience),
        ("auth/scopes", json!(["ledger:use", "refund:approve"]), Reason::MissingScope),
        ("expiresAt", json!("2027-01-15T08:00:00Z"), Reason::ExpiredMessage),
        ("issuedAt", json!("2027-01-15T08:00:31Z"), Reason::NotYetValid),
        ("traceId", json!("another"), Reason::Replay),
        ("idempotencyKey", json!("another"), Reason::Replay),
        ("messageId", json!(""), Reason::MissingTraceOrIdempotency),
        ("inReplyTo/envelopeHash", json!("x"), Reason::Replay),
        ("inReplyTo", json!(null), Reason::Replay),
        ("capability", json!("read"), Reason::CapabilityNotDelegated),
        ("payloadTag", json!("x"), Reason::Undecryptable),
        ("messageId", json!("another"), Reason::Undecryptable),
    ];
    for (index, (path, value, expected)) in rows.into_iter().enumerate() {
        let (sealed, answer) = exchange(&world, &format!("refund-{index}")).await;
        let mut fields = claims(&answer);
        put(&mut fields, path, value);
        let forged = world.ledger_keys.signing.sign(Some(ANSWER), &serde_json::to_vec(&fields).unwrap()).unwrap();
        assert_eq!(reason(sealed, &forged).await, Some(expected), "{path}");
    }
    assert_eq!(world.billing.decryptions().succeeded, 0);
    let (sealed, answer) = exchange(&world, "refund-valid").await;
    sealed.awaiting.open::<Drafted>(&answer).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_does_not_fit_its_schema_reaches_no_handler() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    for (index, answer) in
        [json!({}), json!({ "draft": 7 }), json!({ "draft": "draft-1", "more": true }), json!(["draft-1"])]
            .into_iter()
            .enumerate()
    {
        let sealed = world.seal(&headers, &format!("refund-{index}")).await;
        let opened = world.open(&sealed.envelope, &headers).await.unwrap();
        let text = opened.answer(&answer).await.unwrap();
        let error = sealed.awaiting.open::<Drafted>(&text).await.unwrap_err();
        assert!(matches!(error, AnswerError::Schema(_)), "{answer}: {error:?}");
        assert!(!format!("{error:?}").contains("draft-1"), "{error:?}");
    }
}

#[tokio::test]
async fn a_request_that_does_not_fit_its_schema_reaches_no_handler() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    for (index, asked) in [
        json!({ "order": "order-4711" }),
        json!({ "order": "order-4711", "cents": -1 }),
        json!({ "order": "order-4711", "cents": 1, "approved": true }),
    ]
    .into_iter()
    .enumerate()
    {
        let sealed = world.seal_as(&headers, &format!("refund-{index}"), Capability::ToolCall, &asked).await;
        let opened = world.open(&sealed.envelope, &headers).await.unwrap();
        assert!(matches!(opened.read::<super::Refund>(), Err(SchemaError::Member | SchemaError::Unknown)), "{asked}");
        let called = Arc::new(AtomicBool::new(false));
        let calling = Arc::clone(&called);
        let served = opened.serve(async move |asked| {
            calling.store(true, Ordering::Relaxed);
            draft(asked).await
        });
        served.await.unwrap_err();
        assert!(!called.load(Ordering::Relaxed), "{asked}");
    }
    let sealed = world.seal(&headers, "refund-valid").await;
    let opened = world.open(&sealed.envelope, &headers).await.unwrap();
    assert_eq!(opened.read::<super::Refund>().unwrap(), refund());
}
