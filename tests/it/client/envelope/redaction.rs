//! Secrets that were planted everywhere are found nowhere: not in an event, a log, an error, or a `Debug` output.

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};
use sts_client::envelope::{Capability, Message};
use sts_client::events::{
    Boundary, BoundaryOutcome, EventSink as _, EventSinks, Guard, JsonLines, Recorded, ToTracing,
};
use sts_client::inbound::Issuer;
use sts_client::{CorrelationId, IdempotencyKey, Verifier};
use sts_tests::{Capture, Seen};

use super::{Keys, REQUEST, World, claims, put, scope};

const WORDS: [&str; 7] = [
    "hunter2-the-password",
    "secret-trace-hunter2",
    "secret-key-hunter2",
    "secret-order-hunter2",
    "secret-member-hunter2",
    "secret-subject-hunter2",
    "secret-scope-hunter2",
];

#[tokio::test]
async fn no_planted_secret_is_in_an_event_a_log_an_error_or_a_debug_output() {
    let log = Capture::begin();
    let recorded = Arc::new(Recorded::default());
    let sinks = EventSinks::to(Arc::clone(&recorded) as Arc<_>).and(Arc::new(ToTracing));
    let world = World::with(|ledger| ledger.events(sinks)).await;
    let seen: &Seen = &world.seen;
    for word in WORDS {
        seen.remember(word);
    }
    for keys in [&world.billing_keys, &world.ledger_keys] {
        let jwk: Value = serde_json::from_str(secrecy::ExposeSecret::expose_secret(&keys.decryption.to_jwk())).unwrap();
        seen.remember(jwk["d"].as_str().unwrap());
    }
    let mut shown = Vec::new();
    let headers = world.token(&json!({ "sub": WORDS[5], "scope": format!("ledger:use refund:draft {}", WORDS[6]) }));
    let payload = format!(r#"{{"order":"{}","password":"{}"}}"#, WORDS[3], WORDS[0]);
    let message = Message {
        capability: Capability::ToolCall,
        scopes: [scope("ledger:use"), scope("refund:draft"), scope(WORDS[6])].into_iter().collect(),
        trace_id: &CorrelationId::from_text(WORDS[1]).unwrap(),
        idempotency_key: &IdempotencyKey::from_text(WORDS[2]).unwrap(),
        payload: payload.as_bytes(),
        payload_uri: None,
    };
    let sealed = world.billing.seal("ledger", &headers, &message).await.unwrap();
    seen.remember(&sealed.envelope);
    shown.push(format!("{message:?} {sealed:?} {:?} {:?}", world.billing, world.ledger_keys.agent));
    let opened = world.open(&sealed.envelope, &headers).await.unwrap();
    shown.push(format!("{opened:?} {:?}", world.ledger));
    shown.push(format!("{:?}", opened.read::<super::Refund>().unwrap_err()));
    shown.push(format!("{:?}", opened.serve(super::draft).await.unwrap_err()));
    // Every refusal, with secrets in whatever its sender can fill.
    let stranger = Keys::generate();
    for path in ["extra", "caller/subject", "caller/tenantId", "auth/audience", "expiresAt", "traceId", "capability"] {
        let mut fields = claims(&sealed.envelope);
        put(&mut fields, path, json!(WORDS[4]));
        for key in [&world.billing_keys.signing, &stranger.signing] {
            let text = key.sign(Some(REQUEST), &serde_json::to_vec(&fields).unwrap()).unwrap();
            seen.remember(&text);
            let error = world.open(&text, &headers).await.unwrap_err();
            shown.push(format!("{error} {error:?}"));
        }
    }
    for text in &shown {
        seen.assert_not_in(text, "a debug output");
    }
    let lines = JsonLines::new(Vec::new());
    let events = recorded.take();
    assert!(events.len() > 15, "{}", events.len());
    for event in &events {
        seen.assert_not_in(&format!("{event:?}"), "an event");
        lines.record(event);
    }
    let trail = String::from_utf8(lines.into_inner()).unwrap();
    assert_eq!(trail.lines().count(), events.len());
    seen.assert_not_in(&trail, "the audit trail");
    seen.assert_not_in(&log.text(), "the log");
}

#[tokio::test]
async fn the_audit_trail_says_who_what_and_how_it_went() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let sealed = world.seal(&headers, "0190a209-f46e-7534-9dd0-a8a5554e22e1").await;
    world.open(&sealed.envelope, &headers).await.unwrap();
    world.open(&sealed.envelope, &headers).await.unwrap_err();
    let lines = JsonLines::new(Vec::new());
    for event in world.events.take() {
        lines.record(&event);
    }
    let trail = String::from_utf8(lines.into_inner()).unwrap();
    let last: Value = serde_json::from_str(trail.lines().last().unwrap()).unwrap();
    let sub = last["subject"].as_str().unwrap();
    assert!(sub.starts_with("sha256:"), "{sub}");
    let expected = json!({
        "at": "2027-01-15T08:00:00Z", "guard": "envelope", "boundary": "replay", "outcome": "refused",
        "reason": "replay", "traceId": super::TRACE_ID, "messageId": claims(&sealed.envelope)["messageId"],
        "idempotencyKey": "0190a209-f46e-7534-9dd0-a8a5554e22e1", "tenantId": "acme",
        "actor": last["actor"], "subject": sub, "txn": "0190a209-f46e-7534-9dd0-a8a5554e22e0",
        "peer": "billing", "capability": "tool_call",
    });
    assert_eq!(last, expected);
}

#[tokio::test]
async fn the_verifier_of_tokens_tells_what_it_saw() {
    let world = World::start().await;
    let events = Arc::new(Recorded::default());
    let verifier = Verifier::builder(["https://ledger.shop.example/"])
        .issuer(Issuer::sts(world.sts.url()))
        .require_scope(scope("refund:draft"))
        .events(EventSinks::to(Arc::clone(&events) as Arc<_>))
        .clock(Arc::new(world.clock.clone()))
        .build()
        .unwrap();
    let rows = [
        (world.token(&json!({})), Boundary::Authorization, BoundaryOutcome::Passed),
        (
            world.token(&json!({ "scope": "x" })),
            Boundary::Authorization,
            BoundaryOutcome::Refused("insufficient_scope"),
        ),
        (world.token(&json!({ "aud": "warehouse" })), Boundary::Identity, BoundaryOutcome::Refused("not_addressed")),
        (HeaderMap::new(), Boundary::Identity, BoundaryOutcome::Refused("token_missing")),
    ];
    for (headers, boundary, outcome) in rows {
        let verified = verifier.verify(&headers).await;
        assert_eq!(verified.is_ok(), outcome == BoundaryOutcome::Passed);
        let told = events.take();
        let last = told.last().unwrap();
        assert_eq!((last.boundary, last.outcome), (boundary, outcome));
        assert_eq!(told[0].boundary, Boundary::Received);
        assert!(told.iter().all(|event| event.guard == Guard::Token && event.about.trace_id.is_some()), "{told:?}");
        assert_eq!(last.about.tenant_id.is_some(), outcome == BoundaryOutcome::Passed);
    }
}
