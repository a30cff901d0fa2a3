use serde_json::{Value, json};
use sts_jose::{Algorithm, EncryptionKey, JwkError, KeySet, KeySetError, MAX_KEYS, SigningKey, VerificationKey};

use crate::support::base64url;

fn jwk(algorithm: Algorithm) -> Value {
    SigningKey::generate(algorithm).unwrap().public_jwk()
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn refusal(jwk: &Value) -> Option<JwkError> {
    VerificationKey::from_jwk(jwk.as_object().unwrap()).err()
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// 2048 bits, odd, top bit set, and no ROCA fingerprint.
fn modulus(bytes: usize) -> Vec<u8> {
    let mut n = vec![0xa5; bytes];
    n[bytes - 1] = 0x0b;
    n
}

fn rsa(n: &[u8], e: &[u8]) -> Value {
    json!({ "kty": "RSA", "kid": "r", "n": base64url(n), "e": base64url(e) })
}

#[test]
fn a_key_that_cannot_be_used_is_skipped_and_the_others_stay() {
    let ec = jwk(Algorithm::Es256);
    let good = with(ec.clone(), "kid", json!("good"));
    let rows = [
        (json!({ "kty": "oct", "kid": "x", "k": "AAAA" }), JwkError::Private),
        (json!({ "kty": "oct", "kid": "x" }), JwkError::UnsupportedType),
        (with(ec.clone(), "d", json!("AAAA")), JwkError::Private),
        (with(ec.clone(), "k", json!(null)), JwkError::Private),
        (with(rsa(&modulus(256), &[1, 0, 1]), "oth", json!([])), JwkError::Private),
        (with(rsa(&modulus(256), &[1, 0, 1]), "qi", json!("AQ")), JwkError::Private),
        (with(ec.clone(), "use", json!("enc")), JwkError::NotForSignatures),
        (with(ec.clone(), "key_ops", json!(["encrypt"])), JwkError::NotForVerification),
        (with(ec.clone(), "key_ops", json!([])), JwkError::NotForVerification),
        (with(ec.clone(), "key_ops", json!("verify")), JwkError::NotForVerification),
        (with(ec.clone(), "kid", json!(7)), JwkError::KeyId),
        (with(ec.clone(), "kid", json!("a\u{0}b")), JwkError::KeyId),
        (with(ec.clone(), "kty", json!("RSA")), JwkError::Algorithm),
        (with(ec.clone(), "kty", json!("OKP")), JwkError::UnsupportedType),
        (with(ec.clone(), "crv", json!("P-384")), JwkError::Algorithm),
        (with(without(ec.clone(), "alg"), "crv", json!("P-384")), JwkError::Unsound),
        (with(ec.clone(), "crv", json!("P-521")), JwkError::Algorithm),
        (with(ec.clone(), "use", json!("x509-svid")), JwkError::NotForSignatures),
        (with(ec.clone(), "use", json!(["sig"])), JwkError::NotForSignatures),
        (with(ec.clone(), "crv", json!("secp256k1")), JwkError::UnsupportedType),
        (without(ec.clone(), "kty"), JwkError::UnsupportedType),
        (with(ec.clone(), "alg", json!("ES384")), JwkError::Algorithm),
        (with(ec.clone(), "alg", json!("ES521")), JwkError::Algorithm),
        (with(ec.clone(), "alg", json!("ECDH-ES")), JwkError::Algorithm),
        (without(ec.clone(), "x"), JwkError::Parameter),
        (with(ec.clone(), "y", json!(1)), JwkError::Parameter),
        (with(ec.clone(), "x", json!("")), JwkError::Parameter),
        (with(ec.clone(), "x", json!(base64url([1; 31]))), JwkError::Unsound),
        (with(ec.clone(), "x", json!(base64url([1; 33]))), JwkError::Parameter),
        (with(ec.clone(), "y", json!(base64url([1; 32]))), JwkError::Unsound),
        (with(with(ec.clone(), "x", json!(base64url([0; 32]))), "y", json!(base64url([0; 32]))), JwkError::Unsound),
        (with(jwk(Algorithm::EdDsa), "x", json!(base64url([1; 31]))), JwkError::Parameter),
        (with(jwk(Algorithm::EdDsa), "crv", json!("Ed448")), JwkError::UnsupportedType),
        (with(jwk(Algorithm::EdDsa), "crv", json!("X25519")), JwkError::UnsupportedType),
        (rsa(&modulus(128), &[1, 0, 1]), JwkError::Unsound),
        (rsa(&[&[0x7f][..], &modulus(255)].concat(), &[1, 0, 1]), JwkError::Unsound),
        (rsa(&[&[1][..], &modulus(1024)].concat(), &[1, 0, 1]), JwkError::Unsound),
        (rsa(&modulus(256), &[1]), JwkError::Unsound),
        (rsa(&modulus(256), &[]), JwkError::Unsound),
        (rsa(&modulus(256), &[1, 0, 0]), JwkError::Unsound),
        (rsa(&modulus(256), &[1; 6]), JwkError::Unsound),
        (with(rsa(&modulus(256), &[1, 0, 1]), "alg", json!("RSA-OAEP")), JwkError::Algorithm),
        (with(rsa(&modulus(256), &[1, 0, 1]), "alg", json!("ES256")), JwkError::Algorithm),
    ];
    assert_eq!(refusal(&good), None);
    for (row, expected) in rows {
        assert_eq!(refusal(&row), Some(expected), "{row}");
        let keys = set(&[row, good.clone()]);
        assert_eq!(keys.len(), 1);
        assert!(keys.find(Some("good"), Algorithm::Es256).is_some());
    }
}

#[test]
fn entries_that_are_no_objects_are_skipped() {
    let keys = set(&[json!(null), json!(1), json!([]), json!("x"), json!({}), jwk(Algorithm::Es256)]);
    assert_eq!(keys.len(), 1);
}

#[test]
fn sound_rsa_keys_of_all_sizes_and_with_a_leading_zero_are_used() {
    for bytes in [256, 384, 512, 1024] {
        assert_eq!(refusal(&rsa(&modulus(bytes), &[1, 0, 1])), None, "{bytes}");
    }
    assert_eq!(refusal(&rsa(&[&[0][..], &modulus(256)].concat(), &[0, 1, 0, 1])), None);
    assert_eq!(refusal(&rsa(&modulus(256), &[3])), None);
}

#[test]
fn a_key_that_is_good_for_signatures_in_so_many_words_is_used() {
    let ec = jwk(Algorithm::Es256);
    assert_eq!(refusal(&without(ec.clone(), "use")), None);
    assert_eq!(refusal(&with(ec.clone(), "key_ops", json!(["sign", "verify"]))), None);
    assert_eq!(refusal(&with(ec, "x5c", json!(["not looked at"]))), None);
    assert_eq!(refusal(&with(jwk(Algorithm::EdDsa), "alg", json!("Ed25519"))), None);
}

#[test]
fn an_rsa_key_without_alg_fits_all_of_its_kind_and_with_alg_exactly_that() {
    let rsa = jwk(Algorithm::Rs256);
    let open = set(&[without(rsa.clone(), "alg")]);
    let kid = rsa["kid"].as_str();
    for algorithm in
        [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256, Algorithm::Ps384, Algorithm::Ps512]
    {
        assert!(open.find(kid, algorithm).is_some(), "{algorithm}");
    }
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        assert!(open.find(kid, algorithm).is_none(), "{algorithm}");
    }
    let bound = set(&[with(rsa.clone(), "alg", json!("PS256"))]);
    assert!(bound.find(kid, Algorithm::Ps256).is_some());
    assert!(bound.find(kid, Algorithm::Rs256).is_none());
}

/// The number of keys that a token is tried against.
fn candidates(keys: &[Value], kid: Option<&str>, algorithm: Algorithm) -> usize {
    set(keys).candidates(kid, algorithm).map_or(0, |candidates| candidates.iter().count())
}

#[test]
fn rfc_7517_4_5_keys_that_share_a_kid_are_all_used() {
    let named = |jwk: Value, kid: &str| with(jwk, "kid", json!(kid));
    let (a, b) = (named(jwk(Algorithm::Es256), "k"), named(jwk(Algorithm::EdDsa), "k"));
    let keys = [a.clone(), b, named(jwk(Algorithm::Es256), "other")];
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        assert_eq!(candidates(&keys, Some("k"), algorithm), 1, "{algorithm}");
    }
    let rsa = named(jwk(Algorithm::Rs256), "k");
    let keys = [with(rsa.clone(), "alg", json!("RS512")), rsa.clone()];
    assert_eq!([Algorithm::Rs256, Algorithm::Rs512].map(|algorithm| candidates(&keys, Some("k"), algorithm)), [1, 1]);
    assert_eq!(candidates(&[a.clone(), named(jwk(Algorithm::Es256), "k")], Some("k"), Algorithm::Es256), 2);
}

