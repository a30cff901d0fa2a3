//! Every way in which a request is refused, each with its reason, and the decryption key untouched.

use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value, json};
use sts_client::envelope::{Capability, OpenError, Reason};
use sts_client::{Delegation, KeyLookupError};

use super::{ANSWER, Keys, REQUEST, World, claims, later, put, refund, remove};

/// One member of the claims, what it is changed to (nothing: removed), and why that is refused.
type Row = (&'static str, Option<Value>, Reason);

/// Claims that the billing agent signs, whatever they say.
fn rows() -> Vec<Row> {
    let row = |path, value, reason| (path, Some(value), reason);
    let gone = |path, reason| (path, None, reason);
    vec![
        row("caller/serviceId", json!("warehouse"), Reason::BadSignature),
        gone("caller/serviceId", Reason::BadSignature),
        row("extra", json!("x"), Reason::BadSignature),
        row("caller/role", json!("admin"), Reason::BadSignature),
        row("auth/act", json!("x"), Reason::BadSignature),
        row("caller/subject", json!("bob"), Reason::CallerMismatch),
        row("caller/subject", json!(["alice"]), Reason::CallerMismatch),
        gone("caller/subject", Reason::CallerMismatch),
        row("auth/issuer", json!("https://sts.example.com"), Reason::CallerMismatch),
        gone("auth", Reason::CallerMismatch),
        row("tokenHash", json!("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"), Reason::CallerMismatch),
        gone("tokenHash", Reason::CallerMismatch),
        row("caller/tenantId", json!("globex"), Reason::WrongTenant),
        row("caller/tenantId", json!(null), Reason::WrongTenant),
        gone("caller/tenantId", Reason::WrongTenant),
        row("auth/audience", json!("https://warehouse.shop.example/"), Reason::WrongAudience),
        row("auth/audience", json!("https://ledger.shop.example"), Reason::WrongAudience),
        row("auth/audience", json!(["https://ledger.shop.example/"]), Reason::WrongAudience),
        gone("auth/audience", Reason::WrongAudience),
        row("auth/scopes", json!(["ledger:use", "refund:draft", "refund:approve"]), Reason::MissingScope),
        row("auth/scopes", json!(["refund:draft"]), Reason::MissingScope),
        row("auth/scopes", json!("ledger:use refund:draft"), Reason::MissingScope),
        gone("auth/scopes", Reason::MissingScope),
        row("expiresAt", json!("2027-01-15T08:00:00Z"), Reason::ExpiredMessage),
        row("expiresAt", json!("2027-01-15T08:05:01Z"), Reason::ExpiredMessage),
        row("expiresAt", json!("2027-01-15 08:01:00Z"), Reason::ExpiredMessage),
        row("expiresAt", json!(1_800_000_060), Reason::ExpiredMessage),
        gone("expiresAt", Reason::ExpiredMessage),
        row("issuedAt", json!("2027-01-15T08:00:31Z"), Reason::NotYetValid),
        row("issuedAt", json!("2027-01-15T09:00:00+01:00"), Reason::NotYetValid),
        gone("issuedAt", Reason::NotYetValid),
        gone("traceId", Reason::MissingTraceOrIdempotency),
        row("traceId", json!(""), Reason::MissingTraceOrIdempotency),
        row("traceId", json!("x".repeat(129)), Reason::MissingTraceOrIdempotency),
        gone("messageId", Reason::MissingTraceOrIdempotency),
        row("messageId", json!("a b"), Reason::MissingTraceOrIdempotency),
        gone("idempotencyKey", Reason::MissingTraceOrIdempotency),
        row("idempotencyKey", json!(7), Reason::MissingTraceOrIdempotency),
        row("capability", json!("delegate"), Reason::CapabilityNotDelegated),
        row("capability", json!("read"), Reason::CapabilityNotDelegated),
        row("capability", json!("TOOL_CALL"), Reason::CapabilityNotDelegated),
        gone("capability", Reason::CapabilityNotDelegated),
        gone("payloadTag", Reason::CapabilityNotDelegated),
        row("capability", json!("workflow_command"), Reason::ApprovalRequired),
        row("payloadTag", json!("AAAA"), Reason::Undecryptable),
        row("traceId", json!("another"), Reason::Undecryptable),
        row("encryptedPayload", json!(7), Reason::Undecryptable),
        row("encryptedPayload", json!(""), Reason::Undecryptable),
        row("payloadRef", json!("https://x.example/"), Reason::Undecryptable),
        row("payloadHash", json!("x"), Reason::Undecryptable),
        gone("encryptedPayload", Reason::Undecryptable),
    ]
}

#[tokio::test]
async fn every_signed_field_that_is_wrong_is_refused_with_its_reason() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    for (index, (path, value, reason)) in rows().into_iter().enumerate() {
        let envelope = world.seal(&headers, &format!("refund-{index}")).await.envelope;
        let label = format!("{path}: {value:?}");
        let changed = world.resigned(&envelope, |claims| match value {
            Some(value) => put(claims, path, value),
            None => remove(claims, path),
        });
        world.refused(&label, &changed, &headers, reason).await;
    }
    assert_eq!(world.ledger.decryptions().succeeded, 0);
    let envelope = world.seal(&headers, "refund-valid").await.envelope;
    world.open(&envelope, &headers).await.unwrap();
}

