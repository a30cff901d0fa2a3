//! Tokens that the STS is asked about.

use std::sync::Arc;

use serde_json::{Value, json};
use sts_client::inbound::{Issuer, Verifier};
use sts_client::{Credentials, Sts};
use sts_tests::{Fault, Harness, TestIssuer};

use super::{Agent, Row, bearer};

fn sts(issuer: &str, secret: String) -> Sts {
    Sts::builder(issuer, "inventory", Credentials::ClientSecret(secret.into())).attempts(1).build().unwrap()
}

#[tokio::test]
async fn a_token_that_was_revoked_is_refused() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    let sts = sts(harness.issuer(), harness.secret("inventory"));
    let builder = Verifier::builder(["inventory-agent"]).issuer(Issuer::sts(harness.issuer())).introspect(sts);
    let verifier = builder.clock(Arc::new(harness.clock.clone())).build().unwrap();
    verifier.verify(&bearer(&token)).await.unwrap();
    assert_eq!(harness.revoke("coordinator", &token).send().await.status, 200);
    let refusal = verifier.verify(&bearer(&token)).await.unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.reason()), (401, "inactive"));
}

#[tokio::test]
async fn while_the_sts_cannot_be_asked_its_tokens_are_an_outage_and_others_are_served() {
    let issuer = TestIssuer::start().await;
    let sts = sts(issuer.url(), "a secret of the inventory".to_owned());
    let agent = Agent::with(|builder, _idp| builder.issuer(Issuer::sts(issuer.url())).introspect(sts)).await;
    let mut header = issuer.key().header();
    header["typ"] = json!("at+jwt");
    let mut claims = agent.claims_with(&json!({
        "iss": issuer.url(), "act": { "sub": "coordinator", "iss": issuer.url() }, "client_id": "coordinator", "jti": "1", "txn": "1",
    }));
    let token = |claims: &Value| bearer(&issuer.key().sign_with(&header, claims));
    let request = token(&claims);
    claims["aud"] = json!("other");
    // Makes the keys known; that this token is refused needs no introspection.
    agent.refused("for another", token(&claims), Row::Token, "not_addressed").await;
    issuer.fail(Fault::Status(500));
    agent.refused("of the sts", request, Row::Unavailable, "introspection_unavailable").await;
    agent.served("of another issuer", agent.request(&json!({}))).await;
}

#[tokio::test]
async fn a_request_that_two_verifiers_see_is_introspected_once() {
    let harness = Harness::start().await;
    let token = harness.first_hop().await;
    let sts = sts(harness.issuer(), harness.secret("inventory"));
    let builder = Verifier::builder(["inventory-agent"]).issuer(Issuer::sts(harness.issuer())).introspect(sts);
    let verifier = builder.clock(Arc::new(harness.clock.clone())).build().unwrap();
    let request = super::with_header(bearer(&token), "x-correlation-id", "request-7");
    verifier.verify(&request).await.unwrap();
    assert_eq!(harness.revoke("coordinator", &token).send().await.status, 200);
    verifier.verify(&request).await.expect("the answer of the same request is used again");
    let other = super::with_header(bearer(&token), "x-correlation-id", "request-8");
    assert_eq!(verifier.verify(&other).await.unwrap_err().reason(), "inactive");
    harness.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(verifier.verify(&request).await.unwrap_err().reason(), "inactive", "the answer is used for 5 seconds");
}
