//! Every bit of an envelope flipped in turn, and every truncation: nothing is accepted, and nothing panics.

use serde_json::{Value, json};
use sts_client::envelope::Reason;
use sts_tests::base64url;

use super::{Keys, World, claims};

/// Every text that differs from `text` in one bit; those that are no UTF-8 cannot reach the function, which takes a text.
fn flipped(text: &str) -> impl Iterator<Item = String> {
    let bits = (0..text.len()).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    bits.filter_map(move |(at, bit)| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1 << bit;
        String::from_utf8(bytes).ok()
    })
}

#[tokio::test]
async fn no_flipped_bit_and_no_truncation_of_an_envelope_is_accepted() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let delegation = world.delegation(&headers).await;
    let envelope = world.seal(&headers, "refund-1").await.envelope;
    let mut tried = 0;
    for text in flipped(&envelope).chain((0..envelope.len()).map(|length| envelope[..length].to_owned())) {
        let refusal = world.ledger.open(&text, &delegation).await.unwrap_err();
        assert_eq!(refusal.reason(), Some(Reason::BadSignature), "{text}");
        tried += 1;
    }
    // Seven of eight flips are ASCII, and so is each truncation.
    assert_eq!(tried, envelope.len() * 8);
    assert_eq!((world.ledger.decryptions().attempted, world.ledger.decryptions().succeeded), (0, 0));
    world.ledger.open(&envelope, &delegation).await.unwrap();
}

/// The payload's JWE by itself, as the function that opens payloads sees it.
#[tokio::test]
async fn no_flipped_bit_and_no_truncation_of_a_payload_is_accepted() {
    let world = World::start().await;
    let envelope = world.seal(&world.token(&json!({})), "refund-1").await.envelope;
    let jwe = claims(&envelope)["encryptedPayload"].as_str().unwrap().to_owned();
    let mut tried = 0;
    for text in flipped(&jwe).chain((0..jwe.len()).map(|length| jwe[..length].to_owned())) {
        assert!(world.ledger_keys.decryption.decrypt(&text).is_err(), "{text}");
        tried += 1;
    }
    assert_eq!(tried, jwe.len() * 8);
    world.ledger_keys.decryption.decrypt(&jwe).unwrap();
}

/// What josekit would let through, and the gate before it does not.
#[tokio::test]
async fn the_gate_before_the_cryptography_is_strict() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let jwe = claims(&world.seal(&headers, "refund-1").await.envelope)["encryptedPayload"].as_str().unwrap().to_owned();
    let parts: Vec<&str> = jwe.split('.').collect();
    let header: Value = serde_json::from_slice(&decode(parts[0])).unwrap();
    let with = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        format!("{}.{}", base64url(header.to_string()), parts[1..].join("."))
    };
    let tag = decode(parts[4]);
    let other = Keys::generate();
    let mut point = header["epk"].clone();
    point["y"] = point["x"].clone();
    let mut private = header["epk"].clone();
    private["d"] = json!("AAAA");
    let rows = [
        ("a short tag", format!("{}.{}", parts[..4].join("."), base64url(&tag[..4]))),
        ("no tag", format!("{}.", parts[..4].join("."))),
        ("an encrypted key", format!("{}.AAAA.{}", parts[0], parts[2..].join("."))),
        ("zip", with("zip", json!("DEF"))),
        ("crit", with("crit", json!(["exp"]))),
        ("another enc", with("enc", json!("A128GCM"))),
        ("another alg", with("alg", json!("ECDH-ES+A256KW"))),
        ("RSA1_5", with("alg", json!("RSA1_5"))),
        ("PBES2", with("alg", json!("PBES2-HS256+A128KW"))),
        ("dir", with("alg", json!("dir"))),
        ("a point beside the curve", with("epk", point)),
        ("a private point", with("epk", private)),
        ("a number as apv", with("apv", json!(7))),
        (
            "another key",
            jwe.replace(
                &parts[0].to_owned(),
                &base64url({
                    let mut header = header.clone();
                    header["kid"] = json!(other.decryption.kid());
                    header.to_string()
                }),
            ),
        ),
    ];
    for (label, text) in rows {
        assert!(world.ledger_keys.decryption.decrypt(&text).is_err(), "{label}");
    }
    assert!(other.decryption.decrypt(&jwe).is_err());
    world.ledger_keys.decryption.decrypt(&jwe).unwrap();
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}
