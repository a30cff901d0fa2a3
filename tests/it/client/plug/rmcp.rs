//! [`sts_client::integrations::rmcp`]: the headers of a single request, and the errors.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue};
use rmcp::ServiceExt as _;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, PingRequest, RequestId};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{
    StreamableHttpClient as _, StreamableHttpClientTransportConfig, StreamableHttpError, StreamableHttpResponseLimits,
};
use serde_json::json;
use sts_client::integrations::http_client;
use sts_client::integrations::rmcp::{McpHttpClient, propagation_error, with_context};
use sts_client::{CallContext, Error, Propagator, Route};
use sts_jose::SystemEntropy;

use super::place::Place;
use super::{CARELESS, Coordinator, assert_goes_out_under, pairs};

fn client(propagator: Propagator, context: CallContext) -> McpHttpClient<reqwest::Client> {
    McpHttpClient::new(http_client().unwrap(), propagator, context)
}

fn ping(context: Option<CallContext>) -> ClientJsonRpcMessage {
    let ping = PingRequest::default();
    let ping = match context {
        Some(context) => with_context(ping, context),
        None => ping,
    };
    ClientJsonRpcMessage::request(ClientRequest::PingRequest(ping), RequestId::Number(1))
}

fn careless() -> HashMap<HeaderName, HeaderValue> {
    pairs(&CARELESS).into_iter().filter_map(|(name, value)| Some((name?, value))).collect()
}

#[tokio::test]
async fn whatever_a_request_bore_goes_away_and_one_token_leaves_by_every_method() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let (token, other) = (coordinator.harness.user_token(), coordinator.harness.user_token());
    let client = client(coordinator.pass_through(&place).await, coordinator.context_of(&other).await);
    let context = coordinator.context_of(&token).await;
    let uri: std::sync::Arc<str> = place.url("/mcp").as_str().into();
    let auth = || Some("careless".to_owned());
    let message = || ping(Some(context.clone()));
    let limits = StreamableHttpResponseLimits::default();
    // The place speaks no MCP: what counts is what it got.
    let _ = client.post_message(uri.clone(), message(), None, auth(), careless()).await;
    let _ = client.post_message_with_max_sse_event_size(uri.clone(), message(), None, auth(), careless(), 9).await;
    let _ = client.post_message_with_response_limits(uri.clone(), message(), None, auth(), careless(), limits).await;
    for request in &place.requests() {
        assert_goes_out_under(&request.headers, &token, None);
    }

    client.set_context(context).unwrap();
    let _ = client.get_stream(uri.clone(), Some("s".into()), None, auth(), careless()).await;
    let _ = client.get_stream_with_max_sse_event_size(uri.clone(), None, None, auth(), careless(), 9).await;
    let _ = client.delete_session(uri, "s".into(), auth(), careless()).await;
    let requests = place.requests();
    assert_eq!(
        requests.iter().map(|r| r.method.as_str()).collect::<Vec<_>>(),
        ["POST", "POST", "POST", "GET", "GET", "DELETE"]
    );
    for request in &requests[3..] {
        assert_goes_out_under(&request.headers, &token, None);
    }
}

#[tokio::test]
async fn what_belongs_to_the_connection_or_the_protocol_does_not_slip_in() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let route = ["content-type", "accept", "mcp-session-id", "mcp-protocol-version", "last-event-id"]
        .into_iter()
        .fold(Route::to(place.url("/")).pass_through(), |route, name| route.forward_header(name.parse().unwrap()));
    let propagator = Propagator::builder().route(route).build().await.unwrap();
    let mut inbound = pairs(&[
        ("content-type", "text/inbound"),
        ("accept", "text/inbound"),
        ("mcp-session-id", "inbound"),
        ("mcp-protocol-version", "inbound"),
        ("last-event-id", "inbound"),
    ]);
    inbound.extend(sts_tests::bearer(&coordinator.harness.user_token()));
    let context = coordinator.verifier.verify(&inbound).await.unwrap().into();
    let own = [("host", "elsewhere.example"), ("content-type", "text/own"), ("mcp-protocol-version", "2025-11-25")];
    let own = pairs(&own).into_iter().filter_map(|(name, value)| Some((name?, value))).collect();
    let _ = client(propagator, context)
        .post_message(place.url("/mcp").as_str().into(), ping(None), Some("s-1".into()), None, own)
        .await;

    let headers = place.only();
    let values = |name: &str| -> Vec<&str> { headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect() };
    assert_eq!(values("host"), [place.url("/").authority()]);
    assert_eq!(values("content-type"), ["application/json"]);
    assert_eq!(values("accept"), ["text/event-stream, application/json"]);
    assert_eq!(values("mcp-session-id"), ["s-1"]);
    assert_eq!(values("mcp-protocol-version"), ["2025-11-25"]);
    assert!(values("last-event-id").is_empty());
}

#[tokio::test]
async fn a_header_that_rmcp_reserves_is_still_refused_by_it() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let client = client(coordinator.pass_through(&place).await, coordinator.context(json!({})).await);
    let headers = HashMap::from([(http::header::ACCEPT, HeaderValue::from_static("text/html"))]);
    let sent = client.post_message(place.url("/mcp").as_str().into(), ping(None), None, None, headers).await;
    assert!(matches!(sent, Err(StreamableHttpError::ReservedHeaderConflict(_))), "{sent:?}");
    assert!(place.is_untouched());
}

#[tokio::test]
async fn a_place_without_a_route_gets_nothing_and_the_caller_learns_why() {
    let (coordinator, place, elsewhere) = (Coordinator::start().await, Place::start().await, Place::start().await);
    let client = client(coordinator.pass_through(&place).await, coordinator.context(json!({})).await);
    let config = StreamableHttpClientTransportConfig::with_uri(elsewhere.url("/mcp").to_string());
    let error = ().serve(StreamableHttpClientTransport::with_client(client, config)).await.unwrap_err();
    assert!(matches!(propagation_error::<reqwest::Client>(&error), Some(Error::NoRoute { .. })), "{error:?}");
    assert!(elsewhere.is_untouched());
}

#[tokio::test]
async fn without_a_user_nothing_leaves_unless_the_route_says_so() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let client = client(coordinator.pass_through(&place).await, CallContext::without_user(None, &SystemEntropy));
    let config = StreamableHttpClientTransportConfig::with_uri(place.url("/mcp").to_string());
    let error = ().serve(StreamableHttpClientTransport::with_client(client, config)).await.unwrap_err();
    let Some(Error::Refused { code }) = propagation_error::<reqwest::Client>(&error) else { panic!("{error:?}") };
    assert_eq!(code.as_str(), "login_required");
    assert!(place.is_untouched());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (coordinator, elsewhere) = (Coordinator::start().await, Place::start().await);
    for location in [elsewhere.url("/mcp").as_str(), "/out-of-the-route"] {
        let place = Place::leading_to(location).await;
        let client = client(coordinator.pass_through(&place).await, coordinator.context(json!({})).await);
        client
            .post_message(place.url("/mcp").as_str().into(), ping(None), None, None, HashMap::new())
            .await
            .unwrap_err();
        assert_eq!(place.requests().len(), 1, "{location}");
    }
    assert!(elsewhere.is_untouched());
}
