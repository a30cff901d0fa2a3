//! [`sts_client::integrations::rmcp`], against a real MCP server: whose token each request of a session bears.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use http::request::Parts;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResponse, CallToolResult, ClientConfig, ClientRequest,
    ContentBlock, ProtocolVersion, ServerCapabilities, ServerConfig, ServerResult,
};
use rmcp::service::{RequestContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleClient, RoleServer, ServerHandler, ServiceError, ServiceExt as _};
use serde_json::{Value, json};
use sts_client::integrations::http_client;
use sts_client::integrations::rmcp::{McpHttpClient, propagation_error, with_context};
use sts_client::{CallContext, Error, Propagator, Route, ServiceAccount, WithoutUser};
use sts_jose::SystemEntropy;

use super::place::Place;
use super::{Coordinator, claims, refused};

/// An MCP server whose one tool says whose token the call bore.
#[derive(Clone)]
struct Tools;

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let parts = context.extensions.get::<Parts>().unwrap();
        let claims = claims(&parts.headers["authorization"]);
        Ok(CallToolResult::success(vec![ContentBlock::text(claims["sub"].as_str().unwrap())]).into())
    }
}

async fn tools() -> Place {
    Place::serve(router()).await
}

fn router() -> axum::Router {
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(|| Ok(Tools), sessions, StreamableHttpServerConfig::default());
    axum::Router::new().nest_service("/mcp", service)
}

type Session = RunningService<RoleClient, ClientConfig>;

struct Client {
    http: McpHttpClient<reqwest::Client>,
    session: Session,
}

impl Client {
    async fn open(place: &Place, propagator: Propagator, context: CallContext) -> Self {
        let http = McpHttpClient::new(http_client().unwrap(), propagator, context);
        let config = StreamableHttpClientTransportConfig::with_uri(place.url("/mcp").to_string());
        let transport = StreamableHttpClientTransport::with_client(http.clone(), config);
        let handler = ClientConfig::default().with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        Self { http, session: handler.serve(transport).await.unwrap() }
    }

    /// Asks whose token the call bears: of the session, or of a context of its own.
    async fn who(&self, context: Option<CallContext>) -> Result<String, ServiceError> {
        let call = CallToolRequest::new(CallToolRequestParams::new("who"));
        let call = match context {
            Some(context) => with_context(call, context),
            None => call,
        };
        let answer = self.session.send_request(ClientRequest::CallToolRequest(call)).await?;
        let ServerResult::CallToolResult(result) = answer else { panic!("{answer:?}") };
        Ok(result.content[0].as_text().unwrap().text.clone())
    }

    async fn close(self) {
        self.session.cancel().await.unwrap();
    }
}

/// What each request bore: method, session, claims.
fn bore(place: &Place) -> Vec<(String, Option<String>, Value)> {
    let of = |parts: &Parts| {
        assert_eq!(parts.headers.get_all("authorization").iter().count(), 1, "{parts:?}");
        let session = parts.headers.get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
        (parts.method.to_string(), session, claims(&parts.headers["authorization"]))
    };
    place.requests().iter().map(of).collect()
}

#[track_caller]
fn assert_belongs_to_another(error: &Error) {
    assert!(matches!(error, Error::Misconfigured { what } if what.contains("another user")), "{error:?}");
}

#[tokio::test]
async fn every_request_of_a_session_bears_an_exchanged_token_of_its_user() {
    let (coordinator, place) = (Coordinator::start().await, tools().await);
    let context = coordinator.context(json!({})).await;
    let client = Client::open(&place, coordinator.exchanging(&place).await, context).await;
    assert_eq!(client.who(None).await.unwrap(), "alice");
    place.wait_for(Method::GET).await;
    client.close().await;
    let bore = bore(&place);
    for method in ["POST", "GET", "DELETE"] {
        assert!(bore.iter().any(|(used, _, _)| used == method), "{method}: {bore:?}");
    }
    for (method, _, claims) in bore {
        assert_eq!(claims["sub"], "alice", "{method}");
        assert_eq!(claims["aud"], "inventory-agent", "{method}");
        assert_eq!(claims["act"]["sub"], "coordinator", "{method}");
    }
}

