use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sts_jose::{Algorithm, MAX_TOKEN_BYTES, ParseError, Segment, SigningKey, UnverifiedToken, VerifyError};

use crate::support::{Forger, base64url};

const PAYLOAD: &str = r#"{"iss":"https://idp.example","sub":"alice","exp":2000000000}"#;

fn parse_error(token: &str) -> ParseError {
    UnverifiedToken::parse(token).expect_err("must not parse")
}

/// Signs `header` for good and asserts that the token is refused before its signature matters.
fn refused_header(forger: &Forger, header: &str) -> ParseError {
    let token = forger.token(header, PAYLOAD);
    let refusal = parse_error(&token);
    let twin = forger.token(forger.header().to_string(), PAYLOAD);
    UnverifiedToken::parse(&twin).unwrap().verify(&forger.verification_key()).unwrap();
    refusal
}

fn header_with(forger: &Forger, name: &str, value: Value) -> String {
    let mut header = forger.header();
    header[name] = value;
    header.to_string()
}

#[test]
fn a_valid_token_verifies_and_gives_header_claims_and_digest() {
    let forger = Forger::new();
    let token = forger.token(forger.header().to_string(), PAYLOAD);
    let unverified = UnverifiedToken::parse(&token).unwrap();
    assert_eq!(unverified.claims().string("iss"), Ok(Some("https://idp.example")));
    let verified = unverified.verify(&forger.verification_key()).unwrap();
    assert_eq!(verified.header().algorithm, Algorithm::Es256);
    assert_eq!(verified.header().kid.as_deref(), Some(forger.key.kid()));
    assert_eq!(verified.claims().string("sub"), Ok(Some("alice")));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, signed.as_bytes());
    assert_eq!(verified.digest(), digest.as_ref());
}

