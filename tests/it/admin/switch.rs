//! The kill switch and the signing keys, through the API.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sts_tests::{Answer, FormRequest, Harness, Replica};

use super::{assert_refused, on_both};

/// Within this, every server follows.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(1);

async fn revoke(harness: &Harness, named: &Value) -> Answer {
    let answer = harness.admin("POST", "/revocations").by("operator").json(named).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Asks another server until it answers with this error; fails when it takes longer than it may.
async fn follows(label: &str, replica: &Replica, request: FormRequest, error: &str) {
    let begun = now();
    let request = request.at(&replica.wire);
    while request.clone().send().await.error() != error {
        assert!(begun.elapsed() < FOLLOWS_WITHIN, "{label}: not within {FOLLOWS_WITHIN:?}");
    }
}

#[expect(clippy::disallowed_methods, reason = "the servers follow the database by the real clock")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_here_is_refused_here_at_once_and_at_every_server_within_a_second_until_it_is_lifted() {
    for harness in on_both().await {
        let replica = harness.replica().await;
        let idp = harness.idp.url().to_owned();
        let user_token = harness.user_token();
        let first = harness.exchange_by("coordinator", &user_token, "inventory").send().await;
        let (jti, txn) = (first.claims()["jti"].clone(), first.claims()["txn"].clone());
        let second_hop = || harness.exchange_by("inventory", first.token(), "warehouse");
        // What began a transaction stays revoked when that is lifted.
        let another = harness.user_token();
        let anew = || harness.exchange_by("coordinator", &another, "inventory");
        for (named, refused) in [
            (json!({ "jti": jti }), second_hop()),
            (json!({ "txn": txn }), second_hop()),
            (json!({ "sub": "alice", "issuer": idp }), anew()),
            (json!({ "agent": "coordinator" }), anew()),
            (json!({ "tenant": "acme" }), anew()),
        ] {
            let label = named.to_string();
            revoke(&harness, &named).await;
            assert_eq!(refused.clone().send().await.error(), "invalid_request", "{label}: here");
            follows(&label, &replica, refused.clone(), "invalid_request").await;
            let query = named.as_object().expect("an object").iter();
            let query: Vec<String> =
                query.map(|(name, value)| format!("{name}={}", value.as_str().expect("a text"))).collect();
            let lift = harness.admin("DELETE", &format!("/revocations?{}", query.join("&"))).by("operator");
            assert_eq!(lift.send().await.status, 204, "{label}");
            assert_eq!(refused.clone().send().await.status, 200, "{label}: here again");
            follows(&label, &replica, refused, "").await;
            assert_refused(&harness, &label, lift, 404, "not_found").await;
        }
        replica.server.stop().await;
    }
}

#[tokio::test]
async fn what_stands_revoked_is_listed_as_it_was_named() {
    for harness in on_both().await {
        let named = [
            json!({ "jti": "j", "issuer": "https://other.example" }),
            json!({ "txn": "t" }),
            json!({ "sub": "alice" }),
            json!({ "agent": "inventory" }),
            json!({ "tenant": "acme" }),
        ];
        for named in &named {
            revoke(&harness, named).await;
        }
        let listed = harness.admin("GET", "/revocations").by("reader").send().await;
        let mut listed: Vec<Value> = listed.json["revocations"].as_array().expect("a list").clone();
        for revocation in &mut listed {
            let members = revocation.as_object_mut().expect("an object");
            assert!(members.remove("at").is_some() && members.remove("expires_at").is_some(), "{members:?}");
        }
        assert_eq!(listed.len(), named.len());
        assert!(named.iter().all(|named| listed.contains(named)), "{listed:?}");
    }
}

#[tokio::test]
async fn what_names_nothing_or_too_much_is_not_revoked() {
    let harness = &on_both().await[0];
    for (named, pointer) in [
        (json!({}), ""),
        (json!({ "sub": "alice", "agent": "inventory" }), ""),
        (json!({ "agent": "inventory", "issuer": "https://x.example" }), "/issuer"),
        (json!({ "tenant": "a b" }), "/tenant"),
        (json!({ "sub": "" }), "/sub"),
        (json!({ "sub": "a\u{0}" }), "/sub"),
        (json!({ "sub": "a".repeat(1025) }), "/sub"),
        (json!({ "sub": 7 }), "/sub"),
        (json!({ "subject": "alice" }), "/subject"),
    ] {
        let request = harness.admin("POST", "/revocations").by("operator").json(&named);
        let answer = assert_refused(harness, &named.to_string(), request, 422, "body_at_fault").await;
        assert_eq!(super::pointers(&answer), [pointer], "{named}: {}", answer.text());
    }
    for query in ["", "?sub=a&agent=b", "?sub=a%00", "?agent=a&issuer=b", "?agnt=a", "?sub=a&sub=b", "?sub=%zz"] {
        let request = harness.admin("DELETE", &format!("/revocations{query}")).by("operator");
        assert_refused(harness, query, request, 400, "parameters_malformed").await;
    }
}

#[tokio::test]
async fn keys_are_listed_rotated_and_revoked() {
    for harness in on_both().await {
        let states = async || {
            let listed = harness.admin("GET", "/keys").by("reader").send().await;
            listed.json["keys"].as_array().expect("keys").clone()
        };
        let kid = |keys: &[Value], state: &str| {
            let key = keys.iter().find(|key| key["algorithm"] == "ES256" && key["state"] == state).expect("a key");
            key["kid"].as_str().expect("a name").to_owned()
        };
        let before = states().await;
        let early = harness.admin("POST", "/keys/rotate").by("operator").json(&json!({ "algorithm": "ES256" }));
        assert_refused(&harness, "too early", early, 409, "key_too_young").await;
        let rotated =
            harness.admin("POST", "/keys/rotate").by("operator").json(&json!({ "algorithm": "ES256", "now": true }));
        let rotated = rotated.send().await;
        assert_eq!(rotated.status, 200, "{}", rotated.text());
        let after = states().await;
        assert_eq!(rotated.json["keys"], json!(after));
        assert_eq!(kid(&after, "active"), kid(&before, "next"));
        assert_eq!(harness.exchange().send().await.token_header()["kid"], kid(&after, "active"), "it signs already");

        let revoked = kid(&after, "active");
        let revoke = harness.admin("DELETE", &format!("/keys/{revoked}")).by("admin");
        assert_eq!(revoke.send().await.status, 204);
        let published = harness.get("/oauth2/jwks").await.text();
        assert!(!published.contains(&revoked), "{published}");
        assert_refused(&harness, "again", revoke, 404, "not_found").await;
    }
}