#[tokio::test]
async fn a_session_outlives_its_tokens() {
    let (coordinator, place) = (Coordinator::start().await, tools().await);
    let (propagator, first) = (coordinator.exchanging(&place).await, coordinator.context(json!({})).await);
    let client = Client::open(&place, propagator, first).await;
    client.who(None).await.unwrap();

    coordinator.harness.advance(1800);
    client.who(None).await.unwrap();
    let alive = |claims: &Value| claims["exp"].as_i64().unwrap() > coordinator.harness.now();
    assert!(alive(&bore(&place).last().unwrap().2), "the exchanged token had died, and was exchanged anew");

    coordinator.harness.advance(3600);
    let error = client.who(None).await.unwrap_err();
    assert!(matches!(propagation_error::<reqwest::Client>(&error), Some(Error::Refused { .. })), "{error:?}");

    client.http.set_context(coordinator.context(json!({})).await).unwrap();
    assert_eq!(client.who(None).await.unwrap(), "alice");
    client.close().await;
    let (method, _, claims) = bore(&place).pop().unwrap();
    assert!(method == "DELETE" && alive(&claims));
}

#[tokio::test]
async fn the_end_of_a_session_bears_the_newest_token_that_its_messages_had() {
    let (coordinator, place) = (Coordinator::start().await, tools().await);
    let (propagator, first) = (coordinator.exchanging(&place).await, coordinator.context(json!({})).await);
    let client = Client::open(&place, propagator, first).await;
    coordinator.harness.advance(3601);
    client.who(Some(coordinator.context(json!({})).await)).await.unwrap();
    client.close().await;
    let (method, _, claims) = bore(&place).pop().unwrap();
    assert!(method == "DELETE" && claims["exp"].as_i64().unwrap() > coordinator.harness.now());
}

#[tokio::test]
async fn the_sessions_of_two_users_never_mix() {
    let (coordinator, place) = (Coordinator::start().await, tools().await);
    let propagator = coordinator.exchanging(&place).await;
    let alice = Client::open(&place, propagator.clone(), coordinator.context(json!({})).await).await;
    let bob = Client::open(&place, propagator, coordinator.context(json!({ "sub": "bob" })).await).await;
    for _ in 0..5 {
        let (a, b) = tokio::join!(alice.who(None), bob.who(None));
        assert_eq!((a.unwrap().as_str(), b.unwrap().as_str()), ("alice", "bob"));
    }
    tokio::join!(alice.close(), bob.close());
    let mut users = HashMap::new();
    for (method, session, claims) in bore(&place) {
        let Some(session) = session else { continue };
        assert_eq!(*users.entry(session).or_insert_with(|| claims["sub"].clone()), claims["sub"], "{method}");
    }
    assert_eq!(users.len(), 2);
}

#[tokio::test]
async fn nobody_else_gets_into_a_session() {
    let (coordinator, place) = (Coordinator::start().await, tools().await);
    let (propagator, context) = (coordinator.exchanging(&place).await, coordinator.context(json!({})).await);
    let client = Client::open(&place, propagator, context).await;
    client.who(None).await.unwrap();
    let before = place.requests().len();
    let others = [
        ("another user", coordinator.context(json!({ "sub": "bob" })).await),
        ("the same user of another tenant", coordinator.context(json!({ "org_id": "globex" })).await),
        ("nobody", CallContext::without_user(None, &SystemEntropy)),
    ];
    for (who, context) in others {
        assert_belongs_to_another(&client.http.set_context(context.clone()).unwrap_err());
        let error = client.who(Some(context)).await.unwrap_err();
        assert_belongs_to_another(
            propagation_error::<reqwest::Client>(&error).unwrap_or_else(|| panic!("{who}: {error:?}")),
        );
    }
    assert_eq!(place.requests().len(), before, "nothing was sent");
    assert_eq!(client.who(None).await.unwrap(), "alice", "the session is as it was");
}

