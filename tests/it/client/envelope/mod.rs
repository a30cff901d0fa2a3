//! Envelopes between agents (docs/threats.md, The envelope).
//!
//! [`World`] is a billing agent that asks a ledger, with tokens of an STS; each test changes one thing in an envelope that is opened.

mod answers;
mod approved_actions;
mod desk;
mod flips;
mod key_file;
mod once;
mod payloads;
mod properties;
mod redaction;
mod refusals;
mod rotation;
mod serving;
mod wycheproof;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sts_client::envelope::{
    AgentKeys, ApprovalDesk, Capability, DecryptionKey, Envelopes, EnvelopesBuilder, Message, Needs, OpenError, Opened,
    Peer, Reason, Sealed,
};
use sts_client::events::{Boundary, BoundaryOutcome, Event, EventSinks, Recorded};
use sts_client::inbound::Issuer;
use sts_client::{Caller, CorrelationId, IdempotencyKey, KeySet, KeySource, ScopeToken, SigningKey, Verifier};
use sts_jose::{Algorithm, Clock as _, CompactJws, ManualClock};
use sts_tests::{Seen, TestIssuer, base64url, bearer};

const REQUEST: &str = "agent-request+jwt";
const ANSWER: &str = "agent-answer+jwt";
const TRACE_ID: &str = "0190a209-f46e-7534-9dd0-a8a5554e22e9";

/// What the billing agent asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refund {
    order: String,
    cents: u32,
}

/// What the ledger answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Drafted {
    draft: String,
}

/// An agent's keys, twice: once to be used, once to forge with.
pub(super) struct Keys {
    pub(super) agent: AgentKeys,
    pub(super) signing: SigningKey,
    pub(super) decryption: DecryptionKey,
}

impl Keys {
    pub(super) fn generate() -> Self {
        let signing = SigningKey::generate(Algorithm::Es256).unwrap();
        let twin = SigningKey::from_pkcs8(Algorithm::Es256, &signing.to_pkcs8()).unwrap();
        let decryption = DecryptionKey::generate().unwrap();
        Self { agent: AgentKeys::new(twin, copy(&decryption)), signing, decryption }
    }

    pub(super) fn source(&self) -> KeySource {
        KeySource::Inline(KeySet::parse(self.agent.jwks().to_string().as_bytes()).unwrap())
    }
}

pub(super) fn copy(key: &DecryptionKey) -> DecryptionKey {
    let jwk: Value = serde_json::from_str(secrecy::ExposeSecret::expose_secret(&key.to_jwk())).unwrap();
    DecryptionKey::from_jwk(jwk.as_object().unwrap()).unwrap()
}

/// A billing agent, a ledger, and the STS whose tokens name the first to the second.
pub(super) struct World {
    pub(super) sts: TestIssuer,
    pub(super) clock: ManualClock,
    pub(super) verifier: Verifier,
    pub(super) billing_keys: Keys,
    pub(super) ledger_keys: Keys,
    pub(super) billing: Envelopes,
    pub(super) ledger: Envelopes,
    pub(super) desk: Arc<ApprovalDesk>,
    pub(super) events: Arc<Recorded>,
    pub(super) seen: Seen,
}

impl World {
    pub(super) async fn start() -> Self {
        Self::with(|ledger| ledger).await
    }