#[test]
fn identical_entries_collapse() {
    let (ec, rsa) = (jwk(Algorithm::Es256), jwk(Algorithm::Rs256));
    assert_eq!(set(&[ec.clone(), ec.clone(), with(ec.clone(), "x5c", json!(["A"]))]).len(), 1);
    assert_eq!(set(&[without(rsa.clone(), "alg"), rsa.clone()]).len(), 1, "the first is for RS256 too");
    assert_eq!(set(&[ec.clone(), with(ec, "kid", json!("another"))]).len(), 2);
}

#[test]
fn no_more_than_four_keys_are_tried_and_those_of_the_kid_first() {
    let named = with(jwk(Algorithm::Es256), "kid", json!("k"));
    let nameless = || without(jwk(Algorithm::Es256), "kid");
    let mut keys: Vec<Value> = std::iter::repeat_with(nameless).take(6).collect();
    keys.push(named.clone());
    assert_eq!(candidates(&keys, Some("k"), Algorithm::Es256), 4);
    assert_eq!(candidates(&keys, None, Algorithm::Es256), 4);
    assert_eq!(set(&keys).find(Some("k"), Algorithm::Es256).unwrap().kid(), Some("k"));
    assert_eq!(candidates(&keys, Some("k"), Algorithm::Rs256), 0);
}