/// `exp` has no grace, and what comes from others may lie 30 seconds ahead.
#[tokio::test]
async fn the_times_of_a_message_are_exact() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let ahead =
        |world: &World, envelope: &str, at: &str| world.resigned(envelope, |claims| put(claims, "issuedAt", json!(at)));
    let envelope = world.seal(&headers, "a").await.envelope;
    // The binding of the payload is broken by the other time: the time itself was good.
    world
        .refused("30 s ahead", &ahead(&world, &envelope, "2027-01-15T08:00:30Z"), &headers, Reason::Undecryptable)
        .await;
    let envelope = world.seal(&headers, "b").await.envelope;
    later(&world, Duration::from_millis(59_999));
    world.open(&envelope, &headers).await.unwrap();
    later(&world, Duration::from_millis(1));
    world.refused("at its end", &envelope, &headers, Reason::ExpiredMessage).await;
}

#[tokio::test]
async fn an_envelope_goes_with_the_token_that_it_was_made_for_and_no_other() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let rows: [(&str, Value, Reason); 6] = [
        ("another token of the same caller", json!({ "jti": "another" }), Reason::CallerMismatch),
        ("another user", json!({ "sub": "bob" }), Reason::CallerMismatch),
        ("another actor", json!({ "act": { "sub": "warehouse", "iss": world.sts.url() } }), Reason::CallerMismatch),
        ("another tenant", json!({ "tenant_id": "globex" }), Reason::CallerMismatch),
        (
            "an actor of somebody else",
            json!({ "act": { "sub": "billing", "iss": "https://x.example" } }),
            Reason::CallerMismatch,
        ),
        ("less scope", json!({ "scope": "ledger:use" }), Reason::CallerMismatch),
    ];
    for (index, (label, changes, reason)) in rows.into_iter().enumerate() {
        let envelope = world.seal(&headers, &format!("refund-{index}")).await.envelope;
        world.refused(label, &envelope, &world.token(&changes), reason).await;
        world.open(&envelope, &headers).await.unwrap();
    }
}

/// The text of an envelope is no source: where its sender names the token that it came with, the token still decides.
#[tokio::test]
async fn caller_tenant_and_scopes_are_those_of_the_token_and_never_of_the_text() {
    let world = World::start().await;
    let honest = world.token(&json!({}));
    let rows = [
        ("tenant", json!({ "tenant_id": "globex" }), Reason::WrongTenant),
        ("subject", json!({ "sub": "bob" }), Reason::CallerMismatch),
        ("scope", json!({ "scope": "ledger:use" }), Reason::MissingScope),
    ];
    for (index, (label, changes, reason)) in rows.into_iter().enumerate() {
        let other = world.token(&changes);
        let hash = claims(&world.seal(&other, "for-its-hash").await.envelope)["tokenHash"].clone();
        let envelope = world.seal(&honest, &format!("refund-{index}")).await.envelope;
        let envelope = world.resigned(&envelope, |claims| put(claims, "tokenHash", hash));
        world.refused(label, &envelope, &other, reason).await;
    }
}