#[tokio::test]
async fn a_handshake_without_a_user_bears_the_service_account_and_the_first_user_owns_the_session() {
    let (coordinator, place) = (Coordinator::start().await, tools().await);
    let route = Route::to(place.url("/"))
        .audience("inventory")
        .issued_audience("inventory-agent")
        .without_user(WithoutUser::ServiceAccount);
    let propagator = Propagator::builder()
        .sts(coordinator.sts("coordinator"))
        .service_account(ServiceAccount::Sts)
        .route(route)
        .clock(Arc::new(coordinator.harness.clock.clone()))
        .build()
        .await
        .unwrap();
    let client = Client::open(&place, propagator, CallContext::without_user(None, &SystemEntropy)).await;
    client.session.list_all_tools().await.unwrap();
    assert!(bore(&place).iter().all(|(_, _, claims)| claims["sub"] == "coordinator" && claims.get("act").is_none()));

    assert_eq!(client.who(Some(coordinator.context(json!({})).await)).await.unwrap(), "alice");
    let error = client.who(Some(coordinator.context(json!({ "sub": "bob" })).await)).await.unwrap_err();
    assert_belongs_to_another(propagation_error::<reqwest::Client>(&error).unwrap());
    assert_eq!(client.who(None).await.unwrap(), "alice");
}

#[tokio::test]
async fn a_message_whose_token_the_server_refuses_is_sent_again_with_another() {
    let coordinator = refused::coordinator().await;
    let verifier = refused::introspecting_verifier(&coordinator.harness);
    let place = Place::serve(router().layer(verifier.layer())).await;
    let (propagator, context) = (coordinator.exchanging(&place).await, coordinator.context(json!({})).await);
    let client = Client::open(&place, propagator, context).await;
    client.who(None).await.unwrap();
    place.wait_for(Method::GET).await;
    refused::revoke_signing_key(&coordinator.harness).await;
    let before = place.requests().len();
    assert_eq!(client.who(None).await.unwrap(), "alice");
    let requests = place.requests().split_off(before);
    let keys: Vec<_> = requests.iter().map(|request| &request.headers["idempotency-key"]).collect();
    assert_eq!(keys.len(), 2, "one more round trip");
    assert_eq!(keys[0], keys[1], "both are one operation");
}

#[tokio::test]
async fn each_call_of_a_tool_bears_a_child_key_stable_over_repetitions_and_nothing_else_bears_one() {
    let (coordinator, place) = (Coordinator::start().await, tools().await);
    let (propagator, context) = (coordinator.exchanging(&place).await, coordinator.context(json!({})).await);
    let keys = |place: &Place| -> Vec<String> {
        let requests = place.requests();
        let keys = requests.iter().filter_map(|request| request.headers.get("idempotency-key"));
        keys.map(|key| key.to_str().unwrap().to_owned()).collect()
    };
    let client = Client::open(&place, propagator.clone(), context.clone()).await;
    client.session.list_all_tools().await.unwrap();
    assert!(keys(&place).is_empty(), "neither the handshake nor a listing is an operation");
    client.who(None).await.unwrap();
    client.who(Some(context.clone())).await.unwrap();
    let [first, second] = <[String; 2]>::try_from(keys(&place)).unwrap();
    let call = first.strip_suffix(":1").unwrap().to_owned();
    assert!(call.starts_with("once-1::tools/call:who:"), "{first}");
    assert_eq!(second, format!("{call}:2"), "a tool that is polled is called each time");
    client.who(None).await.unwrap();
    assert_eq!(keys(&place).len(), 2, "the key of a message is not that of the session's next");
    client.who(Some(context.clone())).await.unwrap();
    client.who(Some(context.clone().for_operation("second"))).await.unwrap();
    assert_eq!(keys(&place)[2], format!("{call}:3"));
    assert!(keys(&place)[3].starts_with("once-1::second::tools/call:who:"), "{:?}", keys(&place));

    let repetition = Client::open(&place, propagator, coordinator.context(json!({})).await).await;
    repetition.who(None).await.unwrap();
    assert_eq!(keys(&place)[4], first, "a repetition of the whole request, in a session of its own");
}