#[test]
fn a_key_without_a_name_is_tried_for_every_name_of_a_token() {
    let unnamed = without(jwk(Algorithm::Es256), "kid");
    for nameless in [unnamed.clone(), with(unnamed.clone(), "kid", json!("")), with(unnamed, "kid", json!(null))] {
        let keys = [nameless, jwk(Algorithm::EdDsa)];
        for kid in [None, Some("anything")] {
            assert_eq!(candidates(&keys, kid, Algorithm::Es256), 1);
            assert_eq!(candidates(&keys, kid, Algorithm::Rs256), 0);
        }
    }
}

#[test]
fn a_key_is_read_as_real_key_sets_write_it() {
    let ec = jwk(Algorithm::Es256);
    let padded = |name: &str| json!(format!("{}=", ec[name].as_str().unwrap()));
    for jwk in [
        with(ec.clone(), "x", padded("x")),
        with(ec.clone(), "use", json!("")),
        with(ec.clone(), "use", json!(null)),
        with(ec.clone(), "use", json!("jwt-svid")),
        with(ec.clone(), "alg", json!(null)),
        with(ec.clone(), "key_ops", json!(null)),
        with(rsa(&modulus(256), &[1, 0, 1]), "n", json!(format!("{}==", base64url(modulus(256))))),
    ] {
        assert_eq!(refusal(&jwk), None, "{jwk}");
    }
    let with_mark = [b"\xEF\xBB\xBF".as_slice(), json!({ "keys": [ec] }).to_string().as_bytes()].concat();
    assert_eq!(KeySet::parse(&with_mark).unwrap().len(), 1);
}

#[test]
fn what_a_set_loses_is_known_with_its_kid_and_its_reason() {
    let ec = jwk(Algorithm::Es256);
    let keys = set(&[
        with(ec.clone(), "d", json!("AAAA")),
        with(ec.clone(), "use", json!("enc")),
        with(ec.clone(), "use", json!("x509-svid")),
        json!({ "kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "keycloak" }),
        json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "lost" }),
        json!(7),
    ]);
    let lost: Vec<_> = keys.lost().iter().map(|key| (key.kid.as_deref(), key.index, key.reason)).collect();
    let private = (ec["kid"].as_str(), 0, JwkError::Private);
    assert_eq!(lost, [private, (Some("lost"), 4, JwkError::Unsound), (None, 5, JwkError::NotAnObject)]);
}

#[test]
fn a_key_with_a_repeated_member_is_lost_alone() {
    let good = with(jwk(Algorithm::Es256), "kid", json!("good"));
    let other = jwk(Algorithm::Es256);
    let repeated = |member: &str| other.to_string().replacen('{', &format!("{{{member},"), 1);
    let deep = format!("\"x5c\":{}{}", "[".repeat(40), "]".repeat(40));
    for odd in [
        repeated("\"kid\":\"good\""),
        repeated("\"k\\u0069d\":\"good\""),
        repeated("\"use\":\"enc\""),
        repeated("\"more\":[{\"a\":1,\"a\":1}]"),
        repeated("\"more\":\"\\ud800\""),
        repeated(&deep),
    ] {
        let keys = KeySet::parse(format!("{{\"keys\":[{odd},{good}]}}").as_bytes()).unwrap();
        assert_eq!((keys.len(), keys.entries()), (1, 2), "{odd}");
        assert!(keys.find(Some("good"), Algorithm::Es256).is_some(), "{odd}");
        let lost: Vec<_> = keys.lost().iter().map(|key| (key.kid.as_deref(), key.index, key.reason)).collect();
        assert_eq!(lost, [(None, 0, JwkError::Ambiguous)], "{odd}");
    }
}

