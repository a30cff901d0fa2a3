//! Outside issuers: where their keys come from, what they may say, and how they fare.

use serde_json::{Value, json};
use sts_jose::Algorithm;
use sts_server::error_kind::ErrorKind;
use sts_server::registry::FILE_KEYS;
use sts_tests::{Fault, FormRequest, Harness, Registry, Setup, TestIssuer, TestKey};

/// The entry of the users' issuer with other values.
fn idp(values: &'static str) -> Setup {
    Setup::default().registry_with(move |registry, names| registry.issuer(names.idp.url(), values))
}

fn with(harness: &Harness, changes: &Value) -> FormRequest {
    harness.exchange().set("subject_token", harness.user_token_with(changes))
}

#[tokio::test]
async fn keys_may_be_discovered() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    assert_eq!(harness.idp.paths(), ["/.well-known/openid-configuration", "/jwks"]);
}

#[tokio::test]
async fn keys_may_be_at_a_uri_and_then_nothing_else_is_asked_for() {
    let setup = Setup::default().registry_with(|registry, names| {
        registry.issuer(names.idp.url(), &format!("jwks_uri = '{}'", names.idp.jwks_uri()));
    });
    let harness = setup.start().await;
    for _ in 0..3 {
        harness.exchange().send().await.token();
    }
    assert_eq!(harness.idp.paths(), ["/jwks"]);
}

