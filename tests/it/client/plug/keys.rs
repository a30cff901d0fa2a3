//! The idempotency keys of an agent's own calls: each call has its own, and a repetition of the whole request repeats them.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use http::StatusCode;
use serde_json::json;
use sts_client::dedup::{MemoryDedupStore, MemoryLimits};
use sts_client::idempotency::{Idempotency, IdempotencyLayer};
use sts_client::integrations::reqwest::client;
use sts_client::{CallContext, OutboundKey, Propagator, Route};

use super::Coordinator;
use super::place::Place;

/// What each request to a place had as its key.
fn keys(place: &Place) -> Vec<String> {
    let requests = place.requests();
    let keys = requests.iter().map(|request| request.headers["idempotency-key"].to_str().unwrap().to_owned());
    keys.collect()
}

async fn propagator(coordinator: &Coordinator, route: Route) -> Propagator {
    let clock = Arc::new(coordinator.harness.clock.clone());
    Propagator::builder().route(route).clock(clock).build().await.unwrap()
}

/// A warehouse that does each order once, as its idempotency layer says.
async fn warehouse(coordinator: &Coordinator) -> Place {
    let idempotency = Idempotency::new(Arc::new(MemoryDedupStore::new(
        Arc::new(coordinator.harness.clock.clone()),
        MemoryLimits::default(),
    )));
    let order = async |Path(sku): Path<String>, body: String| (StatusCode::CREATED, format!("{sku}{body}"));
    let verifier = coordinator.harness.verifier_of_users();
    let router = Router::new().route("/orders/{sku}", post(order)).route("/orders", post(async |body: String| body));
    let layer = IdempotencyLayer::new(idempotency, "orders").required();
    Place::serve(router.layer(layer).layer(verifier.layer())).await
}

#[tokio::test]
async fn two_posts_to_one_path_are_two_operations_and_a_repetition_of_the_request_repeats_both() {
    let coordinator = Coordinator::start().await;
    let place = warehouse(&coordinator).await;
    let client = client(coordinator.pass_through(&place).await).unwrap();
    let post = async |context: &CallContext, body: &'static str| {
        let call = client.post(place.url("/orders")).body(body).with_extension(context.clone()).send();
        let answer = call.await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("idempotency-replayed"))
    };
    for replayed in [false, true] {
        let context = coordinator.context(json!({ "jti": "one-request" })).await;
        for body in ["tea", "milk", "tea"] {
            assert_eq!(post(&context, body).await, (200, replayed), "{body}");
        }
    }
    let keys = keys(&place);
    assert_eq!(keys[..3], keys[3..], "in the same order");
    let distinct: std::collections::HashSet<_> = keys[..3].iter().collect();
    assert_eq!(distinct.len(), 3, "{keys:?}");
}

#[tokio::test]
async fn calls_at_the_same_time_have_the_keys_that_they_have_one_after_the_other() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let client = client(coordinator.pass_through(&place).await).unwrap();
    let post = async |context: &CallContext, path: &str| {
        client.post(place.url(path)).body("x").with_extension(context.clone()).send().await.unwrap();
    };
    let first = coordinator.context(json!({})).await;
    post(&first, "/a").await;
    post(&first, "/b").await;
    let second = coordinator.context(json!({})).await;
    tokio::join!(post(&second, "/b"), post(&second, "/a"));
    let requests = place.requests();
    let key =
        |request: &http::request::Parts| (request.uri.path().to_owned(), request.headers["idempotency-key"].clone());
    let [mut apart, mut together] =
        [&requests[..2], &requests[2..]].map(|some| some.iter().map(key).collect::<Vec<_>>());
    apart.sort();
    together.sort();
    assert_eq!(apart, together);
}

#[tokio::test]
async fn method_url_and_body_each_make_another_key_and_a_named_call_has_its_name() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let client = client(coordinator.pass_through(&place).await).unwrap();
    let context = coordinator.context(json!({})).await;
    let send = async |request: reqwest_middleware::RequestBuilder, context: &CallContext| {
        request.with_extension(context.clone()).send().await.unwrap();
    };
    send(client.post(place.url("/a")).body("x"), &context).await;
    send(client.put(place.url("/a")).body("x"), &context).await;
    send(client.post(place.url("/a?q")).body("x"), &context).await;
    send(client.post(place.url("/a")).body("y"), &context).await;
    send(client.post(place.url("/a")), &context).await;
    send(client.post(place.url("/a")).body("x"), &context.clone().for_operation("reserve")).await;
    send(client.post(place.url("/a")).header("idempotency-key", "own").body("x"), &context).await;
    let keys = keys(&place);
    assert_eq!(keys[5..], ["once-1::reserve", "own"]);
    let digests: std::collections::HashSet<_> = keys[..5].iter().map(|key| key.strip_suffix(":1").unwrap()).collect();
    assert_eq!(digests.len(), 5, "{keys:?}");
}

#[tokio::test]
async fn the_requests_own_key_goes_on_unchanged_only_where_the_route_says_so() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let route = Route::to(place.url("/")).pass_through().idempotency(OutboundKey::Same);
    let client = client(propagator(&coordinator, route).await).unwrap();
    let context = coordinator.context(json!({})).await;
    for body in ["tea", "milk"] {
        client.post(place.url("/orders")).body(body).with_extension(context.clone()).send().await.unwrap();
    }
    assert_eq!(keys(&place), ["once-1", "once-1"]);
    let text = format!("[[routes]]\nurl = \"{}\"\npass_through = true\nidempotency = \"same\"", place.url("/"));
    Propagator::from_toml(&text).unwrap().build().await.unwrap();
}

/// Sends each request twice, as after an answer that never came.
struct Retry;

#[async_trait::async_trait]
impl reqwest_middleware::Middleware for Retry {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut http::Extensions,
        next: reqwest_middleware::Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        let again = request.try_clone().unwrap();
        next.clone().run(request, extensions).await?;
        next.run(again, extensions).await
    }
}

#[tokio::test]
async fn the_attempts_of_a_middleware_that_tries_again_bear_one_key() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let propagate = sts_client::integrations::reqwest::PropagateMiddleware::new(coordinator.pass_through(&place).await);
    let http = sts_client::integrations::http_client().unwrap();
    let client = reqwest_middleware::ClientBuilder::new(http).with(Retry).with(propagate).build();
    let context = coordinator.context(json!({})).await;
    for _ in 0..2 {
        client.post(place.url("/orders")).body("x").with_extension(context.clone()).send().await.unwrap();
    }
    let keys = keys(&place);
    assert_eq!((&keys[0], &keys[2]), (&keys[1], &keys[3]));
    assert_ne!(keys[0], keys[2]);
}

#[tokio::test]
async fn a_call_that_did_not_go_out_does_not_change_the_keys_of_those_after_it() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let propagator = coordinator.exchanging(&place).await;
    let (url, context) = (place.url("/orders"), coordinator.context(json!({})).await);
    let key = async |context: &CallContext| {
        let mut headers = http::HeaderMap::new();
        propagator.apply(context, &url, &mut headers).await.ok()?;
        Some(headers["idempotency-key"].clone())
    };
    let first = key(&context).await.unwrap();
    coordinator.harness.advance(3600);
    assert_eq!(key(&context).await, None, "the user's token has expired");
    let repetition = coordinator.context(json!({})).await;
    assert_eq!(key(&repetition).await, Some(first));
}