    /// With a ledger that is set up otherwise.
    pub(super) async fn with(change: impl FnOnce(EnvelopesBuilder) -> EnvelopesBuilder) -> Self {
        let sts = TestIssuer::start().await;
        let clock = ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap());
        let verifier = Verifier::builder(["ledger", "https://ledger.shop.example/"])
            .issuer(Issuer::sts(sts.url()))
            .clock(Arc::new(clock.clone()))
            .build()
            .unwrap();
        let (billing_keys, ledger_keys) = (Keys::generate(), Keys::generate());
        let billing = Envelopes::builder("billing", billing_keys.agent.clone())
            .peer(Peer::new("ledger", ledger_keys.source()).audience("https://ledger.shop.example/"))
            .clock(Arc::new(clock.clone()))
            .build()
            .unwrap();
        let desk = Arc::new(ApprovalDesk::new(100, Arc::new(clock.clone())));
        let events = Arc::new(Recorded::default());
        let ledger = Envelopes::builder("ledger", ledger_keys.agent.clone())
            .audience("https://ledger.shop.example/")
            .peer(Peer::new("billing", billing_keys.source()))
            .require_scope(scope("ledger:use"))
            .capability(Capability::Read, Needs::scopes([scope("refund:read")]))
            .capability(Capability::ToolCall, Needs::scopes([scope("refund:draft")]))
            .capability(Capability::WorkflowCommand, Needs::scopes([scope("refund:draft")]).approval())
            .approvals(Arc::clone(&desk) as Arc<_>)
            .events(EventSinks::to(Arc::clone(&events) as Arc<_>))
            .clock(Arc::new(clock.clone()));
        let ledger = change(ledger).build().unwrap();
        Self { sts, clock, verifier, billing_keys, ledger_keys, billing, ledger, desk, events, seen: Seen::default() }
    }

    /// The claims of a token that the STS gave the billing agent for the ledger, on behalf of `alice` of `acme`.
    pub(super) fn token_claims(&self, changes: &Value) -> Value {
        let now = self.clock.now().as_second();
        let mut claims = json!({
            "iss": self.sts.url(), "sub": "alice", "aud": "https://ledger.shop.example/", "client_id": "billing",
            "iat": now, "exp": now + 3600, "jti": base64url(now.to_be_bytes()),
            "scope": "ledger:use refund:draft", "act": { "sub": "billing", "iss": self.sts.url() },
            "sub_id": { "format": "iss_sub", "iss": "https://login.example.com", "sub": "alice" },
            "tenant_id": "acme", "txn": "0190a209-f46e-7534-9dd0-a8a5554e22e0",
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    }

    pub(super) fn token(&self, changes: &Value) -> HeaderMap {
        let mut header = self.sts.key().header();
        header["typ"] = json!("at+jwt");
        let token = self.sts.key().sign_with(&header, &self.token_claims(changes));
        self.seen.remember(&token);
        bearer(&token)
    }

    pub(super) async fn delegation(&self, headers: &HeaderMap) -> Caller {
        self.verifier.verify(headers).await.unwrap()
    }

    /// Seals a refund of one order, under that idempotency key, to the ledger.
    pub(super) async fn seal(&self, headers: &HeaderMap, key: &str) -> Sealed {
        self.seal_as(headers, key, Capability::ToolCall, &refund()).await
    }

    pub(super) async fn seal_as(
        &self,
        headers: &HeaderMap,
        key: &str,
        capability: Capability,
        payload: &impl Serialize,
    ) -> Sealed {
        let payload = serde_json::to_vec(payload).unwrap();
        let message = Message {
            capability,
            scopes: "ledger:use refund:draft".parse().unwrap(),
            trace_id: &CorrelationId::from_text(TRACE_ID).unwrap(),
            idempotency_key: &IdempotencyKey::from_text(key).unwrap(),
            payload: &payload,
            payload_uri: None,
        };
        self.billing.seal("ledger", headers, &message).await.unwrap()
    }

    /// Opens with the token that the headers bear.
    pub(super) async fn open(&self, envelope: &str, headers: &HeaderMap) -> Result<Opened, OpenError> {
        self.ledger.open(envelope, &self.delegation(headers).await).await
    }

    /// Opens what is refused, and looks at all that it leaves behind.
    pub(super) async fn refused(&self, label: &str, envelope: &str, headers: &HeaderMap, reason: Reason) {
        let before = self.ledger.decryptions();
        let _earlier = self.events.take();
        let error = self.open(envelope, headers).await.expect_err(label);
        assert_eq!(error.reason(), Some(reason), "{label}: {error:?}");
        let after = self.ledger.decryptions();
        assert_eq!(after.succeeded, before.succeeded, "{label}: decrypted");
        if reason != Reason::Undecryptable {
            assert_eq!(after.attempted, before.attempted, "{label}: reached the decryption key");
        }
        let events = self.events.take();
        let refusals: Vec<&Event> = events.iter().filter(|event| event.outcome != BoundaryOutcome::Passed).collect();
        let [refusal] = refusals.as_slice() else { panic!("{label}: {events:?}") };
        assert_eq!(
            (refusal.boundary, refusal.outcome),
            (reason.boundary(), BoundaryOutcome::Refused(reason.as_str())),
            "{label}"
        );
        assert!(
            events.iter().all(|event| event.boundary != Boundary::Decrypted || event == *refusal),
            "{label}: {events:?}"
        );
    }

    /// An envelope of the billing agent with other claims, signed as if they were its own.
    pub(super) fn resigned(&self, envelope: &str, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let mut claims = claims(envelope);
        change(&mut claims);
        self.billing_keys.signing.sign(Some(REQUEST), &serde_json::to_vec(&claims).unwrap()).unwrap()
    }
}

pub(super) fn scope(text: &str) -> ScopeToken {
    ScopeToken::new(text).unwrap()
}

pub(super) fn refund() -> Refund {
    Refund { order: "order-4711".to_owned(), cents: 1_250 }
}

/// The claims of an envelope, as whoever holds it can read them.
pub(super) fn claims(envelope: &str) -> Map<String, Value> {
    let jws = CompactJws::parse_within(1 << 20, envelope).unwrap();
    serde_json::from_slice(jws.payload()).unwrap()
}

/// The claims with one in place of another: `caller/subject` is a member of a member.
pub(super) fn put(claims: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('/') {
        None => drop(claims.insert(path.to_owned(), value)),
        Some((outer, inner)) => drop(claims[outer].as_object_mut().unwrap().insert(inner.to_owned(), value)),
    }
}

pub(super) fn remove(claims: &mut Map<String, Value>, path: &str) {
    match path.split_once('/') {
        None => drop(claims.remove(path)),
        Some((outer, inner)) => drop(claims[outer].as_object_mut().unwrap().remove(inner)),
    }
}

pub(super) async fn draft(_refund: Refund) -> Result<Drafted, std::convert::Infallible> {
    Ok(Drafted { draft: "draft-1".to_owned() })
}

#[tokio::test]
async fn a_sealed_message_is_opened_and_answered() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let sealed = world.seal(&headers, "refund-1").await;
    let opened = world.open(&sealed.envelope, &headers).await.unwrap();
    assert_eq!(opened.capability(), Capability::ToolCall);
    assert_eq!((opened.service_id(), opened.trace_id(), opened.idempotency_key()), ("billing", TRACE_ID, "refund-1"));
    let answer = opened.serve(async move |asked: Refund| {
        assert_eq!(asked, refund());
        draft(asked).await
    });
    let answer = answer.await.unwrap();
    let drafted: Drafted = sealed.awaiting.open(&answer).await.unwrap();
    assert_eq!(drafted.draft, "draft-1");
    assert_eq!((world.ledger.decryptions().attempted, world.ledger.decryptions().succeeded), (1, 1));
    let boundaries: Vec<Boundary> = world.events.take().iter().map(|event| event.boundary).collect();
    assert_eq!(boundaries[..6], Boundary::ALL[..6], "{boundaries:?}");
    assert_eq!(boundaries[6..], [Boundary::Validated, Boundary::Invoked, Boundary::Answered]);
}