#[test]
fn a_token_that_was_parked_is_the_one_that_it_was() {
    let forger = Forger::new();
    let text = forger.token(forger.header().to_string(), r#"{"iss":"a","nested":[{"b":[1,2]}]}"#);
    let token = UnverifiedToken::parse(&text).unwrap();
    let claims = token.claims().as_map().clone();
    let parked = token.park();
    assert!(!format!("{parked:?}").contains("nested"));
    let token = parked.resume().unwrap();
    assert_eq!(*token.claims().as_map(), claims);
    token.verify(&forger.verification_key()).unwrap();
}

#[test]
fn none_and_symmetric_and_unknown_algorithms_are_refused() {
    let forger = Forger::new();
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "es256", "ES256K", "RSA-OAEP", "dir"] {
        let refusal = refused_header(&forger, &header_with(&forger, "alg", json!(alg)));
        assert!(matches!(refusal, ParseError::Algorithm(_)), "{alg:?}: {refusal:?}");
    }
    for alg in [json!(null), json!(1), json!(["ES256"]), json!({})] {
        let refusal = refused_header(&forger, &header_with(&forger, "alg", alg));
        assert!(matches!(refusal, ParseError::AlgorithmMissing), "{refusal:?}");
    }
    assert!(matches!(refused_header(&forger, "{}"), ParseError::AlgorithmMissing));
    let unsigned = format!("{}.{}.", base64url(r#"{"alg":"none"}"#), base64url(PAYLOAD));
    assert!(matches!(parse_error(&unsigned), ParseError::Algorithm(_)));
}

#[test]
fn an_algorithm_other_than_the_keys_is_refused() {
    let forger = Forger::new();
    for alg in ["ES384", "RS256", "PS256", "EdDSA"] {
        let token = forger.token(header_with(&forger, "alg", json!(alg)), PAYLOAD);
        let refusal = UnverifiedToken::parse(&token).unwrap().verify(&forger.verification_key());
        assert!(matches!(refusal, Err(VerifyError::WrongAlgorithm)), "{alg}");
    }
    let other = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let token = forger.token(forger.header().to_string(), PAYLOAD);
    let refusal = UnverifiedToken::parse(&token).unwrap().verify(&other.verification_key());
    assert!(matches!(refusal, Err(VerifyError::WrongAlgorithm)));
}

#[test]
fn another_key_or_a_missing_or_truncated_signature_is_refused() {
    let forger = Forger::new();
    let token = forger.token(forger.header().to_string(), PAYLOAD);
    let (input, signature) = token.rsplit_once('.').unwrap();
    let other = Forger::new().verification_key();
    assert!(matches!(UnverifiedToken::parse(&token).unwrap().verify(&other), Err(VerifyError::BadSignature)));
    let zeros = base64url([0; 64]);
    for signature in ["", &signature[..84], zeros.as_str(), &format!("{signature}AAAA")] {
        let changed = format!("{input}.{signature}");
        let refusal = UnverifiedToken::parse(&changed).unwrap().verify(&forger.verification_key());
        assert!(matches!(refusal, Err(VerifyError::BadSignature)), "{signature:?}");
    }
}

#[test]
fn a_der_encoded_ecdsa_signature_is_refused() {
    let forger = Forger::new();
    let token = forger.token(forger.header().to_string(), PAYLOAD);
    let (input, _) = token.rsplit_once('.').unwrap();
    let der = [&[0x30, 6, 2, 1, 1, 2, 1, 1][..]].concat();
    let changed = format!("{input}.{}", base64url(der));
    assert!(UnverifiedToken::parse(&changed).unwrap().verify(&forger.verification_key()).is_err());
}

#[test]
fn a_malformed_kid_is_refused_and_a_strange_one_is_only_a_name() {
    let forger = Forger::new();
    let long = "k".repeat(257);
    for kid in [
        json!(1),
        json!(null),
        json!(["a"]),
        json!({}),
        json!(true),
        json!(""),
        json!(long),
        json!("a\nb"),
        json!("a\0"),
        json!("\u{85}"),
    ] {
        let refusal = refused_header(&forger, &header_with(&forger, "kid", kid));
        assert!(matches!(refusal, ParseError::KeyId), "{refusal:?}");
    }
    let huge = header_with(&forger, "kid", json!("k".repeat(64 * 1024)));
    assert!(matches!(refused_header(&forger, &huge), ParseError::TooLong { .. }));
    for kid in ["../../etc/passwd", "' OR 1=1 --", "é".repeat(256).as_str(), "https://evil.example/jwks"] {
        let token = forger.token(header_with(&forger, "kid", json!(kid)), PAYLOAD);
        assert_eq!(UnverifiedToken::parse(&token).unwrap().header().kid.as_deref(), Some(kid));
    }
}

#[test]
fn members_that_name_keys_are_ignored() {
    let forger = Forger::new();
    let mut header = forger.header();
    header["jku"] = json!("https://evil.example/jwks");
    header["x5u"] = json!("https://evil.example/x5u");
    header["jwk"] = Forger::new().key.public_jwk();
    header["x5c"] = json!(["MIIB"]);
    let token = forger.token(header.to_string(), PAYLOAD);
    UnverifiedToken::parse(&token).unwrap().verify(&forger.verification_key()).unwrap();
    let attacker = Forger::new();
    header["jwk"] = attacker.key.public_jwk();
    let token = attacker.token(header.to_string(), PAYLOAD);
    assert!(UnverifiedToken::parse(&token).unwrap().verify(&forger.verification_key()).is_err());
}

#[test]
fn crit_and_b64_are_refused_in_any_form() {
    let forger = Forger::new();
    for crit in [json!(["exp"]), json!([]), json!(["b64"]), json!(null), json!("x"), json!(["a", "a"])] {
        let refusal = refused_header(&forger, &header_with(&forger, "crit", crit));
        assert!(matches!(refusal, ParseError::Critical), "{refusal:?}");
    }
    for b64 in [json!(false), json!(true), json!(null)] {
        let refusal = refused_header(&forger, &header_with(&forger, "b64", b64));
        assert!(matches!(refusal, ParseError::UnencodedPayload), "{refusal:?}");
    }
    let twice = r#"{"alg":"ES256","crit":["x"],"crit":["x"]}"#;
    assert!(matches!(refused_header(&forger, twice), ParseError::Json(Segment::Header, _)));
}

#[test]
fn typ_must_be_a_string_if_it_is_there() {
    let forger = Forger::new();
    for typ in [json!(null), json!(1), json!(["JWT"]), json!({})] {
        assert!(matches!(refused_header(&forger, &header_with(&forger, "typ", typ)), ParseError::Typ));
    }
}

#[test]
fn anything_but_three_strict_base64url_segments_is_refused() {
    let forger = Forger::new();
    let token = forger.token(forger.header().to_string(), PAYLOAD);
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let not_compact = [
        String::new(),
        ".".to_owned(),
        "a".to_owned(),
        format!("{header}.{payload}"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        json!({ "payload": payload, "protected": header, "signature": signature }).to_string(),
        json!({ "payload": payload, "signatures": [{ "protected": header, "signature": signature }] }).to_string(),
    ];
    for row in not_compact {
        assert!(matches!(parse_error(&row), ParseError::NotCompact), "{row}");
    }
    // 64 bytes end in a character with four spare bits.
    let spare = format!("{}{}", &signature[..85], char::from(signature.as_bytes()[85] + 1));
    let not_base64url = [
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{payload}.{spare}"),
        format!("{header}.{payload}.{signature}\n"),
        format!(" {header}.{payload}.{signature}"),
        format!("{header}.{payload}.+/{}", &signature[2..]),
        format!("{header}.{payload}.é{}", &signature[2..]),
        format!("{header}.{}.{signature}", STANDARD.encode(b"{\"a\":\"\xc3\xbf\xc3\xbf?\"}")),
    ];
    for row in not_base64url {
        assert!(matches!(parse_error(&row), ParseError::Base64(_)), "{row}");
    }
}

#[test]
fn a_payload_that_is_no_strict_object_is_refused() {
    let forger = Forger::new();
    let header = forger.header().to_string();
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let rows: [&[u8]; 9] = [
        b"",
        b"[]",
        b"\"a\"",
        br#"{"sub":"alice","sub":"bob"}"#,
        br#"{"sub":"alice","\u0073ub":"bob"}"#,
        br#"{"act":{"sub":"a","sub":"b"}}"#,
        b"{\"sub\":\"\xff\"}",
        br#"{"sub":"\ud800"}"#,
        deep.as_bytes(),
    ];
    for row in rows {
        assert!(matches!(parse_error(&forger.token(&header, row)), ParseError::Json(Segment::Payload, _)));
    }
}

#[test]
fn duplicate_header_members_are_refused() {
    let forger = Forger::new();
    for header in [r#"{"alg":"none","alg":"ES256"}"#, r#"{"alg":"ES256","kid":"a","\u006bid":"b"}"#] {
        assert!(matches!(refused_header(&forger, header), ParseError::Json(Segment::Header, _)));
    }
}

#[test]
fn a_token_may_have_the_longest_length_and_no_byte_more() {
    let forger = Forger::new();
    let header = forger.header().to_string();
    let overhead = forger.token(&header, "").len();
    let payload_bytes = (MAX_TOKEN_BYTES - overhead) * 3 / 4;
    let payload = format!("{{\"a\":\"{}\"}}", "x".repeat(payload_bytes - 8));
    UnverifiedToken::parse(&forger.token(&header, &payload)).unwrap().verify(&forger.verification_key()).unwrap();
    let payload = format!("{{\"a\":\"{}\"}}", "x".repeat(payload_bytes));
    assert!(matches!(parse_error(&forger.token(&header, payload)), ParseError::TooLong { .. }));
}

#[test]
fn white_space_in_the_header_is_legal() {
    let forger = Forger::new();
    let token = forger.token("{ \"alg\" :\n\t\"ES256\" }", PAYLOAD);
    UnverifiedToken::parse(&token).unwrap().verify(&forger.verification_key()).unwrap();
}

#[test]
fn debug_and_errors_show_no_token_text() {
    let forger = Forger::new();
    let token = forger.token(forger.header().to_string(), r#"{"sub":"hunter2"}"#);
    let shown = format!("{:?}", UnverifiedToken::parse(&token).unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains(&token[..20]), "{shown}");
    let verified = UnverifiedToken::parse(&token).unwrap().verify(&forger.verification_key()).unwrap();
    assert!(!format!("{verified:?}").contains("hunter2"));
    let refusal = parse_error(&forger.token(r#"{"alg":"hunter2"}"#, PAYLOAD));
    assert!(!format!("{refusal} {refusal:?}").contains("hunter2"));
}
