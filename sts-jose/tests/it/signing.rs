use serde_json::json;
use sts_jose::{Algorithm, KeySet, SigningKey, SigningKeyError, UnverifiedToken, VerificationKey};

use crate::support::jwks;

const SIGNED_WITH: [Algorithm; 3] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];

#[test]
fn what_a_key_signs_its_public_half_verifies() {
    for algorithm in SIGNED_WITH {
        let key = SigningKey::generate(algorithm).unwrap();
        for typ in [None, Some("JWT"), Some("at+jwt"), Some("a\"b\\c")] {
            let token = key.sign(typ, br#"{"sub":"alice"}"#).unwrap();
            let verified = UnverifiedToken::parse(&token).unwrap().verify(&key.verification_key()).unwrap();
            assert_eq!(verified.header().algorithm, algorithm);
            assert_eq!(verified.header().typ.as_deref(), typ);
            assert_eq!(verified.header().kid.as_deref(), Some(key.kid()));
            assert_eq!(verified.claims().string("sub"), Ok(Some("alice")));
        }
    }
}

#[test]
fn a_published_key_verifies_and_holds_nothing_private() {
    for algorithm in SIGNED_WITH {
        let key = SigningKey::generate(algorithm).unwrap();
        let jwk = key.public_jwk();
        assert_eq!(jwk["use"], "sig");
        assert_eq!(jwk["alg"], algorithm.as_str());
        assert_eq!(jwk["kid"], key.kid());
        for private in ["d", "p", "q", "dp", "dq", "qi", "k", "oth"] {
            assert!(jwk.get(private).is_none());
        }
        let keys = KeySet::parse(&jwks(&[&key])).unwrap();
        let token = key.sign(Some("at+jwt"), b"{}").unwrap();
        let published = keys.find(Some(key.kid()), algorithm).unwrap();
        UnverifiedToken::parse(&token).unwrap().verify(published).unwrap();
    }
}

#[test]
fn a_stored_key_is_the_same_key() {
    for algorithm in SIGNED_WITH {
        let key = SigningKey::generate(algorithm).unwrap();
        let stored = SigningKey::from_pkcs8(algorithm, &key.to_pkcs8()).unwrap();
        assert_eq!(stored.kid(), key.kid());
        assert_eq!(stored.public_jwk(), key.public_jwk());
        let token = stored.sign(None, b"{}").unwrap();
        UnverifiedToken::parse(&token).unwrap().verify(&key.verification_key()).unwrap();
    }
}

#[test]
fn a_stored_key_of_another_algorithm_or_cut_short_is_rejected() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    for algorithm in [Algorithm::EdDsa, Algorithm::Rs256] {
        assert!(matches!(SigningKey::from_pkcs8(algorithm, &key.to_pkcs8()), Err(SigningKeyError::Rejected(_))));
    }
    let pkcs8 = key.to_pkcs8();
    for end in [0, 1, pkcs8.len() / 2, pkcs8.len() - 1] {
        assert!(SigningKey::from_pkcs8(Algorithm::Es256, &pkcs8[..end]).is_err(), "{end}");
    }
}

#[test]
fn other_algorithms_are_not_signed_with() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !SIGNED_WITH.contains(algorithm)) {
        assert!(
            matches!(SigningKey::generate(algorithm), Err(SigningKeyError::UnsupportedAlgorithm(_))),
            "{algorithm}"
        );
        assert!(SigningKey::from_pkcs8(algorithm, &[]).is_err(), "{algorithm}");
    }
}

#[test]
fn the_length_of_a_token_is_known_before_it_is_signed() {
    for algorithm in SIGNED_WITH {
        let key = SigningKey::generate(algorithm).unwrap();
        for typ in [None, Some("at+jwt"), Some("another")] {
            for claims in [&b"{}"[..], b"{ }", b"{  }", b"{   }"] {
                let token = key.sign(typ, claims).unwrap();
                assert_eq!(key.token_bytes(typ, claims.len()), token.len(), "{algorithm} {typ:?}");
            }
        }
    }
}

#[test]
fn another_library_verifies_what_a_key_signs_and_is_verified() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Claims {
        sub: String,
    }
    let claims = Claims { sub: "alice".to_owned() };
    for algorithm in SIGNED_WITH {
        let (key, theirs) = (SigningKey::generate(algorithm).unwrap(), algorithm.as_str().parse().unwrap());
        let token = key.sign(Some("at+jwt"), &serde_json::to_vec(&claims).unwrap()).unwrap();
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.public_jwk()).unwrap();
        let mut validation = jsonwebtoken::Validation::new(theirs);
        validation.required_spec_claims.clear();
        let verified =
            jsonwebtoken::decode::<Claims>(&token, &jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap(), &validation);
        let verified = verified.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(
            (verified.claims, verified.header.typ.as_deref()),
            (Claims { sub: "alice".to_owned() }, Some("at+jwt"))
        );

        let pkcs8 = key.to_pkcs8();
        let encoding = match algorithm {
            Algorithm::Es256 => jsonwebtoken::EncodingKey::from_ec_der(&pkcs8),
            Algorithm::EdDsa => jsonwebtoken::EncodingKey::from_ed_der(&pkcs8),
            _ => continue, // Of RSA it takes PKCS #1 alone.
        };
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::new(theirs), &claims, &encoding).unwrap();
        let verified = UnverifiedToken::parse(&token).unwrap().verify(&key.verification_key()).unwrap();
        assert_eq!(verified.claims().string("sub"), Ok(Some("alice")), "{algorithm}");
    }
}

#[test]
fn the_kid_is_the_rfc_7638_thumbprint() {
    for algorithm in SIGNED_WITH {
        let key = SigningKey::generate(algorithm).unwrap();
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.public_jwk()).unwrap();
        assert_eq!(jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap(), key.kid(), "{algorithm}");
    }
}

#[test]
fn debug_shows_the_kid_only() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    assert_eq!(format!("{key:?}"), format!("SigningKey {{ kid: \"{}\", .. }}", key.kid()));
    let public = key.public_jwk();
    let x = public["x"].as_str().unwrap();
    let verification_key = VerificationKey::from_jwk(public.as_object().unwrap()).unwrap();
    assert!(!format!("{verification_key:?}").contains(x));
    assert_eq!(json!({ "kid": verification_key.kid() }), json!({ "kid": key.kid() }));
}