/// The fields by the names that the issue gives them, and those that bind them together.
#[tokio::test]
async fn every_field_is_signed_under_its_name() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let envelope = world.seal(&headers, "refund-1").await.envelope;
    let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut claims = claims(&envelope);
    for name in ["messageId", "payloadTag", "encryptedPayload"] {
        assert!(claims.remove(name).unwrap().is_string(), "{name}");
    }
    let expected = json!({
        "traceId": TRACE_ID, "idempotencyKey": "refund-1",
        "issuedAt": "2027-01-15T08:00:00Z", "expiresAt": "2027-01-15T08:01:00Z",
        "caller": { "subject": "alice", "tenantId": "acme", "serviceId": "billing" },
        "auth": {
            "issuer": world.sts.url(), "audience": "https://ledger.shop.example/",
            "scopes": ["ledger:use", "refund:draft"],
        },
        "capability": "tool_call", "tokenHash": base64url(sha256),
    });
    assert_eq!(Value::Object(claims), expected);
    assert!(!envelope.contains(token));
    let header = CompactJws::parse_within(1 << 20, &envelope).unwrap().header().clone();
    assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some(REQUEST), Some(world.billing_keys.signing.kid())));
}

/// A clock that tells later when the other one is asked: what is in flight is not held for ever.
pub(super) fn later(world: &World, by: Duration) {
    world.clock.advance(by);
}
