//! What is remembered of a checked signature, and what is checked all the same.

use sts_jose::{SignatureMemo, UnverifiedToken, VerifyError};

use crate::support::Forger;

const PAYLOAD: &str = r#"{"iss":"https://idp","sub":"alice"}"#;

#[test]
fn a_token_that_comes_again_says_the_same() {
    let (forger, memo) = (Forger::new(), SignatureMemo::default());
    let token = forger.token(forger.header().to_string(), PAYLOAD);
    let key = forger.verification_key();
    let mut digests = Vec::new();
    for _ in 0..3 {
        let verified = UnverifiedToken::parse(&token).unwrap().verify_once(&key, &memo).unwrap();
        assert_eq!(verified.claims().string("sub").unwrap(), Some("alice"));
        digests.push(*verified.digest());
    }
    let checked = UnverifiedToken::parse(&token).unwrap().verify(&key).unwrap();
    assert_eq!(digests, [*checked.digest(); 3]);
}

#[test]
fn what_differs_in_one_bit_is_not_known() {
    let (forger, memo) = (Forger::new(), SignatureMemo::default());
    let token = forger.token(forger.header().to_string(), PAYLOAD);
    let key = forger.verification_key();
    UnverifiedToken::parse(&token).unwrap().verify_once(&key, &memo).unwrap();
    let mut refused = 0;
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] ^= 1;
        let Ok(changed) = String::from_utf8(changed) else { continue };
        let Ok(parsed) = UnverifiedToken::parse(&changed) else { continue };
        let refusal = parsed.verify_once(&key, &memo).unwrap_err();
        assert!(matches!(refusal, VerifyError::BadSignature | VerifyError::WrongAlgorithm), "{at}: {refusal:?}");
        refused += 1;
    }
    assert!(refused > 80, "{refused} changes reached the signature");
}

#[test]
fn what_one_key_signed_another_did_not() {
    let (forger, memo) = (Forger::new(), SignatureMemo::default());
    let token = forger.token(forger.header().to_string(), PAYLOAD);
    UnverifiedToken::parse(&token).unwrap().verify_once(&forger.verification_key(), &memo).unwrap();
    let other = Forger::new().verification_key();
    let refusal = UnverifiedToken::parse(&token).unwrap().verify_once(&other, &memo);
    assert!(matches!(refusal, Err(VerifyError::BadSignature)));
}

#[test]
fn more_tokens_than_places_are_all_verified() {
    let (forger, memo) = (Forger::new(), SignatureMemo::default());
    let key = forger.verification_key();
    for round in 0..2 {
        for number in 0..5_000 {
            let token = forger.token(forger.header().to_string(), format!("{{\"sub\":\"{number}\"}}"));
            let verified = UnverifiedToken::parse(&token).unwrap().verify_once(&key, &memo).unwrap();
            assert_eq!(verified.claims().string("sub").unwrap(), Some(number.to_string().as_str()), "{round}");
        }
    }
}
