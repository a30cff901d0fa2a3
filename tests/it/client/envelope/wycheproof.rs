//! Project Wycheproof's vectors for JWE, read from the folder that `STS_JOSE_VECTORS` names; skipped without it. They go through the
//! function that opens the payloads of envelopes.
//!
//! Of all that the suite calls valid only ECDH-ES on P-256 with A256GCM is accepted. The rest, RSA1_5, PBES2 and `zip` among it, is refused
//! whatever its label.

use serde_json::{Map, Value};
use sts_client::envelope::DecryptionKey;

#[expect(clippy::disallowed_methods, reason = "the vectors are not part of the repository")]
fn test_groups() -> Vec<Value> {
    const FILE: &str = "json_web_encryption_test.json";
    let Ok(folder) = std::env::var("STS_JOSE_VECTORS") else {
        sts_tests::not_checked(&format!("{FILE} of Project Wycheproof (STS_JOSE_VECTORS is not set)"));
        return Vec::new();
    };
    let text = std::fs::read(std::path::Path::new(&folder).join(FILE)).unwrap();
    let suite: Value = serde_json::from_slice(&text).unwrap();
    suite["testGroups"].as_array().unwrap().clone()
}

/// The private key of a group as one that we could hold: P-256, and for ECDH-ES, whatever the group has it for.
fn key(group: &Value) -> Option<DecryptionKey> {
    let mut jwk: Map<String, Value> = group["private"].as_object()?.clone();
    jwk.insert("alg".to_owned(), "ECDH-ES".into());
    DecryptionKey::from_jwk(&jwk).ok().filter(|_| jwk.get("crv").is_some_and(|crv| crv == "P-256"))
}

fn header(jwe: &str) -> Option<Map<String, Value>> {
    use base64::Engine as _;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(jwe.split('.').next()?).ok()?;
    serde_json::from_slice(&header).ok()
}

/// Whether it is of the kind that we take.
fn is_ours(jwe: &str) -> bool {
    header(jwe).is_some_and(|header| {
        header.get("alg").is_some_and(|alg| alg == "ECDH-ES")
            && header.get("enc").is_some_and(|enc| enc == "A256GCM")
            && !header.contains_key("zip")
    })
}

#[test]
fn payloads_of_wycheproof_are_judged_as_labelled() {
    let stand_in = DecryptionKey::generate().unwrap();
    let (mut tried, mut opened) = (0, 0);
    for group in test_groups() {
        let own = key(&group);
        for test in group["tests"].as_array().unwrap() {
            let jwe = test["jwe"].as_str().map_or_else(|| test["jwe"].to_string(), str::to_owned);
            let valid = own.is_some() && is_ours(&jwe) && test["result"] == "valid";
            let decrypted = own.as_ref().unwrap_or(&stand_in).decrypt(&jwe);
            assert_eq!(decrypted.is_ok(), valid, "{} {} ({})", test["tcId"], test["comment"], group["comment"]);
            if let (Ok(payload), Some(expected)) = (decrypted, test["pt"].as_str()) {
                assert_eq!(sts_jose::hex(&payload), expected, "{}", test["tcId"]);
                opened += 1;
            }
            tried += 1;
        }
    }
    assert!(tried == 0 || (tried >= 139 && opened >= 1), "{tried} {opened}");
}
