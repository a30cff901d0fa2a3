use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::Value;
use sts_jose::json::parse_object;
use sts_jose::{KeySet, UnverifiedToken};

use crate::support::{Forger, base64url};

static FORGER: LazyLock<Forger> = LazyLock::new(Forger::new);

static TOKEN: LazyLock<String> = LazyLock::new(|| {
    FORGER.token(FORGER.header().to_string(), r#"{"iss":"https://idp.example","sub":"alice","exp":2000000000}"#)
});

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("\\PC{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn parsing_any_text_does_not_panic(text in any::<String>()) {
        let _ = UnverifiedToken::parse(&text);
    }

    #[test]
    fn parsing_any_bytes_as_json_or_keys_does_not_panic(bytes in any::<Vec<u8>>()) {
        let _ = parse_object(&bytes);
        let _ = KeySet::parse(&bytes);
    }

    #[test]
    fn parsing_any_segments_does_not_panic(header in any_json(), payload in any::<Vec<u8>>(), signature in any::<Vec<u8>>()) {
        let token = format!("{}.{}.{}", base64url(header.to_string()), base64url(payload), base64url(signature));
        if let Ok(token) = UnverifiedToken::parse(&token) {
            prop_assert!(token.verify(&FORGER.verification_key()).is_err());
        }
    }

    #[test]
    fn parsing_keys_of_any_shape_does_not_panic(keys in proptest::collection::vec(any_json(), 0..4), changed in any_json()) {
        let mut jwk = FORGER.key.public_jwk();
        for member in ["kty", "crv", "x", "y", "alg", "use", "kid"] {
            let before = std::mem::replace(&mut jwk[member], changed.clone());
            let mut all = keys.clone();
            all.push(jwk.clone());
            let _ = KeySet::parse(serde_json::json!({ "keys": all }).to_string().as_bytes());
            jwk[member] = before;
        }
    }

    #[test]
    fn strict_json_reads_what_serde_json_writes(value in any_json()) {
        let object = serde_json::json!({ "value": value });
        let parsed = parse_object(object.to_string().as_bytes());
        prop_assert_eq!(parsed.ok().map(Value::Object), Some(object));
    }

    #[test]
    fn a_token_with_one_changed_character_never_verifies(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        let mut token = TOKEN.clone();
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != to);
        token.replace_range(at..=at, &to);
        let refused = UnverifiedToken::parse(&token).map(|token| token.verify(&FORGER.verification_key()).is_err());
        prop_assert!(refused.unwrap_or(true));
    }

    #[test]
    fn a_token_with_one_flipped_signature_bit_never_verifies(bit in 0_usize..512) {
        use base64::Engine as _;
        let (input, signature) = TOKEN.rsplit_once('.').unwrap();
        let mut signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
        signature[bit / 8] ^= 1 << (bit % 8);
        let token = format!("{input}.{}", base64url(signature));
        prop_assert!(UnverifiedToken::parse(&token).unwrap().verify(&FORGER.verification_key()).is_err());
    }

    #[test]
    fn what_is_cut_off_or_appended_never_verifies(keep in any::<prop::sample::Index>(), tail in "[A-Za-z0-9_.-]{1,6}") {
        for token in [TOKEN[..keep.index(TOKEN.len())].to_owned(), format!("{}{tail}", *TOKEN)] {
            let refused = UnverifiedToken::parse(&token).map(|token| token.verify(&FORGER.verification_key()).is_err());
            prop_assert!(refused.unwrap_or(true));
        }
    }
}
