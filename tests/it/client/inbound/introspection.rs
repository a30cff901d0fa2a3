//! Tokens that the STS is asked about.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use sts_client::inbound::{Issuer, Verifier};
use sts_client::integrations::a2a::{ServiceParams, verify};
use sts_client::test_util::{MockAnswer, MockSts};
use sts_client::{CallContext, Credentials, Delegation, Propagator, Route, Sts};
use sts_tests::{Fault, Harness, TestIssuer};

use super::{Agent, Row, bearer, send, with_header};

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

/// A handler that verifies what the layer has verified, as the executor of an A2A agent does: by the parameters that the headers became.
async fn twice(State(verifier): State<Verifier>, headers: HeaderMap) -> StatusCode {
    let text = |value: &HeaderValue| vec![value.to_str().unwrap().to_owned()];
    let params: ServiceParams = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    verify(&verifier, &params).await.map_or_else(|refusal| refusal.status(), |_caller| StatusCode::OK)
}

#[tokio::test]
async fn a_request_that_two_verifiers_see_is_introspected_once_and_every_request_is() {
    let sts = MockSts::new();
    let verifier =
        Verifier::builder(["inventory"]).issuer(sts.entry()).introspect(sts.sts("inventory")).build().unwrap();
    let app = Router::new().route("/", get(twice)).with_state(verifier.clone()).layer(verifier.layer());
    let url: url::Url = "https://inventory.shop.example/".parse().unwrap();
    let route = Route::to(url.clone()).audience("inventory");
    let propagator = Propagator::builder().sts(sts.sts("coordinator")).route(route).build().await.unwrap();
    let mut headers = HeaderMap::new();
    let caller = CallContext::from(Delegation::for_test().build());
    propagator.apply(&caller, &url, &mut headers).await.unwrap();
    let introspections = || sts.requests().iter().filter(|request| request.parameter("token").is_some()).count();
    for asked in 1..4 {
        assert_eq!(send(&app, headers.clone()).await.status, 200);
        assert_eq!(introspections(), asked);
    }
    sts.answer_next(MockAnswer::Refuse("invalid_token"));
    assert_eq!(send(&app, headers.clone()).await.status, 401, "the same correlation id is not the same request");
    for ticket in ["", "AAAAAAAAAAAAAAAAAAAAAA"] {
        sts.answer_next(MockAnswer::Refuse("invalid_token"));
        let made_up = with_header(headers.clone(), "x-sts-introspected", ticket);
        assert_eq!(send(&app, made_up).await.status, 401, "{ticket:?}");
    }
}