#[tokio::test]
async fn what_is_no_envelope_of_a_known_service_is_a_bad_signature() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let envelope = world.seal(&headers, "refund-1").await.envelope;
    let json = serde_json::to_vec(&claims(&envelope)).unwrap();
    let signed = |typ: Option<&str>| world.billing_keys.signing.sign(typ, &json).unwrap();
    let stranger = Keys::generate();
    let [header, payload, signature] = envelope.split('.').collect::<Vec<_>>().try_into().unwrap();
    let with_header = |header: Value| {
        let header = sts_tests::base64url(header.to_string());
        format!("{header}.{payload}.{signature}")
    };
    let kid = world.billing_keys.signing.kid();
    let rows = [
        ("empty", String::new()),
        ("a token", headers["authorization"].to_str().unwrap().replace("Bearer ", "")),
        ("of a stranger's key", stranger.signing.sign(Some(REQUEST), &json).unwrap()),
        ("no typ", signed(None)),
        ("an answer's typ", signed(Some(ANSWER))),
        ("a token's typ", signed(Some("at+jwt"))),
        ("alg none", with_header(json!({ "alg": "none", "typ": REQUEST, "kid": kid }))),
        ("alg of a secret", with_header(json!({ "alg": "HS256", "typ": REQUEST, "kid": kid }))),
        ("alg of another key", with_header(json!({ "alg": "EdDSA", "typ": REQUEST, "kid": kid }))),
        ("crit", with_header(json!({ "alg": "ES256", "typ": REQUEST, "kid": kid, "crit": ["exp"] }))),
        ("no kid", with_header(json!({ "alg": "ES256", "typ": REQUEST }))),
        ("json serialisation", json!({ "protected": header, "payload": payload, "signature": signature }).to_string()),
        ("padding", format!("{envelope}=")),
        ("a fourth segment", format!("{envelope}.")),
        ("oversize", format!("{header}.{payload}{}.{signature}", "A".repeat(256 * 1024))),
    ];
    for (label, text) in rows {
        world.refused(label, &text, &headers, Reason::BadSignature).await;
    }
    world.open(&envelope, &headers).await.unwrap();
}

/// Two members with one name could be one thing here and another there.
#[tokio::test]
async fn a_claim_that_stands_twice_is_refused() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let envelope = world.seal(&headers, "refund-1").await.envelope;
    let json = serde_json::to_string(&claims(&envelope)).unwrap();
    for member in ["\"capability\":\"read\"", "\"caller\":{}", "\"c\\u0061pability\":\"read\""] {
        let twice = json.replacen('{', &format!("{{{member},"), 1);
        let text = world.billing_keys.signing.sign(Some(REQUEST), twice.as_bytes()).unwrap();
        world.refused(member, &text, &headers, Reason::BadSignature).await;
    }
}

#[tokio::test]
async fn parts_of_two_envelopes_do_not_go_together() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let sealed = world.seal(&headers, "refund-1").await;
    let other =
        world.seal_as(&headers, "refund-2", Capability::ToolCall, &json!({ "order": "order-1", "cents": 1 })).await;
    let parts = |envelope: &str| envelope.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (one, two) = (parts(&sealed.envelope), parts(&other.envelope));
    for (label, mix) in [("payload", [&one[0], &two[1], &one[2]]), ("signature", [&one[0], &one[1], &two[2]])] {
        let mixed = mix.map(String::as_str).join(".");
        world.refused(label, &mixed, &headers, Reason::BadSignature).await;
    }
    let payload = claims(&other.envelope)["encryptedPayload"].clone();
    let swapped = world.resigned(&sealed.envelope, |claims| put(claims, "encryptedPayload", payload.clone()));
    world.refused("the payload of another envelope", &swapped, &headers, Reason::Undecryptable).await;
    let tag = claims(&other.envelope)["payloadTag"].clone();
    let swapped = world.resigned(&world.seal(&headers, "refund-3").await.envelope, |claims| {
        put(claims, "encryptedPayload", payload);
        put(claims, "payloadTag", tag);
    });
    world.refused("with its tag", &swapped, &headers, Reason::Undecryptable).await;
    assert_eq!(world.ledger.decryptions().succeeded, 0);
}

