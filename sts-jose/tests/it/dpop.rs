//! DPoP proofs: the examples of RFC 9449, and one row for each of its checks.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_jose::dpop::{
    AccessTokenBinding, MAX_PROOF_BYTES, ProofClaims, ProofError, ProofKey, ProofRules, ProofUri, access_token_hash,
};
use sts_jose::{Algorithm, SigningKey, thumbprint};

use crate::support::Forger;

const NOW: i64 = 1_800_000_000;
const URI: &str = "https://sts.example.com/oauth2/token";

/// RFC 9449 §4.1.
const TOKEN_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
/// RFC 9449 §7.1.
const RESOURCE_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const RESOURCE_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const RFC_JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn rules(uri: &ProofUri) -> ProofRules<'_> {
    ProofRules {
        method: "POST",
        uri,
        access_token: None,
        nonces: None,
        algorithms: &[Algorithm::Es256],
        max_age: Duration::from_secs(120),
        now: at(NOW),
    }
}

type Change = fn(&mut Proof);
type Expected = fn(&ProofError) -> bool;

/// A proof of which every part can be changed.
struct Proof {
    forger: Forger,
    header: Value,
    claims: Value,
}

impl Proof {
    fn new() -> Self {
        let forger = Forger::new();
        let public = forger.key.public_jwk();
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": public["x"], "y": public["y"] });
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
        let claims = json!({ "jti": "jti-1", "htm": "POST", "htu": URI, "iat": NOW });
        Self { forger, header, claims }
    }

    fn text(&self) -> String {
        self.forger.token(self.header.to_string(), self.claims.to_string())
    }

    fn check(&self) -> Result<(), ProofError> {
        let uri = ProofUri::parse(URI).unwrap();
        rules(&uri).check(&self.text()).map(|_| ())
    }
}

#[test]
fn the_examples_of_the_rfc_verify() {
    let uri = ProofUri::parse("https://server.example.com/token").unwrap();
    let proof = ProofRules { now: at(1_562_262_616), ..rules(&uri) }.check(TOKEN_PROOF).unwrap();
    assert_eq!((proof.jkt(), proof.jti(), proof.issued_at()), (RFC_JKT, "-BwC3ESc6acc2lTc", at(1_562_262_616)));
    assert_eq!(proof.algorithm(), Algorithm::Es256);

    let uri = ProofUri::parse("https://resource.example.org/protectedresource").unwrap();
    let ath = access_token_hash(RESOURCE_TOKEN);
    let access_token = Some(AccessTokenBinding { ath: &ath, jkt: RFC_JKT });
    let rules = ProofRules { method: "GET", access_token, now: at(1_562_262_618), ..rules(&uri) };
    assert_eq!(rules.check(RESOURCE_PROOF).unwrap().jti(), "e1j3V_bKic8-LAEB");
}

