//! [`sts_client::integrations::tower`].

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use serde_json::json;
use sts_client::integrations::PropagateError;
use sts_client::integrations::tower::PropagateLayer;
use sts_client::{Error, Propagator};
use tower::{Layer as _, Service, ServiceExt as _};

use super::place::Place;
use super::{CARELESS, Coordinator, assert_goes_out, assert_no_context, pairs};

/// A client that sends by reqwest, and insists on being asked whether it is ready.
#[derive(Clone, Default)]
struct Client {
    http: reqwest::Client,
    ready: bool,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Service<Request<Vec<u8>>> for Client {
    type Response = Response<Vec<u8>>;
    type Error = reqwest::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        self.calls.lock().unwrap().push(request.uri().to_string());
        let http = self.http.clone();
        Box::pin(async move {
            let answer = http.execute(request.try_into()?).await?;
            Ok(Response::new(answer.bytes().await?.to_vec()))
        })
    }
}

fn request(uri: &str, headers: HeaderMap) -> Request<Vec<u8>> {
    let mut request = Request::new(Vec::new());
    *request.uri_mut() = uri.parse().unwrap();
    *request.headers_mut() = headers;
    request
}

async fn send(propagator: Propagator, request: Request<Vec<u8>>) -> Result<(), PropagateError<reqwest::Error>> {
    let client = PropagateLayer::new(propagator).layer(Client::default());
    client.oneshot(request).await.map(|_response| ())
}

#[tokio::test]
async fn whatever_the_call_bore_goes_away_and_one_token_leaves() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let token = coordinator.harness.user_token();
    let mut request = request(place.url("/stock").as_str(), pairs(&CARELESS));
    request.extensions_mut().insert(coordinator.context_of(&token).await);
    send(coordinator.pass_through(&place).await, request).await.unwrap();
    assert_goes_out(&place.only(), &token);
}

#[tokio::test]
async fn the_context_of_the_request_comes_before_that_of_the_task() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let propagator = coordinator.pass_through(&place).await;
    let (attached, current) = (coordinator.harness.user_token(), coordinator.harness.user_token());
    let task = coordinator.context_of(&current).await;
    let delegation = coordinator.context_of(&attached).await.caller().unwrap().clone();

    let mut with_delegation = request(place.url("/").as_str(), HeaderMap::new());
    with_delegation.extensions_mut().insert(delegation);
    task.clone().scope(send(propagator.clone(), with_delegation)).await.unwrap();
    task.scope(send(propagator, request(place.url("/").as_str(), HeaderMap::new()))).await.unwrap();

    let requests = place.requests();
    assert_goes_out(&requests[0].headers, &attached);
    assert_goes_out(&requests[1].headers, &current);
}

#[tokio::test]
async fn the_context_is_that_of_the_task_which_made_the_call_wherever_it_is_polled() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let token = coordinator.harness.user_token();
    let mut client = PropagateLayer::new(coordinator.pass_through(&place).await).layer(Client::default());
    let client = client.ready().await.unwrap();
    let request = request(place.url("/").as_str(), HeaderMap::new());
    let call = coordinator.context_of(&token).await.scope(async { Some(client.call(request)) }).await;
    tokio::spawn(call.unwrap()).await.unwrap().unwrap();
    assert_goes_out(&place.only(), &token);
}

#[tokio::test]
async fn a_call_without_a_context_never_leaves() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let request = request(place.url("/").as_str(), pairs(&CARELESS));
    let error = send(coordinator.pass_through(&place).await, request).await.unwrap_err();
    assert_no_context(error.propagation().unwrap());
    assert!(place.is_untouched());
}

#[tokio::test]
async fn a_place_without_a_route_gets_nothing() {
    let (coordinator, place, elsewhere) = (Coordinator::start().await, Place::start().await, Place::start().await);
    let propagator = coordinator.pass_through(&place).await;
    let context = coordinator.context(json!({})).await;
    let error =
        context.scope(send(propagator, request(elsewhere.url("/").as_str(), pairs(&CARELESS)))).await.unwrap_err();
    assert!(matches!(error.propagation(), Some(Error::NoRoute { .. })), "{error:?}");
    assert!(elsewhere.is_untouched());
}

#[tokio::test]
async fn a_uri_that_is_not_absolute_is_refused() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let propagator = coordinator.pass_through(&place).await;
    let context = coordinator.context(json!({})).await;
    for uri in ["/stock", "*", "shop.example:80"] {
        let error = context.clone().scope(send(propagator.clone(), request(uri, HeaderMap::new()))).await.unwrap_err();
        assert!(matches!(error.propagation(), Some(Error::Misconfigured { .. })), "{uri}: {error:?}");
    }
}

#[tokio::test]
async fn what_is_sent_is_the_url_that_the_routes_saw() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let client = Client::default();
    let layered = PropagateLayer::new(coordinator.pass_through(&place).await).layer(client.clone());
    let uri = format!("{}v1/../admin/%2e%2e/x?q=1", place.url("/"));
    let call = layered.oneshot(request(&uri, HeaderMap::new()));
    coordinator.context(json!({})).await.scope(call).await.unwrap();
    assert_eq!(*client.calls.lock().unwrap(), [place.url("/x?q=1").to_string()]);
}

#[tokio::test]
async fn an_error_of_the_client_comes_back_as_it_is() {
    let coordinator = Coordinator::start().await;
    let place = Place::start().await;
    let inner = tower::service_fn(async |_request: Request<()>| Err::<Response<()>, _>("the client's own"));
    let client = PropagateLayer::new(coordinator.pass_through(&place).await).layer(inner);
    let mut request = Request::new(());
    *request.uri_mut() = place.url("/").as_str().parse().unwrap();
    let error = coordinator.context(json!({})).await.scope(client.oneshot(request)).await.unwrap_err();
    assert!(matches!(error, PropagateError::Inner("the client's own")));
}