/// Somebody who sees an envelope puts its payload into one of its own, under its own name.
#[tokio::test]
async fn a_payload_taken_over_by_another_agent_stays_shut() {
    let thief = Keys::generate();
    let source = thief.source();
    let world = World::with(|ledger| ledger.peer(sts_client::envelope::Peer::new("thief", source))).await;
    let headers = world.token(&json!({}));
    let mut stolen = claims(&world.seal(&headers, "refund-1").await.envelope);
    let own = world.token(&json!({ "sub": "mallory", "act": { "sub": "thief", "iss": world.sts.url() } }));
    let token = own["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    put(&mut stolen, "caller/serviceId", json!("thief"));
    put(&mut stolen, "caller/subject", json!("mallory"));
    put(&mut stolen, "tokenHash", json!(sts_tests::base64url(sha256)));
    let text = thief.signing.sign(Some(REQUEST), &serde_json::to_vec(&stolen).unwrap()).unwrap();
    world.refused("taken over", &text, &own, Reason::Undecryptable).await;
    let text = thief.signing.sign(Some(REQUEST), &serde_json::to_vec(&stolen).unwrap()).unwrap();
    world.refused("with the victim's token", &text, &headers, Reason::CallerMismatch).await;
}

#[tokio::test]
async fn an_operation_is_done_once_exactly_it_is_approved() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let seal = async |key: &str, refund: &super::Refund| {
        world.seal_as(&headers, key, Capability::WorkflowCommand, refund).await.envelope
    };
    world.refused("not approved", &seal("refund-1", &refund()).await, &headers, Reason::ApprovalRequired).await;
    let waiting = world.desk.waiting();
    let [operation] = waiting.as_slice() else { panic!("{waiting:?}") };
    assert_eq!((operation.service_id(), operation.capability()), ("billing", Capability::WorkflowCommand));
    let until = sts_jose::Clock::now(&world.clock) + Duration::from_secs(600);
    assert!(world.desk.approve(&operation.id(), until));
    world.open(&seal("refund-1", &refund()).await, &headers).await.unwrap();
    let another = super::Refund { cents: 1_000_000, ..refund() };
    world.refused("another key", &seal("refund-2", &another).await, &headers, Reason::ApprovalRequired).await;
    world.refused("another payload", &seal("refund-1", &another).await, &headers, Reason::Replay).await;
    assert!(!world.desk.approve("none", until));
}

/// An approval that has run out is none, and a recipient without approvals approves nothing.
#[tokio::test]
async fn an_approval_ends() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let seal = async || world.seal_as(&headers, "refund-1", Capability::WorkflowCommand, &refund()).await.envelope;
    world.refused("not approved", &seal().await, &headers, Reason::ApprovalRequired).await;
    let id = world.desk.waiting()[0].id();
    assert!(world.desk.approve(&id, sts_jose::Clock::now(&world.clock) + Duration::from_secs(10)));
    later(&world, Duration::from_secs(10));
    world.refused("no longer", &seal().await, &headers, Reason::ApprovalRequired).await;
}

/// I8: a refusal is never mistaken for an outage, nor an outage for a refusal.
#[tokio::test]
async fn keys_out_of_reach_are_no_refusal() {
    let issuer = sts_tests::TestIssuer::start().await;
    let keys = Keys::generate();
    issuer.publish(keys.agent.jwks());
    issuer.fail(sts_tests::Fault::Status(500));
    let at = issuer.jwks_uri().parse().unwrap();
    let world = World::with(|ledger| ledger.peer(sts_client::envelope::Peer::at("remote", at))).await;
    let headers = world.token(&json!({ "act": { "sub": "remote", "iss": world.sts.url() } }));
    let mut changed: Map<String, Value> = claims(&world.seal(&world.token(&json!({})), "a").await.envelope);
    put(&mut changed, "caller/serviceId", json!("remote"));
    let text = keys.signing.sign(Some(REQUEST), &serde_json::to_vec(&changed).unwrap()).unwrap();
    let error = open(&world, &text, &headers).await;
    assert!(matches!(error, OpenError::KeysUnavailable(KeyLookupError::Unavailable(_))), "{error:?}");
    assert_eq!((error.reason(), error.as_str()), (None, "keys_unavailable"));
    issuer.mend();
    later(&world, Duration::from_secs(2));
    assert_eq!(open(&world, &text, &headers).await.reason(), Some(Reason::CallerMismatch));
}

async fn open(world: &World, text: &str, headers: &HeaderMap) -> OpenError {
    let delegation: Delegation = world.delegation(headers).await;
    world.ledger.open(text, &delegation).await.unwrap_err()
}
