//! Bound tokens over two hops, with the real STS: each agent holds a key of its own.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use reqwest_middleware::ClientWithMiddleware;
use serde_json::json;
use std::sync::Arc;
use sts_client::exchange::StsBuilder;
use sts_client::inbound::{Issuer, Verifier, VerifierBuilder};
use sts_client::integrations::reqwest::client;
use sts_client::{Caller, Error, Propagator, Route, Sts};
use sts_tests::{Harness, Setup};
use url::Url;

use super::Coordinator;
use super::bound::possession;
use super::place::Place;

/// An agent that accepts bound tokens alone.
fn verifier(harness: &Harness, audience: &str, base: &Url) -> Verifier {
    let builder = Verifier::builder([audience]).issuer(Issuer::sts(harness.issuer()));
    let builder = VerifierBuilder::require_dpop(builder.public_url(base.clone()));
    builder.clock(Arc::new(harness.clock.clone())).build().unwrap()
}

async fn calling(harness: &Harness, sts: Sts, target: &str, audience: &str, place: &Place) -> ClientWithMiddleware {
    let route = Route::to(place.url("/")).audience(target).issued_audience(audience);
    let builder = Propagator::builder().sts(sts).route(route).clock(Arc::new(harness.clock.clone()));
    client(builder.build().await.unwrap()).unwrap()
}

/// The agent `warehouse`, which tells whose key its caller holds.
async fn warehouse(harness: &Harness) -> Place {
    Place::serve_at(|base| {
        let verifier = verifier(harness, "warehouse", base);
        Router::new().fallback(async |caller: Caller| possession(&caller)).layer(verifier.layer())
    })
    .await
}

/// What the inventory answers: whose key its own caller holds, and what the warehouse said.
async fn ask_warehouse(State((client, url)): State<(ClientWithMiddleware, Url)>, caller: Caller) -> String {
    let said = match client.get(url).send().await {
        Ok(answer) => answer.text().await.unwrap(),
        Err(reqwest_middleware::Error::Middleware(error)) => match error.downcast::<Error>().unwrap() {
            Error::Refused { code } => format!("refused: {code}"),
            error => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    format!("{} | {said}", possession(&caller))
}

async fn inventory(harness: &Harness, sts: Sts, warehouse: &Place) -> Place {
    let client = calling(harness, sts, "warehouse", "warehouse", warehouse).await;
    Place::serve_at(|base| {
        let routes = Router::new().route("/stock", get(ask_warehouse)).with_state((client, warehouse.url("/bins")));
        routes.layer(verifier(harness, "inventory-agent", base).layer())
    })
    .await
}

async fn answer(coordinator: &Coordinator, bound: StsBuilder, inventory_sts: Sts, warehouse: &Place) -> String {
    let harness = &coordinator.harness;
    let place = inventory(harness, inventory_sts, warehouse).await;
    let client = calling(harness, bound.build().unwrap(), "inventory", "inventory-agent", &place).await;
    let context = coordinator.context(json!({})).await;
    client.get(place.url("/stock")).with_extension(context).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn each_hop_is_bound_to_the_key_of_the_agent_that_makes_it() {
    for nonce in ["off", "required"] {
        let coordinator = Coordinator::beside(Setup::default().option("DPOP__NONCE", nonce).start().await);
        let harness = &coordinator.harness;
        let warehouse = warehouse(harness).await;
        let own = harness.sts_of("inventory").dpop().build().unwrap();
        let second = own.dpop_thumbprint().unwrap().to_owned();
        let bound = harness.sts_of("coordinator").dpop();
        let answer = answer(&coordinator, bound, own, &warehouse).await;
        let (first, last) = answer.split_once(" | ").unwrap();
        assert!(first.starts_with("dpop ") && !first.ends_with(&second), "{nonce}: {answer}");
        assert_eq!(last, format!("dpop {second}"), "{nonce}");
    }
}

#[tokio::test]
async fn a_bound_token_does_not_become_a_bearer_token_at_the_next_hop() {
    let coordinator = Coordinator::start().await;
    let harness = &coordinator.harness;
    let warehouse = warehouse(harness).await;
    let without_a_key = harness.sts_of("inventory").build().unwrap();
    let answer = answer(&coordinator, harness.sts_of("coordinator").dpop(), without_a_key, &warehouse).await;
    assert!(answer.ends_with(" | refused: invalid_request"), "{answer}");
    assert!(warehouse.is_untouched());
}
