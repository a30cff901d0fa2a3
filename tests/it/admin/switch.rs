//! The kill switch and the signing keys, through the API.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sts_jose::Clock as _;
use sts_server::error_kind::ErrorKind;
use sts_tests::{Answer, FormRequest, Harness, Replica, Setup};

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
async fn a_user_is_revoked_and_lifted_by_an_alias_of_the_issuer_and_never_by_a_template() {
    let setup = Setup::default().operators().registry_with(|registry, names| {
        registry.issuer(names.idp.url(), "aliases = ['accounts.google.com']");
    });
    let harness = setup.start().await;
    let under_alias = json!({ "sub": "alice", "issuer": "accounts.google.com" });
    revoke(&harness, &under_alias).await;
    assert_eq!(harness.exchange().send().await.error(), "invalid_request");
    let lift = harness.admin("DELETE", "/revocations?sub=alice&issuer=accounts.google.com").by("operator");
    assert_eq!(lift.send().await.status, 204);
    assert_eq!(harness.exchange().send().await.status, 200);
    // Also where the name need not be known.
    let unknown = json!({ "sub": "alice", "issuer": "accounts.google.com", "unknown": true });
    revoke(&harness, &unknown).await;
    let listed = harness.admin("GET", "/revocations").by("reader").send().await;
    assert_eq!(listed.json["revocations"][0]["issuer"], json!(harness.idp.url()), "{}", listed.text());
    let template = json!({ "sub": "alice", "issuer": "https://login.example.com/{tenantid}/v2.0", "unknown": true });
    let answer = harness.admin("POST", "/revocations").by("operator").json(&template).send().await;
    assert_eq!(answer.status, 422, "no token has that issuer: {}", answer.text());
}

