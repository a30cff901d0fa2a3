//! Bound tokens with [`sts_client::integrations::rmcp`], which sees neither the headers of an answer nor the challenge of a DELETE.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Method, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, PingRequest, RequestId};
use rmcp::transport::streamable_http_client::StreamableHttpClient as _;
use sts_client::Route;
use sts_client::integrations::http_client;
use sts_client::integrations::rmcp::McpHttpClient;

use super::bound::{World, with_nonces};
use super::place::Place;

fn ping() -> ClientJsonRpcMessage {
    ClientJsonRpcMessage::request(ClientRequest::PingRequest(PingRequest::default()), RequestId::Number(1))
}

async fn stream() -> ([(&'static str, &'static str); 1], &'static str) {
    ([("content-type", "text/event-stream")], "")
}

#[tokio::test]
async fn a_nonce_of_the_server_is_followed_by_post_get_and_delete() {
    let world = World::new();
    let place = Place::serve_at(|base| {
        let routes = get(stream).post(async || StatusCode::ACCEPTED).delete(async || StatusCode::NO_CONTENT);
        Router::new().route("/mcp", routes).layer(world.verifier(base, with_nonces).layer())
    })
    .await;
    let propagator = world.propagator(world.coordinator(), Route::to(place.url("/"))).await;
    let client = McpHttpClient::new(http_client().unwrap(), propagator, world.alice());
    let (uri, session): (Arc<str>, Arc<str>) = (place.url("/mcp").as_str().into(), "s".into());
    for method in [Method::POST, Method::GET, Method::DELETE] {
        // Long after the last call: its nonce is accepted no more. One request is refused, one asks for the nonce, one is served.
        world.clock.advance(Duration::from_secs(150));
        for requests in [3, 1] {
            let before = place.requests().len();
            let (uri, session, headers) = (Arc::clone(&uri), Arc::clone(&session), HashMap::new());
            match method {
                Method::POST => drop(client.post_message(uri, ping(), None, None, headers).await.unwrap()),
                Method::GET => drop(client.get_stream(uri, Some(session), None, None, headers).await.unwrap()),
                _ => client.delete_session(uri, session, None, headers).await.unwrap(),
            }
            let sent = place.requests().split_off(before);
            assert_eq!(sent.len(), requests, "{method}");
            for request in sent {
                let authorizations = request.headers.get_all("authorization").iter().collect::<Vec<_>>();
                assert!(authorizations.len() == 1 && authorizations[0].as_bytes().starts_with(b"DPoP "), "{method}");
            }
        }
    }
}