#[tokio::test]
async fn keys_may_stand_in_a_file_or_in_the_registry_and_then_nothing_is_fetched() {
    fn in_file(registry: &mut Registry, names: &sts_tests::Names) {
        std::fs::write(names.directory.join("idp.json"), names.idp.jwks().to_string()).unwrap();
        registry.issuer(names.idp.url(), "jwks_file = 'idp.json'");
    }
    fn inline(registry: &mut Registry, names: &sts_tests::Names) {
        let jwks = toml::Value::try_from(names.idp.jwks()).unwrap();
        registry.issuer(names.idp.url(), &format!("jwks = {jwks}"));
    }
    for edit in [in_file, inline] {
        let harness = Setup::default().registry_with(edit).start().await;
        harness.exchange().send().await.token();
        let other_key = TestKey::new(Algorithm::Es256).sign(&harness.user_claims());
        let request = harness.exchange().set("subject_token", other_key);
        harness.assert_refused("another key", request, ErrorKind::Token, "subject_key_unknown").await;
        assert_eq!(harness.idp.paths(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_key_set_that_asks_for_a_token_gets_it() {
    let setup = Setup::default().registry_with(|registry, names| {
        std::fs::write(names.directory.join("bearer"), "the-bearer-token-of-the-key-set\n").unwrap();
        registry.issuer(names.idp.url(), "jwks_bearer_token_file = 'bearer'");
    });
    let harness = setup.start().await;
    harness.seen.remember("the-bearer-token-of-the-key-set");
    harness.exchange().send().await.token();
    assert_eq!(harness.idp.authorizations(), ["Bearer the-bearer-token-of-the-key-set"; 2]);
}

#[tokio::test]
async fn every_algorithm_that_an_issuer_may_use_is_verified() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let issuer = TestIssuer::with_keys(vec![TestKey::new(algorithm)]).await;
        let url = issuer.url().to_owned();
        let entry = format!("[[issuers]]\nissuer = '{url}'\ntenant = 'acme'\n");
        let harness = Setup::default().registry(move |registry| registry.add(&entry)).start().await;
        let mut claims = harness.user_claims();
        claims["iss"] = json!(url);
        harness.exchange().set("subject_token", issuer.sign(&claims)).send().await.token();
    }
}

#[tokio::test]
async fn an_algorithm_that_the_entry_does_not_list_is_refused() {
    let harness = idp("algorithms = ['RS256', 'EdDSA']").start().await;
    harness.assert_refused("ES256", harness.exchange(), ErrorKind::Token, "subject_algorithm").await;
}

#[tokio::test]
async fn audience_claim_names_the_claim_that_says_whom_a_token_is_for() {
    for claim in ["azp", "client_id", "cid"] {
        let values: &'static str = match claim {
            "azp" => "audience_claim = 'azp'",
            "client_id" => "audience_claim = 'client_id'",
            _ => "audience_claim = 'cid'",
        };
        let harness = idp(values).start().await;
        for value in [json!("web-app"), json!(["other", "web-app"]), json!("coordinator")] {
            let answer = with(&harness, &json!({ "aud": "another", claim: value })).send().await;
            assert_eq!(answer.status, 200, "{claim} {value}: {}", answer.text());
        }
        let cases = [
            ("aud alone", with(&harness, &json!({ "aud": "web-app" })), "subject_not_addressed"),
            ("another", with(&harness, &json!({ claim: "other" })), "subject_not_addressed"),
            ("empty", with(&harness, &json!({ claim: [] })), "subject_not_addressed"),
            ("a number", with(&harness, &json!({ claim: 7 })), "subject_claim_malformed"),
        ];
        let cases = cases.map(|(label, request, reason)| (label, request, ErrorKind::Token, reason));
        let twin = || with(&harness, &json!({ "aud": null, claim: "web-app" }));
        harness.assert_each_refused(twin, cases).await;
    }
}

#[tokio::test]
async fn scopes_from_token_what_the_token_holds_counts_and_no_more() {
    for (values, claim) in [
        ("scopes_from = 'token'", "scope"),
        ("scopes_from = 'token'\nscope_claim = 'scp'", "scp"),
        ("scopes_from = 'token'\nscope_claim = 'https://idp.example/permissions'", "https://idp.example/permissions"),
    ] {
        let harness = idp(values).start().await;
        let request = |value: Value| with(&harness, &json!({ claim: value }));
        for (value, scope) in [
            (json!("stock:read other"), "stock:read"),
            (json!(["stock:read", "other"]), "stock:read"),
            (json!("stock:write stock:read"), "stock:read stock:write"),
            (json!(" stock:read  other "), "stock:read"),
        ] {
            assert_eq!(request(value.clone()).send().await.json["scope"], scope, "{value}");
        }
        let cases = [
            ("nothing of it", request(json!("other")), ErrorKind::Scope, "scope_empty"),
            ("another case", request(json!("Stock:Read")), ErrorKind::Scope, "scope_empty"),
            ("empty", request(json!("")), ErrorKind::Scope, "scope_empty"),
            ("an empty array", request(json!([])), ErrorKind::Scope, "scope_empty"),
            ("absent", harness.exchange(), ErrorKind::Scope, "scope_empty"),
            (
                "more than it holds",
                request(json!("stock:read")).set("scope", "stock:write"),
                ErrorKind::Scope,
                "scope_beyond",
            ),
            ("a number", request(json!(7)), ErrorKind::Token, "subject_scope"),
            ("an object", request(json!({ "stock:read": true })), ErrorKind::Token, "subject_scope"),
            ("a quote", request(json!("stock:read \"x")), ErrorKind::Token, "subject_scope"),
            ("two in one member", request(json!(["stock:read stock:write"])), ErrorKind::Token, "subject_scope"),
            ("a member that is none", request(json!(["stock:read", 7])), ErrorKind::Token, "subject_scope"),
        ];
        harness.assert_each_refused(|| request(json!("stock:read")), cases).await;
    }
}

#[tokio::test]
async fn a_flood_of_unknown_kids_forces_one_refetch_in_30_seconds() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    let before = harness.idp.paths().len();
    let unknown = |number: usize| {
        let mut header = harness.idp.key().header();
        header["kid"] = json!(format!("unknown-{number}"));
        let token = harness.idp.key().sign_with(&header, &harness.user_claims());
        harness.exchange().set("subject_token", token)
    };
    for number in 0..30 {
        harness.assert_refused("unknown", unknown(number), ErrorKind::Token, "subject_key_unknown").await;
    }
    assert_eq!(harness.idp.paths().len(), before + 2, "discovery and key set, once");
    harness.advance(30);
    harness.assert_refused("later", unknown(100), ErrorKind::Token, "subject_key_unknown").await;
    assert_eq!(harness.idp.paths().len(), before + 4);
}

#[tokio::test]
async fn a_new_key_of_an_issuer_is_found_at_once_and_a_withdrawn_one_is_gone_then() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    let new = TestKey::new(Algorithm::Es256);
    harness.idp.publish(json!({ "keys": [new.jwk()] }));
    harness.exchange().set("subject_token", new.sign(&harness.user_claims())).send().await.token();
    harness.assert_refused("the old one", harness.exchange(), ErrorKind::Token, "subject_key_unknown").await;
}

