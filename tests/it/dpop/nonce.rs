//! Nonces in proofs (RFC 9449 §8).

use std::collections::BTreeSet;

use serde_json::json;
use sts_server::error_kind::ErrorKind;
use sts_tests::{Answer, FormRequest, Harness, ProofKey, Setup};

/// The span of time that a nonce is given out in, in seconds.
const SPAN: u64 = 120;

async fn demanding(setup: Setup) -> Harness {
    setup.option("DPOP__NONCE", "required").start().await
}

/// The only nonce of an answer.
fn nonce(answer: &Answer) -> String {
    let nonces: Vec<_> = answer.headers.get_all("dpop-nonce").iter().collect();
    assert_eq!((nonces.len(), answer.header("cache-control")), (1, "no-store"), "{:?}", answer.headers);
    let nonce = nonces[0].to_str().expect("ASCII").to_owned();
    assert!(nonce.len() >= 20, "{nonce}");
    nonce
}

fn with_nonce(harness: &Harness, key: &ProofKey, nonce: &str) -> FormRequest {
    harness.exchange().header("dpop", harness.proof_with(key, &json!({ "nonce": nonce })))
}

#[tokio::test]
async fn rfc_9449_section_8_a_proof_without_a_nonce_is_answered_with_one() {
    let harness = demanding(Setup::default()).await;
    let key = ProofKey::new();
    let refused = harness.exchange().proving(&harness, &key);
    let answer = harness.assert_refused("without", refused, ErrorKind::ProofNonce, "dpop_nonce_missing").await;
    let given = nonce(&answer);
    let answer = with_nonce(&harness, &key, &given).send().await;
    assert_eq!((answer.token().is_empty(), &answer.json["token_type"]), (false, &json!("DPoP")));
    assert_eq!(nonce(&answer), given, "also with a success");
    for wrong in ["", "x", &given[1..], "of another server"] {
        let request = with_nonce(&harness, &key, wrong);
        let answer = harness.assert_refused(wrong, request, ErrorKind::ProofNonce, "dpop_nonce_mismatch").await;
        assert_eq!(nonce(&answer), given);
    }
    // Whatever else is wrong with the proof comes first: a nonce would not help.
    let old = harness.exchange().header("dpop", harness.proof_with(&key, &json!({ "iat": 0 })));
    harness.assert_refused("too old", old, ErrorKind::Proof, "dpop_proof_too_old").await;
    // A request without a proof is no matter of nonces, and learns of one all the same.
    nonce(&harness.exchange().send().await);
}

#[tokio::test]
async fn a_nonce_is_accepted_for_its_span_and_the_next_and_no_longer() {
    let harness = demanding(Setup::default()).await;
    let key = ProofKey::new();
    let given = nonce(&harness.exchange().send().await);
    harness.advance(SPAN);
    let later = nonce(&with_nonce(&harness, &key, &given).send().await);
    assert_ne!(later, given);
    harness.advance(SPAN);
    let old = with_nonce(&harness, &key, &given);
    harness.assert_refused("old", old, ErrorKind::ProofNonce, "dpop_nonce_mismatch").await;
    with_nonce(&harness, &key, &later).send().await.token();
}

#[tokio::test]
async fn three_servers_accept_each_others_nonces() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let harness = demanding(setup).await;
        let ahead = harness.clock.clone();
        let (second, third) = (harness.replica().await, harness.replica_at(&ahead).await);
        let wires = [harness.wire(), &second.wire, &third.wire];
        let key = ProofKey::new();
        let mut nonces = BTreeSet::new();
        for giver in wires {
            let given = nonce(&harness.exchange().at(giver).send().await);
            for taker in wires {
                with_nonce(&harness, &key, &given).at(taker).send().await.token();
            }
            nonces.insert(given);
        }
        assert_eq!(nonces.len(), 1, "one span, one nonce");
    }
}

/// The clocks of two servers may differ by some seconds, also where a span ends.
#[tokio::test]
async fn a_nonce_of_a_server_whose_clock_is_ahead_is_accepted() {
    let harness = demanding(Setup::default()).await;
    let ahead = sts_jose::ManualClock::new(sts_jose::Clock::now(&harness.clock));
    ahead.advance(std::time::Duration::from_secs(SPAN));
    let replica = harness.replica_at(&ahead).await;
    let refused = harness.exchange().proving(&harness, &ProofKey::new()).at(&replica.wire).send().await;
    let given = nonce(&refused);
    with_nonce(&harness, &ProofKey::new(), &given).send().await.token();
}
