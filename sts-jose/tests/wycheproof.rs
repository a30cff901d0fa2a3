//! Project Wycheproof's vectors for JWS and JWK, read from the folder that `STS_JOSE_VECTORS` names; skipped without it.
//!
//! The payloads of most vectors are no JSON, so this drives [`CompactJws`], the layer below tokens.

#[cfg(test)]
mod vectors {
    use std::io::Write as _;
    use std::path::PathBuf;

    use serde_json::{Value, json};
    use sts_jose::{CompactJws, KeySet, ParseError};

    /// `ES521` in the key and ES512 in the header, and P-521, which we do not support.
    const P521: [u64; 2] = [347, 351];

    /// Labelled valid, though the key says PS256 and the header PS384: a key is used with the algorithm that it names, and
    /// the suite itself labels such a pair invalid elsewhere (340).
    const KEY_OF_ANOTHER_ALGORITHM: [u64; 2] = [346, 350];

    #[expect(clippy::disallowed_methods, reason = "the vectors are not part of the repository")]
    fn test_groups(file: &str) -> Vec<Value> {
        let Ok(folder) = std::env::var("STS_JOSE_VECTORS") else {
            not_checked(&format!("{file} of Project Wycheproof (STS_JOSE_VECTORS is not set)"));
            return Vec::new();
        };
        let text = std::fs::read(PathBuf::from(folder).join(file)).unwrap();
        let suite: Value = serde_json::from_slice(&text).unwrap();
        suite["testGroups"].as_array().unwrap().clone()
    }

    /// Says that a check was not made, in the report of `tests/run`.
    fn not_checked(what: &str) {
        let Some(report) = std::env::var_os("STS_TESTS_NOT_CHECKED") else { return };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(report).unwrap();
        file.write_all(format!("{what}\n").as_bytes()).unwrap();
    }

    /// Whether the token verifies with the key of `keys` that its header names.
    fn verifies(keys: &KeySet, token: &str) -> bool {
        let Ok(jws) = CompactJws::parse(token) else { return false };
        let header = jws.header();
        let key = keys.find(header.kid.as_deref(), header.algorithm);
        key.is_some_and(|key| jws.verify_signature(key).is_ok())
    }

    /// Runs all vectors that have a public key, and says how many there were.
    fn run(file: &str, excepted: &[u64]) -> usize {
        let mut count = 0;
        for group in test_groups(file) {
            let Some(public) = group.get("public") else { continue };
            let set = if public.get("keys").is_some() { public.clone() } else { json!({ "keys": [public] }) };
            let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
            for test in group["tests"].as_array().unwrap() {
                // JSON serialisation is an object in some vectors.
                let token = test["jws"].as_str().map_or_else(|| test["jws"].to_string(), str::to_owned);
                let id = test["tcId"].as_u64().unwrap();
                let valid = test["result"] == "valid" && !excepted.contains(&id);
                assert_eq!(verifies(&keys, &token), valid, "{file} {id} {} ({})", test["comment"], group["comment"]);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn signatures_of_wycheproof_are_judged_as_labelled() {
        let excepted = [P521, KEY_OF_ANOTHER_ALGORITHM].concat();
        let count = run("json_web_signature_test.json", &excepted);
        assert!(count == 0 || count > 300, "{count}");
    }

    #[test]
    fn keys_of_wycheproof_are_judged_as_labelled() {
        let count = run("json_web_key_test.json", &[]);
        assert!(count == 0 || count >= 11, "{count}");
    }

    #[test]
    fn mixed_tokens_of_wycheproof_are_judged_as_labelled() {
        let count = run("json_web_crypto_test.json", &[]);
        assert!(count == 0 || count >= 29, "{count}");
    }

    /// All of these have symmetric keys, so none verifies; but what is legal must fail at the algorithm and not at its
    /// form, white space in the header (376, 377) included. 372 and 373 are labelled valid and hold a `?`, which strict
    /// base64url refuses; 367 and 370 are labelled invalid and equal 357.
    #[test]
    fn the_forms_of_wycheproof_that_are_legal_are_read() {
        let groups = test_groups("json_web_signature_test.json");
        let tests =
            groups.iter().filter(|group| group["comment"] == "base64").flat_map(|group| group["tests"].as_array());
        for test in tests.flatten() {
            let (id, token) = (test["tcId"].as_u64().unwrap(), test["jws"].as_str().unwrap());
            match (CompactJws::parse(token).unwrap_err(), id) {
                (ParseError::Base64(_), 372 | 373) | (ParseError::Algorithm(_), 367 | 370 | 376 | 377) => {}
                (refusal, 372 | 373 | 367 | 370) => panic!("{id}: {refusal:?}"),
                (ParseError::Algorithm(_), _) => assert_eq!(test["result"], "valid", "{id} {}", test["comment"]),
                (refusal, _) => assert_eq!(test["result"], "invalid", "{id} {}: {refusal:?}", test["comment"]),
            }
        }
    }
}