#[tokio::test]
async fn what_stands_revoked_is_listed_as_it_was_named() {
    for harness in on_both().await {
        let idp = harness.idp.url();
        let named = [
            json!({ "jti": "j", "issuer": idp }),
            json!({ "txn": "t" }),
            json!({ "sub": "alice" }),
            json!({ "agent": "inventory" }),
            json!({ "tenant": "acme" }),
        ];
        for named in &named {
            let done = revoke(&harness, named).await;
            assert_eq!(done.json, json!({ "revoked": 1, "hold": false }), "{named}: it stands until it is lifted");
        }
        let listed = harness.admin("GET", "/revocations").by("reader").send().await;
        let mut listed: Vec<Value> = listed.json["revocations"].as_array().expect("a list").clone();
        for revocation in &mut listed {
            let members = revocation.as_object_mut().expect("an object");
            assert!(members.remove("at").is_some() && members.remove("expires_at").is_none(), "{members:?}");
            assert_eq!(members.remove("hold"), Some(json!(false)), "{members:?}");
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
        (json!({ "jti": "j", "hold": true }), "/hold"),
        (json!({ "txn": "t", "hold": true }), "/hold"),
        (json!({ "sub": "alice", "hold": "yes" }), "/hold"),
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
async fn what_the_registry_does_not_know_is_not_revoked_unless_it_is_meant() {
    for harness in on_both().await {
        let misspelt = format!("{}x", harness.idp.url());
        let idp = format!("did you mean {:?}?", harness.idp.url());
        for (named, pointer, help) in [
            (json!({ "agent": "inventry" }), "/agent", "did you mean \"inventory\"?"),
            (json!({ "agent": "inventory-agent" }), "/agent", "add \"unknown\": true"),
            (json!({ "tenant": "acmee" }), "/tenant", "did you mean \"acme\"?"),
            (json!({ "sub": "alice", "issuer": misspelt }), "/issuer", idp.as_str()),
            (json!({ "jti": "j", "issuer": misspelt }), "/issuer", idp.as_str()),
            (json!({ "jti": "j" }), "/jti", "for a token of another issuer, give its issuer too"),
            (json!({ "jti": "j", "issuer": harness.issuer() }), "/jti", "add \"unknown\": true"),
            (json!({ "agent": "inventry", "hold": true, "unknown": false }), "/agent", "did you mean"),
        ] {
            let request = harness.admin("POST", "/revocations").by("operator").json(&named);
            let answer = assert_refused(&harness, &named.to_string(), request, 422, "body_at_fault").await;
            assert_eq!(super::pointers(&answer), [pointer], "{named}: {}", answer.text());
            let helped = answer.json["faults"][0]["help"].as_str().unwrap_or_default();
            assert!(helped.contains(help), "{named}: {}", answer.text());
            let mut meant = named.clone();
            meant["unknown"] = json!(true);
            revoke(&harness, &meant).await;
        }
    }
}

#[tokio::test]
async fn a_hold_is_listed_with_the_moment_when_it_was_made_and_a_block_does_not_end_it() {
    for harness in on_both().await {
        let made = harness.clock.now().to_string();
        let done = revoke(&harness, &json!({ "agent": "coordinator", "hold": true })).await;
        assert_eq!(done.json, json!({ "revoked": 1, "hold": true }));
        let listed = async || {
            let listed = harness.admin("GET", "/revocations").by("reader").send().await;
            listed.json["revocations"].clone()
        };
        let hold = json!([{ "agent": "coordinator", "at": made, "hold": true }]);
        assert_eq!(listed().await, hold);
        revoke(&harness, &json!({ "agent": "coordinator" })).await;
        assert_eq!(listed().await, hold);
        let refused = harness.exchange();
        assert_eq!(refused.send().await.status, 401);
        let lift = harness.admin("DELETE", "/revocations?agent=coordinator").by("operator");
        assert_eq!(lift.send().await.status, 204);
        assert_eq!(listed().await, json!([]));
        harness.exchange().send().await.token();
    }
}

#[tokio::test]
async fn what_covers_a_token_without_iat_stands_until_it_is_lifted() {
    for harness in on_both().await {
        let exp = harness.now() + 24 * 3600 + 60;
        let token = harness.user_token_with(&json!({ "iat": null, "exp": exp, "jti": "no-iat" }));
        let exchange = || harness.exchange_by("coordinator", &token, "inventory");
        assert_eq!(exchange().send().await.status, 400, "it expires too far from now");
        let idp = harness.idp.url();
        let named = [
            json!({ "jti": "no-iat", "issuer": idp }),
            json!({ "sub": "alice", "issuer": idp }),
            json!({ "agent": "coordinator" }),
            json!({ "tenant": "acme" }),
        ];
        for named in &named {
            revoke(&harness, named).await;
        }
        let rows = harness.store.revocations().await.expect("a database").all();
        assert!(rows.iter().all(|row| row.expires_at.as_second() > exp + 1_000_000_000), "{rows:?}");
        // From now on the token would be young enough.
        harness.advance(120);
        harness.refresh().await;
        for (named, reason) in named.iter().zip(["token_revoked", "subject_revoked", "agent_revoked", "tenant_revoked"])
        {
            let refused = exchange();
            harness.assert_refused("revoked", refused, ErrorKind::Token, reason).await;
            let (kind, value) =
                named.as_object().expect("an object").iter().find(|(name, _)| *name != "issuer").expect("one");
            let issuer = named.get("issuer").map_or_else(String::new, |_| format!("&issuer={idp}"));
            let path = format!("/revocations?{kind}={}{issuer}", value.as_str().expect("a text"));
            assert_eq!(harness.admin("DELETE", &path).by("operator").send().await.status, 204, "{path}");
        }
        exchange().send().await.token();
    }
}

#[tokio::test]
async fn an_agent_on_hold_is_refused_as_a_disabled_one_is() {
    let mut harness = Setup::default().operators().start().await;
    let requests = |harness: &Harness| {
        [
            harness.exchange(),
            harness.client_credentials(),
            harness.introspect("coordinator", "x"),
            harness.revoke("coordinator", "x"),
            harness.exchange_by("reporter", &harness.user_token(), "coordinator"),
        ]
    };
    let answers = async |harness: &Harness| {
        let mut answers = Vec::new();
        for request in requests(harness) {
            let answer = request.send().await;
            answers.push((answer.status, answer.text()));
        }
        answers
    };
    harness
        .apply(|registry, _| {
            registry.add("[[delegations]]\nactor = 'reporter'\ntarget = 'coordinator'\nscopes = ['stock:read']");
            registry.agent("coordinator", "disabled = true");
        })
        .await;
    let disabled = answers(&harness).await;
    assert!(disabled.iter().all(|(status, _)| [400, 401].contains(status)), "{disabled:?}");
    harness.apply(|registry, _| registry.agent("coordinator", "disabled = false")).await;
    assert!(answers(&harness).await.iter().all(|(status, _)| *status == 200));
    revoke(&harness, &json!({ "agent": "coordinator", "hold": true })).await;
    assert_eq!(answers(&harness).await, disabled);
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
