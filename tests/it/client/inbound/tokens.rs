//! Tokens that nobody should believe (docs/threats.md, JWT parsing).

use serde_json::json;
use sts_client::inbound::Issuer;
use sts_jose::Algorithm;
use sts_tests::{TestIssuer, TestKey};

use super::{Agent, Row};
use crate::tokens::mutations;

#[tokio::test]
async fn no_mutation_of_a_token_is_believed() {
    let agent = Agent::start().await;
    let attacker = TestIssuer::start().await;
    agent.served("before", agent.request(&json!({}))).await;
    for (label, token) in mutations(agent.idp.key(), &agent.claims(), &attacker) {
        // No header holds a line break, and a space ends the credentials of RFC 6750 section 2.1.
        if ["a line break", "a space"].contains(&label.as_str()) {
            continue;
        }
        let headers = agent.bearer(&token);
        let reason = agent.verifier.verify(&headers).await.expect_err(&label).reason();
        let reasons = ["token_malformed", "signature", "key_unknown", "algorithm"];
        assert!(reasons.contains(&reason), "{label}: {reason}");
        agent.refused(&label, headers, Row::Token, reason).await;
    }
    agent.served("after", agent.request(&json!({}))).await;
    assert_eq!(attacker.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_header_says_about_keys_is_ignored_and_nothing_fetched() {
    let agent = Agent::start().await;
    let attacker = TestIssuer::start().await;
    let mut header = agent.idp.key().header();
    for name in ["jku", "x5u"] {
        header[name] = json!(attacker.jwks_uri());
    }
    header["jwk"] = attacker.key().jwk();
    header["x5c"] = json!(["AAAA"]);
    let token = agent.idp.key().sign_with(&header, &agent.claims());
    agent.served("its own key all the same", agent.bearer(&token)).await;
    assert_eq!(attacker.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn the_typ_of_another_kind_of_token_is_refused() {
    let agent = Agent::start().await;
    let of_typ = |typ: &str| {
        let mut header = agent.idp.key().header();
        header["typ"] = json!(typ);
        agent.bearer(&agent.idp.key().sign_with(&header, &agent.claims()))
    };
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
        agent.served(typ, of_typ(typ)).await;
    }
    let others = [
        "",
        "application/",
        "JOSE",
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "client-authentication+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "text/at+jwt",
        "at+jwt ",
    ];
    agent.each_refused(others.map(|typ| (typ, of_typ(typ), Row::Token, "typ"))).await;
}

#[tokio::test]
async fn an_algorithm_that_the_issuer_may_not_use_is_refused() {
    let agent = Agent::of_issuer(
        |issuer| issuer.tenant_claim("org_id").algorithms([Algorithm::Rs256, Algorithm::EdDsa]),
        |builder, _idp| builder,
    );
    let agent = agent.await;
    agent.refused("ES256", agent.request(&json!({})), Row::Token, "algorithm").await;
    assert_eq!(agent.idp.paths(), Vec::<String>::new(), "no key is looked for");
}

#[tokio::test]
async fn every_algorithm_of_the_default_is_verified() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
        let issuer = TestIssuer::with_keys(vec![TestKey::new(algorithm)]).await;
        let agent = Agent::with(|builder, _idp| builder.issuer(Issuer::new(issuer.url()))).await;
        let token = issuer.sign(&agent.claims_with(&json!({ "iss": issuer.url() })));
        agent.served(algorithm.as_str(), agent.bearer(&token)).await;
    }
}

#[tokio::test]
async fn a_key_of_one_issuer_signs_nothing_for_another() {
    let other = TestIssuer::start().await;
    let agent = Agent::with(|builder, _idp| builder.issuer(Issuer::new(other.url()))).await;
    let its_own = other.sign(&agent.claims_with(&json!({ "iss": other.url() })));
    agent.served("its own token", agent.bearer(&its_own)).await;
    // Same kid, other key: the claims say idp, the key is the other's.
    let mut header = other.key().header();
    header["kid"] = json!(agent.idp.key().kid());
    let same_kid = agent.bearer(&other.key().sign_with(&header, &agent.claims()));
    let own_kid = agent.bearer(&other.sign(&agent.claims()));
    let cases = [("the kid of idp", same_kid, "signature"), ("its own kid", own_kid, "key_unknown")];
    agent.each_refused(cases.map(|(label, headers, reason)| (label, headers, Row::Token, reason))).await;
}