#[tokio::test]
async fn an_outage_of_an_issuer_leaves_its_old_keys() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    for fault in [Fault::Status(500), Fault::Garbage, Fault::Huge, Fault::Redirect("http://127.0.0.1:9/".to_owned())] {
        harness.idp.fail(fault);
        harness.advance(600);
        harness.exchange().send().await.token();
        let new = TestKey::new(Algorithm::Es256).sign(&harness.user_claims());
        let unknown = harness.exchange().set("subject_token", new);
        // Whether this key is one of theirs cannot be known now.
        harness.assert_refused("an unknown key", unknown, ErrorKind::Unavailable, "keys_unavailable").await;
    }
    harness.idp.mend();
    harness.advance(31);
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn an_issuer_that_empties_its_key_set_is_believed_at_once() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    harness.idp.publish(json!({ "keys": [] }));
    let unknown = TestKey::new(Algorithm::Es256).sign(&harness.user_claims());
    let unknown = harness.exchange().set("subject_token", unknown);
    harness.assert_refused("an unknown key", unknown, ErrorKind::Token, "issuer_keys_unusable").await;
    harness.assert_refused("withdrawn", harness.exchange(), ErrorKind::Token, "issuer_keys_unusable").await;
    harness.idp.publish(harness.idp.jwks());
    harness.advance(30);
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn keys_that_were_not_confirmed_for_a_day_are_an_outage() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    harness.idp.fail(Fault::Status(500));
    harness.advance(24 * 60 * 60);
    harness.assert_refused("a day later", harness.exchange(), ErrorKind::Unavailable, "keys_unavailable").await;
    harness.idp.mend();
    harness.advance(1);
    harness.exchange().send().await.token();
}

#[tokio::test]
async fn an_unauthenticated_token_forces_no_refetch_of_an_issuer_without_workloads() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    let before = harness.idp.paths().len();
    let new = TestKey::new(Algorithm::Es256);
    let token = new.sign(&harness.user_claims());
    let request = harness.exchange_by("runner", &harness.user_token(), "inventory").set("actor_token", &token);
    harness.assert_refused_unrecorded("a stranger", request, ErrorKind::Token).await;
    assert_eq!(harness.idp.paths().len(), before);
    harness.idp.publish(json!({ "keys": [new.jwk()] }));
    harness.exchange().set("subject_token", token).send().await.token();
}

#[tokio::test]
async fn a_redirect_of_a_key_set_is_not_followed() {
    let elsewhere = TestIssuer::start().await;
    let to = elsewhere.jwks_uri();
    let setup = Setup::default().registry_with(move |_, names| names.idp.fail(Fault::Redirect(to)));
    let harness = setup.start().await;
    harness.assert_refused("redirected", harness.exchange(), ErrorKind::Unavailable, "keys_unavailable").await;
    assert_eq!(elsewhere.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn discovery_of_another_issuer_is_not_believed() {
    let setup = Setup::default().registry_with(|_, names| {
        let document = json!({ "issuer": "https://other.example", "jwks_uri": names.idp.jwks_uri() });
        names.idp.fail(Fault::Body(document.to_string().into_bytes()));
    });
    let harness = setup.start().await;
    harness.assert_refused("mixed up", harness.exchange(), ErrorKind::Unavailable, "keys_unavailable").await;
}

/// A device, a pipe and a folder of the names `zero`, `pipe` and `folder`.
fn odd_files(directory: &std::path::Path) {
    std::os::unix::fs::symlink("/dev/zero", directory.join("zero")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(directory.join("pipe")).status().unwrap().success());
    std::fs::create_dir(directory.join("folder")).unwrap();
}

#[tokio::test]
async fn a_device_a_pipe_or_a_folder_for_any_file_fails_the_tokens_of_its_issuer_alone() {
    let troubled = TestIssuer::start().await;
    for key in FILE_KEYS {
        for file in ["zero", "pipe", "folder"] {
            let location = if key == "jwks_file" || key == "bundle_file" {
                String::new()
            } else {
                format!("jwks_uri = '{}'\n", troubled.jwks_uri())
            };
            // A bundle is that of a trust domain.
            let (issuer, sub) = match key {
                "bundle_file" => ("spiffe://troubled.example", "spiffe://troubled.example/alice"),
                _ => (troubled.url(), "alice"),
            };
            let entry = format!("[[issuers]]\nissuer = '{issuer}'\ntenant = 'acme'\n{location}{key} = '{file}'\n");
            let setup = Setup::default().registry_with(move |registry, names| {
                odd_files(&names.directory);
                registry.add(&entry);
            });
            let harness = setup.start().await;
            let mut claims = harness.user_claims();
            (claims["iss"], claims["sub"]) = (json!(issuer), json!(sub));
            let theirs = harness.exchange().set("subject_token", troubled.sign(&claims));
            harness.assert_refused(&format!("{key} {file}"), theirs, ErrorKind::Unavailable, "keys_unavailable").await;
            harness.exchange().send().await.token();
        }
    }
    assert_eq!(troubled.paths(), Vec::<String>::new(), "nothing is fetched without them");
}

#[tokio::test]
async fn a_key_set_file_that_becomes_a_pipe_leaves_its_old_keys() {
    let setup = Setup::default().registry_with(|registry, names| {
        odd_files(&names.directory);
        std::fs::write(names.directory.join("idp.json"), names.idp.jwks().to_string()).unwrap();
        registry.issuer(names.idp.url(), "jwks_file = 'idp.json'");
    });
    let harness = setup.start().await;
    harness.exchange().send().await.token();
    let directory = harness.config.keys.master_key_file.parent().unwrap();
    std::fs::rename(directory.join("pipe"), directory.join("idp.json")).unwrap();
    harness.advance(1);
    harness.exchange().send().await.token();
    let unknown = TestKey::new(Algorithm::Es256).sign(&harness.user_claims());
    let unknown = harness.exchange().set("subject_token", unknown);
    harness.assert_refused("an unknown key", unknown, ErrorKind::Unavailable, "keys_unavailable").await;
}

#[tokio::test]
async fn a_key_set_with_odd_entries_serves_the_good_ones() {
    let harness = Setup::default()
        .registry_with(|_, names| {
            let key = names.idp.key().jwk();
            let mut private = TestKey::new(Algorithm::Es256).jwk();
            private["d"] = json!("AAAA");
            let mut encryption = TestKey::new(Algorithm::Es256).jwk();
            encryption["use"] = json!("enc");
            let symmetric = json!({ "kty": "oct", "k": "AAAA", "kid": "secret", "alg": "HS256" });
            let weak = json!({ "kty": "RSA", "n": "sQ", "e": "AQAB", "kid": "weak", "alg": "RS256" });
            let unknown = json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "later" });
            names.idp.publish(json!({ "keys": [symmetric, private, encryption, weak, unknown, key, 7] }));
        })
        .start()
        .await;
    harness.exchange().send().await.token();
    let secret = json!({ "alg": "HS256", "kid": "secret" });
    let token = harness.idp.key().sign_with(&secret, &harness.user_claims());
    let request = harness.exchange().set("subject_token", token);
    harness.assert_refused("the symmetric one", request, ErrorKind::Token, "subject_malformed").await;
}

