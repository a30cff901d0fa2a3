//! A token that its target refuses as invalid is replaced at once, and the call made again.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use serde_json::json;
use sts_client::inbound::{Issuer, Verifier};
use sts_client::integrations::reqwest::client;
use sts_client::integrations::tower::PropagateLayer;
use sts_client::{CallContext, Propagator, Route, ServiceAccount, WithoutUser};
use sts_jose::SystemEntropy;
use sts_tests::{Harness, Setup};
use tower::{Layer as _, ServiceExt as _};

use super::Coordinator;
use super::place::Place;

/// The coordinator beside a server with operators.
pub(super) async fn coordinator() -> Coordinator {
    Coordinator::beside(Setup::default().operators().start().await)
}

/// What the agent `inventory` believes: it asks the STS about each token.
pub(super) fn introspecting_verifier(harness: &Harness) -> Verifier {
    Verifier::builder(["inventory-agent"])
        .issuer(Issuer::sts(harness.issuer()))
        .introspect(harness.sts_of("inventory").build().unwrap())
        .clock(Arc::new(harness.clock.clone()))
        .build()
        .unwrap()
}

async fn introspecting(harness: &Harness) -> Place {
    let verifier = introspecting_verifier(harness);
    Place::serve(Router::new().fallback(async |body: String| body).layer(verifier.layer())).await
}

/// Revokes the key that signs, as after a leak.
pub(super) async fn revoke_signing_key(harness: &Harness) {
    let kid = harness.server.sts().snapshot().ring.active(sts_jose::Algorithm::Es256).unwrap().kid().to_owned();
    let revoked = harness.admin("DELETE", &format!("/keys/{kid}")).by("admin").send().await;
    assert_eq!(revoked.status, 204, "{}", revoked.text());
}

/// A propagator for the agent at that place, which may call on its own behalf too.
async fn propagator(coordinator: &Coordinator, place: &Place) -> Propagator {
    let route = Route::to(place.url("/")).audience("inventory-agent").without_user(WithoutUser::ServiceAccount);
    Propagator::builder()
        .sts(coordinator.sts("coordinator"))
        .service_account(ServiceAccount::Sts)
        .route(route)
        .clock(Arc::new(coordinator.harness.clock.clone()))
        .build()
        .await
        .unwrap()
}

fn nobody() -> CallContext {
    CallContext::without_user(None, &SystemEntropy)
}

