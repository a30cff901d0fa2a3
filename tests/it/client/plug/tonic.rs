//! [`sts_client::integrations::tower`] beneath a gRPC client of tonic.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Request, Response, Uri};
use serde_json::json;
use sts_client::integrations::tower::{Propagate, PropagateLayer};
use tonic::body::Body;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::place::Place;
use super::{Coordinator, claims};

type Heads = Arc<Mutex<Vec<(Uri, HeaderMap)>>>;
type Channel = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

/// What a channel is to a client of tonic; it answers with that status of gRPC, and says that the token is invalid.
fn channel(seen: &Heads, status: &'static str) -> Channel {
    let seen = Arc::clone(seen);
    let answer = move |request: Request<Body>| {
        seen.lock().unwrap().push((request.uri().clone(), request.headers().clone()));
        let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", status);
        let response = response.header("www-authenticate", "Bearer error=\"invalid_token\"").body(Body::empty());
        std::future::ready(Ok(response.unwrap()))
    };
    service_fn(answer).boxed_clone()
}

async fn propagating(coordinator: &Coordinator, place: &Place, channel: Channel) -> Propagate<Channel> {
    PropagateLayer::new(coordinator.exchanging(place).await).layer(channel)
}

#[tokio::test]
async fn a_client_with_an_origin_propagates_and_one_without_says_what_it_lacks() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let (seen, origin) = (Heads::default(), place.url("/").as_str().parse::<Uri>().unwrap());
    let context = coordinator.context(json!({})).await;
    let layered = propagating(&coordinator, &place, channel(&seen, "0")).await;
    let mut client = HealthClient::with_origin(layered.clone(), origin);
    // The channel answers with no message: what counts is what it got.
    let _ = context.clone().scope(client.check(HealthCheckRequest::default())).await;
    let (uri, headers) = seen.lock().unwrap()[0].clone();
    assert_eq!(uri, place.url("/grpc.health.v1.Health/Check").as_str());
    assert_eq!(claims(&headers["authorization"])["aud"], "inventory-agent");

    let status = context.scope(HealthClient::new(layered).check(HealthCheckRequest::default())).await.unwrap_err();
    let causes = std::iter::successors(std::error::Error::source(&status), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    assert!(causes.iter().any(|cause| cause.contains("with_origin")), "{status:?} {causes:?}");
    assert_eq!(seen.lock().unwrap().len(), 1, "nothing was sent");
}

#[tokio::test]
async fn a_token_that_is_unauthenticated_in_grpc_is_replaced_for_the_next_call() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let (seen, origin) = (Heads::default(), place.url("/").as_str().parse::<Uri>().unwrap());
    let context = coordinator.context(json!({})).await;
    let layered = propagating(&coordinator, &place, channel(&seen, "16")).await;
    let mut client = HealthClient::with_origin(layered, origin);
    for _ in 0..2 {
        let status = context.clone().scope(client.check(HealthCheckRequest::default())).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    }
    let tokens = seen.lock().unwrap().iter().map(|(_, headers)| headers["authorization"].clone()).collect::<Vec<_>>();
    assert!(tokens.len() == 2 && tokens[0] != tokens[1], "a body that is a stream is sent once");
}