#[test]
fn a_proof_that_differs_in_one_thing_is_refused() {
    Proof::new().check().unwrap();
    let rows: &[(&str, Change, Expected)] = &[
        ("typ absent", |p| drop(p.header["typ"].take()), |e| matches!(e, ProofError::Jws(_))),
        ("typ of a token", |p| p.header["typ"] = "at+jwt".into(), |e| matches!(e, ProofError::Typ)),
        ("typ of any jwt", |p| p.header["typ"] = "JWT".into(), |e| matches!(e, ProofError::Typ)),
        ("alg none", |p| p.header["alg"] = "none".into(), |e| matches!(e, ProofError::Jws(_))),
        ("alg symmetric", |p| p.header["alg"] = "HS256".into(), |e| matches!(e, ProofError::Jws(_))),
        ("alg not allowed", |p| p.header["alg"] = "EdDSA".into(), |e| matches!(e, ProofError::AlgorithmNotAccepted(_))),
        ("crit", |p| p.header["crit"] = json!(["jwk"]), |e| matches!(e, ProofError::Jws(_))),
        ("no jwk", |p| drop(p.header["jwk"].take()), |e| matches!(e, ProofError::KeyMissing)),
        ("jwk a string", |p| p.header["jwk"] = "key".into(), |e| matches!(e, ProofError::KeyMissing)),
        ("jwk private", |p| p.header["jwk"]["d"] = "AA".into(), |e| matches!(e, ProofError::Key(_))),
        (
            "jwk symmetric",
            |p| p.header["jwk"] = json!({ "kty": "oct", "k": "AA" }),
            |e| matches!(e, ProofError::Key(_)),
        ),
        ("jwk for encryption", |p| p.header["jwk"]["use"] = "enc".into(), |e| matches!(e, ProofError::Key(_))),
        ("jwk off the curve", |p| p.header["jwk"]["x"] = "A".repeat(43).into(), |e| matches!(e, ProofError::Key(_))),
        (
            "jwk padded",
            |p| p.header["jwk"]["x"] = format!("{}=", p.header["jwk"]["x"].as_str().unwrap()).into(),
            |e| matches!(e, ProofError::KeyNotCanonical),
        ),
        (
            "jwk of another key",
            |p| p.header["jwk"] = Proof::new().header["jwk"].take(),
            |e| matches!(e, ProofError::Signature(_)),
        ),
        ("no jti", |p| drop(p.claims["jti"].take()), |e| matches!(e, ProofError::ClaimMissing("jti"))),
        ("jti empty", |p| p.claims["jti"] = "".into(), |e| matches!(e, ProofError::ClaimMissing("jti"))),
        ("jti long", |p| p.claims["jti"] = "j".repeat(257).into(), |e| matches!(e, ProofError::ClaimMissing("jti"))),
        ("jti with a line end", |p| p.claims["jti"] = "a\nb".into(), |e| matches!(e, ProofError::ClaimMissing("jti"))),
        ("jti a number", |p| p.claims["jti"] = 1.into(), |e| matches!(e, ProofError::Claim(_))),
        ("no htm", |p| drop(p.claims["htm"].take()), |e| matches!(e, ProofError::ClaimMissing("htm"))),
        ("another method", |p| p.claims["htm"] = "GET".into(), |e| matches!(e, ProofError::Method)),
        ("method in another case", |p| p.claims["htm"] = "post".into(), |e| matches!(e, ProofError::Method)),
        ("no htu", |p| drop(p.claims["htu"].take()), |e| matches!(e, ProofError::ClaimMissing("htu"))),
        ("another path", |p| p.claims["htu"] = format!("{URI}/").into(), |e| matches!(e, ProofError::Uri)),
        (
            "another scheme",
            |p| p.claims["htu"] = "http://sts.example.com/oauth2/token".into(),
            |e| matches!(e, ProofError::Uri),
        ),
        ("a path alone", |p| p.claims["htu"] = "/oauth2/token".into(), |e| matches!(e, ProofError::Uri)),
        ("no iat", |p| drop(p.claims["iat"].take()), |e| matches!(e, ProofError::ClaimMissing("iat"))),
        ("iat a string", |p| p.claims["iat"] = NOW.to_string().into(), |e| matches!(e, ProofError::Claim(_))),
        ("iat too old", |p| p.claims["iat"] = (NOW - 121).into(), |e| matches!(e, ProofError::TooOld)),
        ("iat ahead", |p| p.claims["iat"] = (NOW + 31).into(), |e| matches!(e, ProofError::IssuedInFuture)),
        ("exp passed", |p| p.claims["exp"] = NOW.into(), |e| matches!(e, ProofError::TooOld)),
        ("nbf ahead", |p| p.claims["nbf"] = (NOW + 31).into(), |e| matches!(e, ProofError::IssuedInFuture)),
        ("too long", |p| p.claims["x"] = "x".repeat(MAX_PROOF_BYTES).into(), |e| matches!(e, ProofError::Jws(_))),
    ];
    for (name, change, is_expected) in rows {
        let mut proof = Proof::new();
        change(&mut proof);
        let error = proof.check().expect_err(name);
        assert!(is_expected(&error), "{name}: {error:?}");
    }
}

#[test]
fn a_proof_at_the_limits_is_accepted() {
    let rows: [(&str, Change); 6] = [
        ("oldest", |p| p.claims["iat"] = (NOW - 120).into()),
        ("furthest ahead", |p| p.claims["iat"] = (NOW + 30).into()),
        ("a fraction", |p| p.claims["iat"] = json!(1_799_999_999.5)),
        ("another spelling", |p| p.claims["htu"] = "HTTPS://STS.example.com:443/oauth2/./t%6Fken?a=b#c".into()),
        ("a prefixed typ", |p| p.header["typ"] = "application/DPoP+jwt".into()),
        ("members that are not read", |p| p.claims["ath"] = json!(7)),
    ];
    for (name, change) in rows {
        let mut proof = Proof::new();
        change(&mut proof);
        assert!(proof.check().is_ok(), "{name}: {:?}", proof.check());
    }
}