#[tokio::test]
async fn a_revoked_signing_key_costs_an_agent_one_more_round_trip() {
    let coordinator = coordinator().await;
    let place = introspecting(&coordinator.harness).await;
    let client = client(propagator(&coordinator, &place).await).unwrap();
    for (who, context) in [("alice", coordinator.context(json!({})).await), ("the agent itself", nobody())] {
        let call = async || {
            let before = place.requests().len();
            let call = client.post(place.url("/orders")).body("tea").with_extension(context.clone()).send();
            let answer = call.await.unwrap();
            let status = answer.status().as_u16();
            (status, answer.text().await.unwrap(), place.requests().len() - before)
        };
        assert_eq!(call().await, (200, "tea".to_owned(), 1), "{who}");
        revoke_signing_key(&coordinator.harness).await;
        assert_eq!(call().await, (200, "tea".to_owned(), 2), "{who}");
        assert_eq!(call().await, (200, "tea".to_owned(), 1), "{who}: the new token is kept");
    }
    let requests = place.requests();
    let keys: Vec<_> = requests[..4].iter().map(|request| &request.headers["idempotency-key"]).collect();
    assert_eq!(keys[1], keys[2], "both tries are one operation");
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn a_client_that_is_a_service_makes_the_call_again_too() {
    let coordinator = coordinator().await;
    let place = introspecting(&coordinator.harness).await;
    let layer = PropagateLayer::new(propagator(&coordinator, &place).await);
    let http = sts_client::integrations::http_client().unwrap();
    let inner = tower::service_fn(move |request: Request<String>| {
        let http = http.clone();
        async move {
            let answer = http.execute(request.try_into()?).await?;
            let mut response = Response::new(());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            Ok::<_, reqwest::Error>(response)
        }
    });
    let client = layer.layer(inner);
    let context = coordinator.context(json!({})).await;
    let call = async || {
        let mut request = Request::post(place.url("/orders").as_str()).body("tea".to_owned()).unwrap();
        request.extensions_mut().insert(context.clone());
        client.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    assert_eq!(call().await, 200);
    revoke_signing_key(&coordinator.harness).await;
    assert_eq!((call().await, place.requests().len()), (200, 3));
}

/// A place that refuses every token in these words.
async fn refusing(status: StatusCode, challenge: &'static str) -> Place {
    let answer = async |State((status, challenge)): State<(StatusCode, &'static str)>| {
        (status, [(http::header::WWW_AUTHENTICATE, challenge)])
    };
    Place::serve(Router::new().fallback(answer).with_state((status, challenge))).await
}

#[tokio::test]
async fn only_a_401_that_calls_the_token_invalid_is_followed_by_another_try() {
    let coordinator = coordinator().await;
    let rows = [
        (401, r#"Bearer error="invalid_token""#, 2),
        (401, "Bearer", 1),
        (401, r#"Bearer error="insufficient_user_authentication""#, 1),
        (403, r#"Bearer error="invalid_token""#, 1),
        (200, r#"Bearer error="invalid_token""#, 1),
    ];
    for (status, challenge, sent) in rows {
        let place = refusing(StatusCode::from_u16(status).unwrap(), challenge).await;
        let client = client(propagator(&coordinator, &place).await).unwrap();
        let context = coordinator.context(json!({})).await;
        let answer = client.get(place.url("/")).with_extension(context).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), place.requests().len()), (status, sent), "{status} {challenge}");
    }
}

#[tokio::test]
async fn a_target_that_refuses_every_token_does_not_cost_an_exchange_for_each_call() {
    let coordinator = coordinator().await;
    let place = refusing(StatusCode::UNAUTHORIZED, r#"Bearer error="invalid_token""#).await;
    let client = client(propagator(&coordinator, &place).await).unwrap();
    let context = coordinator.context(json!({})).await;
    let call = async || {
        let before = place.requests().len();
        client.get(place.url("/")).with_extension(context.clone()).send().await.unwrap();
        place.requests().len() - before
    };
    assert_eq!([call().await, call().await, call().await], [2, 1, 1]);
    let tokens: std::collections::HashSet<_> =
        place.requests().iter().map(|request| request.headers["authorization"].clone()).collect();
    assert_eq!(tokens.len(), 2);
    coordinator.harness.advance(5);
    assert_eq!([call().await, call().await], [2, 1]);
}

#[tokio::test]
async fn a_body_that_cannot_be_sent_again_is_not_and_the_next_call_has_another_token() {
    let coordinator = coordinator().await;
    let place = introspecting(&coordinator.harness).await;
    let client = client(propagator(&coordinator, &place).await).unwrap();
    let context = coordinator.context(json!({})).await;
    let call = async || {
        let parts = futures_util::stream::iter([Ok::<_, std::io::Error>("tea")]);
        let body = reqwest::Body::wrap_stream(parts);
        let call = client.post(place.url("/orders")).body(body).with_extension(context.clone()).send();
        call.await.unwrap().status().as_u16()
    };
    assert_eq!(call().await, 200);
    revoke_signing_key(&coordinator.harness).await;
    assert_eq!([call().await, call().await], [401, 200]);
    assert_eq!(place.requests().len(), 3);
}

#[tokio::test]
async fn an_agent_that_forgets_a_token_gets_another() {
    let coordinator = coordinator().await;
    let place = Place::start().await;
    let propagator = propagator(&coordinator, &place).await;
    let (url, other) = (place.url("/"), "https://other.example/".parse().unwrap());
    for context in [coordinator.context(json!({})).await, nobody()] {
        let token = async || -> HeaderValue {
            let mut headers = HeaderMap::new();
            propagator.apply(&context, &url, &mut headers).await.unwrap();
            headers["authorization"].clone()
        };
        let first = token().await;
        propagator.forget(&context, &other).await;
        propagator.forget(&coordinator.context(json!({ "sub": "bob" })).await, &url).await;
        assert_eq!(token().await, first);
        propagator.forget(&context, &url).await;
        assert_ne!(token().await, first);
    }
}
