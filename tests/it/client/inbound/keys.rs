//! Where the keys of an issuer come from, and what happens while they do not.

use std::time::Duration;

use http::HeaderMap;
use serde_json::json;
use sts_jose::{Algorithm, KeySet};
use sts_tests::{Fault, TestIssuer, TestKey};

use super::{Agent, Row};

fn of_unknown_key(agent: &Agent, kid: &str) -> HeaderMap {
    let mut header = agent.idp.key().header();
    header["kid"] = json!(kid);
    agent.bearer(&agent.idp.key().sign_with(&header, &agent.claims()))
}

#[tokio::test]
async fn keys_may_be_discovered_or_at_a_uri_and_then_nothing_else_is_asked_for() {
    let agent = Agent::start().await;
    agent.served("discovered", agent.request(&json!({}))).await;
    agent.served("kept", agent.request(&json!({}))).await;
    assert_eq!(agent.idp.paths(), ["/.well-known/openid-configuration", "/jwks"]);

    let elsewhere = TestIssuer::start().await;
    let uri = elsewhere.jwks_uri().parse().unwrap();
    let agent = Agent::of_issuer(|issuer| issuer.tenant_claim("org_id").jwks_uri(uri), |builder, _idp| builder).await;
    agent.served("at a uri", agent.bearer(&elsewhere.sign(&agent.claims()))).await;
    assert_eq!(elsewhere.paths(), ["/jwks"]);
    assert_eq!(agent.idp.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn keys_may_stand_in_a_file_or_in_the_program_and_then_nothing_is_fetched() {
    let key = TestKey::new(Algorithm::Es256);
    let document = json!({ "keys": [key.jwk()] }).to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, &document).unwrap();
    let inline = KeySet::parse(document.as_bytes()).unwrap();
    let in_file = Agent::of_issuer(|issuer| issuer.tenant_claim("org_id").jwks_file(path), |builder, _idp| builder);
    let in_program = Agent::of_issuer(|issuer| issuer.tenant_claim("org_id").jwks(inline), |builder, _idp| builder);
    for agent in [in_file.await, in_program.await] {
        agent.served("its key", agent.bearer(&key.sign(&agent.claims()))).await;
        agent.refused("another", agent.request(&json!({})), Row::Token, "key_unknown").await;
        assert_eq!(agent.idp.paths(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_flood_of_unknown_kids_forces_one_refetch_in_30_seconds() {
    let agent = Agent::start().await;
    agent.served("before", agent.request(&json!({}))).await;
    for number in 0..30 {
        let unknown = of_unknown_key(&agent, &format!("unknown-{number}"));
        agent.refused("unknown", unknown, Row::Token, "key_unknown").await;
    }
    assert_eq!(agent.idp.paths().len(), 4, "discovery and key set, twice");
    agent.clock.advance(Duration::from_secs(30));
    agent.refused("later", of_unknown_key(&agent, "later"), Row::Token, "key_unknown").await;
    assert_eq!(agent.idp.paths().len(), 6);
}

#[tokio::test]
async fn keys_out_of_reach_are_an_outage_and_never_a_refusal() {
    let elsewhere = TestIssuer::start().await;
    let faults = [
        Fault::Status(500),
        Fault::Status(404),
        Fault::Garbage,
        Fault::Huge,
        Fault::Redirect(elsewhere.jwks_uri()),
        Fault::Body(br#"{"keys":[]}"#.to_vec()),
        Fault::Body(json!({ "issuer": "https://other.example", "jwks_uri": elsewhere.jwks_uri() }).to_string().into()),
    ];
    for fault in faults {
        let agent = Agent::start().await;
        let label = format!("{fault:?}").chars().take(60).collect::<String>();
        agent.idp.fail(fault);
        let request = agent.request(&json!({}));
        let refusal = agent.refused(&label, request.clone(), Row::Unavailable, "keys_unavailable").await;
        assert!(refusal.retry_after().is_some_and(|after| after >= Duration::from_secs(1)));
        agent.idp.mend();
        agent.clock.advance(Duration::from_secs(1));
        agent.served(&label, request).await;
    }
    assert_eq!(elsewhere.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn an_outage_leaves_the_keys_that_are_known() {
    let agent = Agent::start().await;
    agent.served("before", agent.request(&json!({}))).await;
    agent.idp.fail(Fault::Status(500));
    agent.clock.advance(Duration::from_secs(600));
    agent.served("meanwhile", agent.request(&json!({}))).await;
    // Whether this key is one of theirs cannot be known before a fetch succeeds.
    for _ in 0..2 {
        agent.refused("unknown", of_unknown_key(&agent, "new"), Row::Unavailable, "keys_unavailable").await;
    }
    agent.idp.publish(json!({ "keys": [] }));
    agent.idp.mend();
    agent.clock.advance(Duration::from_secs(60));
    agent.refused("refreshed", of_unknown_key(&agent, "new"), Row::Token, "keys_unusable").await;
    agent.refused("withdrawn", agent.request(&json!({})), Row::Token, "keys_unusable").await;
}

#[tokio::test]
async fn a_key_set_with_odd_entries_serves_the_good_ones() {
    let agent = Agent::start().await;
    let mut private = TestKey::new(Algorithm::Es256).jwk();
    private["d"] = json!("AAAA");
    let symmetric = json!({ "kty": "oct", "k": "AAAA", "kid": "secret", "alg": "HS256" });
    let weak = json!({ "kty": "RSA", "n": "sQ", "e": "AQAB", "kid": "weak", "alg": "RS256" });
    agent.idp.publish(json!({ "keys": [symmetric, private, weak, agent.idp.key().jwk(), 7] }));
    agent.served("the good one", agent.request(&json!({}))).await;
    let header = json!({ "alg": "HS256", "kid": "secret" });
    let token = agent.idp.key().sign_with(&header, &agent.claims());
    agent.refused("the symmetric one", agent.bearer(&token), Row::Token, "token_malformed").await;
}
