//! Keys come and go: two are live, and old ones open old messages until they go.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::{Value, json};
use sts_client::SigningKey;
use sts_client::envelope::{AgentKeys, Capability, DecryptionKey, Envelopes, Message, Needs, Peer, Reason, Sealed};
use sts_client::{CorrelationId, IdempotencyKey};
use sts_jose::Algorithm;
use sts_tests::TestIssuer;

use super::{TRACE_ID, World, claims, later, refund, scope};

/// A sender and a recipient that know each other by their key sets alone, over HTTP.
struct Pair {
    world: World,
    headers: HeaderMap,
    billing: (AgentKeys, TestIssuer, Envelopes),
    ledger: (AgentKeys, TestIssuer, Envelopes),
}

impl Pair {
    async fn start() -> Self {
        let world = World::start().await;
        let (billing_keys, ledger_keys) = (AgentKeys::generate().unwrap(), AgentKeys::generate().unwrap());
        let (billing_jwks, ledger_jwks) = (TestIssuer::start().await, TestIssuer::start().await);
        let at = |issuer: &TestIssuer| issuer.jwks_uri().parse().unwrap();
        let billing = Envelopes::builder("billing", billing_keys.clone())
            .peer(Peer::at("ledger", at(&ledger_jwks)).audience("https://ledger.shop.example/"))
            .clock(Arc::new(world.clock.clone()))
            .build()
            .unwrap();
        let ledger = Envelopes::builder("ledger", ledger_keys.clone())
            .audience("https://ledger.shop.example/")
            .peer(Peer::at("billing", at(&billing_jwks)))
            .capability(Capability::ToolCall, Needs::scopes([scope("refund:draft")]))
            .clock(Arc::new(world.clock.clone()))
            .build()
            .unwrap();
        let headers = world.token(&json!({}));
        let pair = Self {
            world,
            headers,
            billing: (billing_keys, billing_jwks, billing),
            ledger: (ledger_keys, ledger_jwks, ledger),
        };
        pair.publish();
        pair
    }

    fn publish(&self) {
        for (keys, issuer, _) in [&self.billing, &self.ledger] {
            issuer.publish(keys.jwks());
        }
    }

    async fn seal(&self, key: &str) -> Sealed {
        let payload = serde_json::to_vec(&refund()).unwrap();
        let message = Message {
            capability: Capability::ToolCall,
            scopes: "ledger:use refund:draft".parse().unwrap(),
            trace_id: &CorrelationId::from_text(TRACE_ID).unwrap(),
            idempotency_key: &IdempotencyKey::from_text(key).unwrap(),
            payload: &payload,
            payload_uri: None,
        };
        self.billing.2.seal("ledger", &self.headers, &message).await.unwrap()
    }

    /// `None` when it is opened.
    async fn refusal(&self, envelope: &str) -> Option<Reason> {
        let delegation = self.world.delegation(&self.headers).await;
        self.ledger.2.open(envelope, &delegation).await.err().map(|error| error.reason().expect("no outage"))
    }
}

fn fresh() -> (SigningKey, DecryptionKey) {
    (SigningKey::generate(Algorithm::Es256).unwrap(), DecryptionKey::generate().unwrap())
}

fn kids(keys: &AgentKeys, purpose: &str) -> Vec<String> {
    let jwks = keys.jwks();
    let of = jwks["keys"].as_array().unwrap().iter().filter(|key| key["use"] == purpose);
    of.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn payload_kid(envelope: &str) -> String {
    let jwe = claims(envelope)["encryptedPayload"].as_str().unwrap().to_owned();
    let jose = sts_jose::json::parse_object(&decode(jwe.split('.').next().unwrap())).unwrap();
    jose["kid"].as_str().unwrap().to_owned()
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[tokio::test]
async fn keys_are_published_and_found_as_a_key_set_and_nothing_private_is_in_it() {
    let pair = Pair::start().await;
    let jwks = pair.ledger.0.jwks();
    for key in jwks["keys"].as_array().unwrap() {
        let names: Vec<&String> = key.as_object().unwrap().keys().collect();
        assert!(
            names.iter().all(|name| ["kty", "crv", "x", "y", "kid", "use", "alg"].contains(&name.as_str())),
            "{names:?}"
        );
    }
    let uses: Vec<&Value> = jwks["keys"].as_array().unwrap().iter().map(|key| &key["use"]).collect();
    assert_eq!(uses, ["sig", "enc"]);
    assert_eq!(pair.refusal(&pair.seal("refund-1").await.envelope).await, None);
}

#[tokio::test]
async fn two_keys_are_live_and_the_old_one_opens_old_messages_until_it_goes() {
    let pair = Pair::start().await;
    let before = pair.seal("before").await.envelope;
    let late = pair.seal("late").await.envelope;
    let (keys, _, _) = &pair.ledger;
    let [old] = kids(keys, "enc").try_into().unwrap();
    let (signing, decryption) = fresh();
    let new = decryption.kid().to_owned();
    keys.announce(signing, decryption);
    assert_eq!(kids(keys, "enc"), [new.clone(), old.clone()]);
    pair.publish();
    // Senders learn of it within five minutes, and meanwhile use the one that they know.
    assert_eq!(payload_kid(&pair.seal("meanwhile").await.envelope), old);
    later(&pair.world, Duration::from_secs(301));
    let found = async {
        // What is known is served while the new set is fetched behind the scenes.
        while payload_kid(&pair.seal("found").await.envelope) != new {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap();
    pair.world.clock.set(jiff::Timestamp::from_second(1_800_000_000).unwrap());
    keys.activate();
    assert_eq!(kids(keys, "enc"), [new, old]);
    assert_eq!(pair.refusal(&before).await, None);
    keys.retire();
    assert_eq!(kids(keys, "enc").len(), 1);
    assert_eq!(pair.refusal(&late).await, Some(Reason::Undecryptable));
    assert_eq!(pair.refusal(&pair.seal("after").await.envelope).await, None);
}

#[tokio::test]
async fn a_new_signing_key_is_believed_at_once_and_a_retired_one_no_more() {
    let pair = Pair::start().await;
    assert_eq!(pair.refusal(&pair.seal("before").await.envelope).await, None);
    let old = pair.seal("old").await.envelope;
    let (keys, _, _) = &pair.billing;
    let (signing, decryption) = fresh();
    keys.announce(signing, decryption);
    assert_eq!(kids(keys, "sig").len(), 2);
    pair.publish();
    keys.activate();
    // The name of a key that is not known has the set fetched.
    assert_eq!(pair.refusal(&pair.seal("new").await.envelope).await, None);
    assert_eq!(pair.refusal(&old).await, None);
    let gone = Pair::start().await;
    let old = gone.seal("old").await.envelope;
    let (keys, _, _) = &gone.billing;
    let (signing, decryption) = fresh();
    keys.announce(signing, decryption);
    keys.activate();
    keys.retire();
    gone.publish();
    assert_eq!(gone.refusal(&old).await, Some(Reason::BadSignature));
    assert_eq!(gone.refusal(&gone.seal("new").await.envelope).await, None);
}