#[test]
fn no_more_than_the_first_entries_are_looked_at() {
    let mut entries = vec![json!({}); MAX_KEYS - 1];
    entries.push(with(jwk(Algorithm::Es256), "kid", json!("last")));
    entries.push(with(jwk(Algorithm::Es256), "kid", json!("too late")));
    let keys = set(&entries);
    assert_eq!(keys.len(), 1);
    assert!(keys.find(Some("last"), Algorithm::Es256).is_some());
}

#[test]
fn the_error_of_a_text_that_is_no_key_set_does_not_quote_it() {
    for text in [r#""a secret that stands in the wrong file""#, "[\"a secret\"]", "a secret", "<html>a secret</html>"] {
        let error = KeySet::parse(text.as_bytes()).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("secret"), "{text}: {error:?}");
    }
}

#[test]
fn what_is_no_key_set_is_an_error() {
    for text in [
        "",
        "[]",
        "null",
        "<html></html>",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[],\"\\u006beys\":[]}",
        "{\"a\":1,\"keys\":[],\"a\":2}",
        "{\"keys\":[]} {}",
        "{\"keys\":[}]}",
        "{\"keys\":[NaN]}",
    ] {
        assert!(matches!(KeySet::parse(text.as_bytes()), Err(KeySetError::Json(_))), "{text}");
    }
    for text in ["{}", "{\"keys\":null}", "{\"keys\":{}}", "{\"Keys\":[]}"] {
        assert!(matches!(KeySet::parse(text.as_bytes()), Err(KeySetError::KeysNotAnArray)), "{text}");
    }
    assert!(KeySet::parse(b"{\"keys\":[]}").unwrap().is_empty());
    assert!(KeySet::empty().is_empty());
}

/// A key that payloads may be encrypted to.
fn encryption_jwk(kid: &str) -> Value {
    let jwk = with(without(jwk(Algorithm::Es256), "alg"), "use", json!("enc"));
    with(jwk, "kid", json!(kid))
}

#[test]
fn a_key_that_cannot_be_encrypted_to_is_refused_with_its_reason() {
    let good = encryption_jwk("e");
    let refusal = |jwk: &Value| EncryptionKey::from_jwk(jwk.as_object().unwrap()).err();
    assert_eq!(refusal(&good), None);
    assert_eq!(refusal(&with(good.clone(), "alg", json!("ECDH-ES"))), None);
    assert_eq!(refusal(&with(good.clone(), "key_ops", json!(["deriveBits"]))), None);
    let rows = [
        (with(good.clone(), "d", json!("AAAA")), JwkError::Private),
        (with(good.clone(), "use", json!("sig")), JwkError::NotForEncryption),
        (without(good.clone(), "use"), JwkError::NotForEncryption),
        (with(good.clone(), "key_ops", json!(["verify"])), JwkError::NotForEncryption),
        (with(good.clone(), "key_ops", json!("deriveKey")), JwkError::NotForEncryption),
        (without(good.clone(), "kid"), JwkError::KeyId),
        (with(good.clone(), "kid", json!("")), JwkError::KeyId),
        (with(good.clone(), "kty", json!("OKP")), JwkError::UnsupportedType),
        (with(good.clone(), "crv", json!("P-384")), JwkError::UnsupportedType),
        (with(good.clone(), "alg", json!("RSA1_5")), JwkError::Algorithm),
        (with(good.clone(), "alg", json!("ES256")), JwkError::Algorithm),
        (with(good.clone(), "y", good["x"].clone()), JwkError::Unsound),
        (with(good.clone(), "x", json!("AAAA")), JwkError::Unsound),
        (without(good.clone(), "y"), JwkError::Parameter),
    ];
    for (jwk, reason) in rows {
        assert_eq!(refusal(&jwk), Some(reason), "{jwk}");
    }
}

#[test]
fn the_first_key_to_encrypt_to_is_the_one_and_it_verifies_nothing() {
    let signing = jwk(Algorithm::Es256);
    let (first, second) = (encryption_jwk("first"), encryption_jwk("second"));
    let keys = set(&[signing.clone(), first.clone(), second]);
    let found = keys.encryption_key().unwrap();
    assert_eq!((found.kid(), found.to_jwk()["x"].clone()), ("first", first["x"].clone()));
    assert_eq!(keys.len(), 1);
    assert!(keys.find(Some("first"), Algorithm::Es256).is_none());
    assert!(set(&[signing]).encryption_key().is_none());
    // Of two with one name nobody knows which is meant.
    assert!(set(&[first.clone(), encryption_jwk("first")]).encryption_key().is_none());
}