#[test]
fn json_serialisation_a_list_and_garbage_are_no_proof() {
    let uri = ProofUri::parse(URI).unwrap();
    let one = Proof::new().text();
    for text in ["", "a.b.c", &format!("{one},{one}"), &format!("{one} {one}"), &one[..one.len() - 1], "{}"] {
        assert!(matches!(rules(&uri).check(text), Err(ProofError::Jws(_))), "{text}");
    }
    let proof = Proof::new();
    let twice = proof.forger.token(proof.header.to_string(), r#"{"jti":"a","jti":"b"}"#);
    assert!(matches!(rules(&uri).check(&twice), Err(ProofError::Json(_))));
}

#[test]
fn a_nonce_is_compared_only_where_one_is_demanded() {
    let uri = ProofUri::parse(URI).unwrap();
    let (accepted, mut proof) = (["new".to_owned(), "old".to_owned()], Proof::new());
    let demanding = ProofRules { nonces: Some(&accepted), ..rules(&uri) };
    let missing = demanding.check(&proof.text()).unwrap_err();
    assert!(matches!(missing, ProofError::NonceMissing) && missing.is_nonce());
    proof.claims["nonce"] = "other".into();
    let mismatch = demanding.check(&proof.text()).unwrap_err();
    assert!(matches!(mismatch, ProofError::NonceMismatch) && mismatch.is_nonce());
    assert!(rules(&uri).check(&proof.text()).is_ok());
    for nonce in accepted.clone() {
        proof.claims["nonce"] = nonce.into();
        assert!(demanding.check(&proof.text()).is_ok());
    }
    proof.claims["iat"] = 0.into();
    assert!(!demanding.check(&proof.text()).unwrap_err().is_nonce());
}

#[test]
fn a_proof_is_for_one_access_token_and_its_key() {
    let uri = ProofUri::parse(URI).unwrap();
    let mut proof = Proof::new();
    let jkt = proof.forger.key.kid().to_owned();
    let ath = access_token_hash("token");
    let with = |ath, jkt| ProofRules { access_token: Some(AccessTokenBinding { ath, jkt }), ..rules(&uri) };
    assert!(matches!(with(&ath, &jkt).check(&proof.text()), Err(ProofError::ClaimMissing("ath"))));
    proof.claims["ath"] = ath.as_str().into();
    assert!(with(&ath, &jkt).check(&proof.text()).is_ok());
    let other = access_token_hash("another token");
    assert!(matches!(with(&other, &jkt).check(&proof.text()), Err(ProofError::AccessToken)));
    assert!(matches!(with(&ath, RFC_JKT).check(&proof.text()), Err(ProofError::OtherKey)));
}

#[test]
fn made_proofs_verify_under_each_algorithm_that_is_signed_with() {
    let uri = ProofUri::parse(URI).unwrap();
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let key = ProofKey::from(SigningKey::generate(algorithm).unwrap());
        let claims = ProofClaims {
            method: "POST",
            uri: &uri,
            issued_at: at(NOW),
            jti: "jti",
            ath: Some("ath"),
            nonce: Some("nonce"),
        };
        let nonces = ["nonce".to_owned()];
        let rules = ProofRules {
            algorithms: &[algorithm],
            nonces: Some(&nonces),
            access_token: Some(AccessTokenBinding { ath: "ath", jkt: key.jkt() }),
            ..rules(&uri)
        };
        let text = key.prove(&claims).unwrap();
        assert_eq!(rules.check(&text).unwrap().jkt(), key.jkt(), "{algorithm}");

        let shown = sts_jose::ReadableToken::read(&text).unwrap();
        let jwk = shown.header()["jwk"].as_object().unwrap();
        assert_eq!(thumbprint(jwk).as_deref(), Some(key.jkt()), "{algorithm}");
        assert!(["kid", "use", "alg", "d"].iter().all(|member| !jwk.contains_key(*member)), "{algorithm}");
    }
}

#[test]
fn a_key_without_its_required_members_has_no_thumbprint() {
    for jwk in [json!({}), json!({ "kty": "oct", "k": "AA" }), json!({ "kty": "EC", "crv": "P-256", "x": "AA" })] {
        assert_eq!(thumbprint(jwk.as_object().unwrap()), None, "{jwk}");
    }
}