#[tokio::test]
async fn the_trouble_of_one_issuer_touches_no_other() {
    let troubled = TestIssuer::start().await;
    troubled.fail(Fault::Status(500));
    let url = troubled.url().to_owned();
    let entry = format!("[[issuers]]\nissuer = '{url}'\ntenant = 'acme'\n");
    let harness = Setup::default().registry(move |registry| registry.add(&entry)).start().await;
    let of_troubled = |harness: &Harness| {
        let mut claims = harness.user_claims();
        claims["iss"] = json!(troubled.url());
        harness.exchange().set("subject_token", troubled.sign(&claims))
    };
    for _ in 0..3 {
        harness.assert_refused("theirs", of_troubled(&harness), ErrorKind::Unavailable, "keys_unavailable").await;
        harness.exchange().send().await.token();
    }
    troubled.mend();
    harness.advance(1);
    of_troubled(&harness).send().await.token();
}

#[tokio::test]
async fn a_slow_issuer_is_given_up_and_holds_up_nobody_else() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    let slow = harness.exchange().set("subject_token", TestKey::new(Algorithm::Es256).sign(&harness.user_claims()));
    harness.idp.fail(Fault::Delay(std::time::Duration::from_secs(60)));
    let waiting = tokio::spawn(slow.send());
    // Known keys are served meanwhile.
    for _ in 0..3 {
        harness.exchange().send().await.token();
    }
    sts_tests::refuses("given up", &waiting.await.unwrap(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_registry_that_changes_keeps_the_keys_that_it_has() {
    let mut harness = Harness::start().await;
    harness.exchange().send().await.token();
    let before = harness.idp.paths().len();
    harness.idp.fail(Fault::Status(500));
    harness.apply(|registry, _| registry.agent("inventory", "token_ttl = '2m'")).await;
    assert_eq!(harness.exchange().send().await.json["expires_in"], 120);
    assert_eq!(harness.idp.paths().len(), before);
}

#[tokio::test]
async fn outside_tokens_without_a_jti_are_told_apart_all_the_same() {
    let harness = Harness::start().await;
    let request = with(&harness, &json!({ "jti": null }));
    let correlation_id = request.correlation_id();
    let first = request.send().await.token().to_owned();
    let events = harness.events(&correlation_id).await;
    let parent = events[0].parent_jti.clone().unwrap();
    assert!(parent.starts_with("sha256:"), "{parent}");
    harness.block(sts_server::storage::RevocationKind::Token, Some(harness.idp.url()), &parent).await;
    harness.refresh().await;
    let request = harness.exchange_by("inventory", &first, "warehouse");
    harness.assert_refused("its descendant", request, ErrorKind::Token, "token_revoked").await;
}
