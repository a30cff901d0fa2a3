//! The layer, over HTTP and as a tower service; the metadata of the resource.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{HeaderMap, Request, Response};
use serde_json::{Value, json};
use sts_client::inbound::Verifier;
use sts_client::{CallContext, Caller};
use tower::{Layer as _, Service, ServiceExt as _};

use super::{Agent, METADATA_URL, bearer, guarded, send, send_to, with_header};

#[tokio::test]
async fn over_http_a_request_with_a_token_is_served_and_one_without_is_told_where_to_get_one() {
    let agent = Agent::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let app = agent.app.clone();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let token = agent.idp.sign(&agent.claims());
    let served = http.get(&base).bearer_auth(&token).send().await.unwrap();
    assert_eq!(served.status(), 200);
    assert_eq!(served.json::<Value>().await.unwrap()["subject"]["sub"], "alice");
    let refused = http.get(&base).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], format!("Bearer resource_metadata=\"{METADATA_URL}\""));
}

#[tokio::test]
async fn the_correlation_id_is_kept_or_made_and_always_echoed() {
    let agent = Agent::start().await;
    let kept = with_header(agent.request(&json!({})), "x-correlation-id", "request-7");
    let answer = agent.send(kept).await;
    assert_eq!(answer.header("x-correlation-id"), "request-7");
    assert_eq!(answer.json["correlation_id"], "request-7");
    assert_eq!(answer.json["context_correlation_id"], "request-7");

    let malformed = with_header(agent.request(&json!({})), "x-correlation-id", "a b");
    for headers in [agent.request(&json!({})), malformed] {
        let answer = agent.send(headers).await;
        assert_eq!(answer.header("x-correlation-id").len(), 36);
        assert_eq!(answer.json["correlation_id"], answer.header("x-correlation-id"));
    }

    let refused = agent.send(with_header(HeaderMap::new(), "x-correlation-id", "layer-refused-8")).await;
    assert_eq!((refused.status, refused.header("x-correlation-id")), (401, "layer-refused-8"));
    assert_eq!(agent.send(HeaderMap::new()).await.header("x-correlation-id").len(), 36);
    assert!(agent.log.text().contains("layer-refused-8"), "a refusal is logged under its id");
}

#[tokio::test]
async fn the_idempotency_key_is_kept() {
    let agent = Agent::start().await;
    let request = with_header(agent.request(&json!({})), "idempotency-key", "order-7");
    assert_eq!(agent.served("with a key", request).await["idempotency_key"], "order-7");
}

#[tokio::test]
async fn rfc_9728_the_metadata_are_served_to_whoever_has_no_token() {
    let agent =
        Agent::with(|builder, _idp| builder.require_scope(sts_protocol::ScopeToken::new("stock:read").unwrap())).await;
    let answer = send_to(&agent.app, "/.well-known/oauth-protected-resource", HeaderMap::new()).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(
        answer.json,
        json!({
            "resource": "https://inventory.shop.example/",
            "authorization_servers": [agent.idp.url()],
            "scopes_supported": ["stock:read"],
            "bearer_methods_supported": ["header"],
        })
    );
    assert_eq!(send_to(&agent.app, "/", HeaderMap::new()).await.status, 401);
}

#[tokio::test]
async fn rfc_9728_section_3_1_metadata_of_a_resource_with_a_path_stand_at_that_path() {
    let resource = "https://inventory.shop.example/mcp/a:b/{c}/";
    let agent = Agent::with(|builder, _idp| builder.resource(resource.parse().unwrap())).await;
    let path = "/.well-known/oauth-protected-resource/mcp/a:b/%7Bc%7D/";
    assert_eq!(agent.verifier.resource_metadata().unwrap().well_known_path(), path);
    assert_eq!(send_to(&agent.app, path, HeaderMap::new()).await.status, 200);
    let other = "/.well-known/oauth-protected-resource/mcp/a:b/x/";
    assert_eq!(send_to(&agent.app, other, HeaderMap::new()).await.status, 404);
}

#[tokio::test]
async fn without_a_resource_no_metadata_are_served_or_named() {
    let verifier = Verifier::builder(["a"]).issuer(sts_client::inbound::Issuer::new("http://127.0.0.1:9")).build();
    let app = guarded(&verifier.unwrap());
    assert_eq!(send_to(&app, "/.well-known/oauth-protected-resource", HeaderMap::new()).await.status, 404);
    let refused = send(&app, HeaderMap::new()).await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
}

#[tokio::test]
async fn a_handler_refuses_a_scope_that_is_not_there() {
    let agent = Agent::start().await;
    let written = send_to(&agent.app, "/write", agent.request(&json!({ "scope": "stock:write" }))).await;
    assert_eq!(written.status, 200);
    let refused = send_to(&agent.app, "/write", agent.request(&json!({}))).await;
    assert_eq!((refused.status, refused.error()), (403, "insufficient_scope"));
    let end = format!("scope=\"stock:write\", resource_metadata=\"{METADATA_URL}\"");
    assert!(refused.header("www-authenticate").ends_with(&end), "{}", refused.header("www-authenticate"));
    assert_eq!(refused.header("cache-control"), "no-store");
    assert!(!refused.header("x-correlation-id").is_empty());
    let caller = agent.verifier.verify(&agent.request(&json!({}))).await.unwrap();
    let unnameable = caller.require_scope("a\" , x=\"b").unwrap_err();
    assert!(!unnameable.www_authenticate().unwrap().to_str().unwrap().contains("x="));
}

#[tokio::test]
async fn a_handler_without_the_layer_serves_nobody() {
    async fn handler(caller: Caller) -> String {
        caller.issuer().to_owned()
    }
    let agent = Agent::start().await;
    let answer = send(&Router::new().route("/", get(handler)), agent.request(&json!({}))).await;
    assert_eq!((answer.status, answer.text().as_str()), (500, "internal error"));
}

#[tokio::test]
async fn the_context_ends_with_the_request() {
    let agent = Agent::start().await;
    agent.served("within", agent.request(&json!({}))).await;
    assert!(CallContext::current().is_none());
}

/// A service that panics when it is called without having been polled ready.
#[derive(Debug, Default)]
struct Fussy {
    ready: bool,
}

impl Clone for Fussy {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<Body>> for Fussy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it was ready");
        assert!(request.extensions().get::<Caller>().is_some());
        std::future::ready(Ok(Response::new(Body::empty())))
    }
}

#[tokio::test]
async fn the_service_that_is_called_is_the_one_that_was_polled_ready() {
    let agent = Agent::start().await;
    let mut service = agent.verifier.layer().layer(Fussy::default());
    for _ in 0..2 {
        let mut request = Request::new(Body::empty());
        *request.headers_mut() = bearer(&agent.idp.sign(&agent.claims()));
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}
