//! [`sts_client::integrations::rmcp`] with one token for each tool, and the guard of an MCP server.

use std::sync::Arc;

use http::StatusCode;
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
use sts_client::inbound::Issuer;
use sts_client::integrations::http_client;
use sts_client::integrations::rmcp::{
    McpHttpClient, ToolGuardLayer, elicited_approval, propagation_error, url_elicitation, with_context,
};
use sts_client::test_util::{MockAnswer, MockSts};
use sts_client::{CallContext, Caller, Error, Propagator, RefusalCode, Route, Verifier};
use sts_tests::{Harness, Setup};

use super::place::Place;
use super::{Coordinator, claims};

const DETAILS: &str = "details = [{ type = 'mcp_tool', actions = ['refund', 'lookup'], limits = { amount = 500 } }]";

/// An MCP server whose tools all answer, if a call reaches them. The tool `ask` asks an agent for which an
/// approval is needed.
#[derive(Clone)]
struct Tools;

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = context.extensions.get::<Parts>().unwrap().extensions.get::<Caller>().unwrap();
        if request.name == "ask" {
            return Err(url_elicitation(&required_approval(caller).await));
        }
        Ok(CallToolResult::success(vec![ContentBlock::text(request.name.clone())]).into())
    }
}

async fn required_approval(caller: &Caller) -> sts_client::RequiredApproval {
    let sts = MockSts::new();
    sts.answer_with(MockAnswer::RequireApproval);
    let url: url::Url = "https://shop.example/".parse().unwrap();
    let route = Route::to(url.clone()).audience("shop");
    let propagator = Propagator::builder().sts(sts.sts("tools")).route(route).build().await.unwrap();
    let alice = Caller::for_test().subject(&caller.subject().sub).build();
    match propagator.apply(&alice.into(), &url, &mut http::HeaderMap::new()).await {
        Err(Error::ApprovalRequired(required)) => (*required).clone(),
        other => panic!("{other:?}"),
    }
}

/// The server behind its guard, and behind a verifier.
async fn tools(harness: &Harness) -> Place {
    let verifier = Verifier::builder(["inventory-agent"])
        .issuer(Issuer::sts(harness.issuer()))
        .clock(Arc::new(harness.clock.clone()))
        .build()
        .unwrap();
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(|| Ok(Tools), sessions, StreamableHttpServerConfig::default());
    let router = axum::Router::new().nest_service("/mcp", service);
    Place::serve(router.layer(ToolGuardLayer::new()).layer(verifier.layer())).await
}

async fn start() -> (Coordinator, Place) {
    let setup = Setup::default().registry(|registry| registry.delegation("coordinator", "inventory", DETAILS));
    let coordinator = Coordinator::beside(setup.start().await);
    let place = tools(&coordinator.harness).await;
    (coordinator, place)
}

struct Client(RunningService<RoleClient, ClientConfig>);

impl Client {
    async fn open(coordinator: &Coordinator, place: &Place, route: Route, context: CallContext) -> Self {
        let builder = Propagator::builder().sts(coordinator.sts("coordinator"));
        let builder = builder.route(route).clock(Arc::new(coordinator.harness.clock.clone()));
        let http = McpHttpClient::new(http_client().unwrap(), builder.build().await.unwrap(), context);
        let config = StreamableHttpClientTransportConfig::with_uri(place.url("/mcp").to_string());
        let transport = StreamableHttpClientTransport::with_client(http, config);
        let handler = ClientConfig::default().with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        Self(handler.serve(transport).await.unwrap())
    }

    /// Calls a tool, on behalf of the session or of a context of its own.
    async fn call(&self, tool: &str, arguments: Value, context: Option<CallContext>) -> Result<String, ServiceError> {
        let arguments = arguments.as_object().unwrap().clone();
        let call = CallToolRequest::new(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments));
        let call = match context {
            Some(context) => with_context(call, context),
            None => call,
        };
        let answer = self.0.send_request(ClientRequest::CallToolRequest(call)).await?;
        let ServerResult::CallToolResult(result) = answer else { panic!("{answer:?}") };
        Ok(result.content[0].as_text().unwrap().text.clone())
    }
}

fn route(place: &Place) -> Route {
    Route::to(place.url("/")).audience("inventory").issued_audience("inventory-agent")
}

/// The details of the tokens of the requests so far, and the tokens.
fn bore(place: &Place) -> Vec<(Value, String)> {
    let requests = place.requests();
    let of = |request: &Parts| {
        let authorization = &request.headers["authorization"];
        (claims(authorization)["authorization_details"].clone(), authorization.to_str().unwrap().to_owned())
    };
    requests.iter().filter(|request| request.method == "POST").map(of).collect()
}

#[tokio::test]
async fn each_tool_has_a_token_that_names_it_alone_and_all_else_has_none() {
    let (coordinator, place) = start().await;
    let context = coordinator.context(json!({})).await;
    let client = Client::open(&coordinator, &place, route(&place).per_tool(), context).await;
    for tool in ["lookup", "refund", "lookup"] {
        assert_eq!(client.call(tool, json!({ "amount": 1 }), None).await.unwrap(), tool);
    }
    let bore = bore(&place);
    let of = |tool: &str| json!([{ "type": "mcp_tool", "actions": [tool], "limits": { "amount": 500 } }]);
    let details: Vec<_> = bore.iter().map(|(details, _)| details.clone()).collect();
    let [handshake @ .., lookup, refund, again] = details.as_slice() else { panic!("{details:?}") };
    assert!(!handshake.is_empty() && handshake.iter().all(Value::is_null), "{handshake:?}");
    assert_eq!([lookup, refund, again], [&of("lookup"), &of("refund"), &of("lookup")]);
    let tokens: std::collections::HashSet<_> = bore.iter().map(|(_, token)| token).collect();
    assert_eq!(tokens.len(), 3);
    bore.iter().for_each(|(_, token)| coordinator.harness.seen.remember(token.strip_prefix("Bearer ").unwrap()));
}

#[tokio::test]
async fn the_details_of_a_call_are_those_of_its_context_that_permit_its_tool() {
    let (coordinator, place) = start().await;
    let context = coordinator.context(json!({})).await;
    let client = Client::open(&coordinator, &place, route(&place).per_tool(), context.clone()).await;
    let details = json!([{ "type": "mcp_tool", "actions": ["refund", "lookup"], "limits": { "amount": 50 } }]);
    let context = context.with_authorization_details(serde_json::from_value(details).unwrap());
    client.call("refund", json!({ "amount": 50 }), Some(context.clone())).await.unwrap();
    let expected = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": 50 } }]);
    assert_eq!(bore(&place).last().unwrap().0, expected);
    let count = place.requests().len();
    let error = client.call("delete_customer", json!({}), Some(context)).await.unwrap_err();
    let Some(Error::Refused { code }) = propagation_error::<reqwest::Client>(&error) else { panic!("{error:?}") };
    assert_eq!(*code, RefusalCode::INVALID_AUTHORIZATION_DETAILS);
    assert_eq!(place.requests().len(), count);
    // The session goes on without the details of one call.
    client.0.list_all_tools().await.unwrap_or_default();
    assert_eq!(bore(&place).last().unwrap().0, Value::Null);
}

#[tokio::test]
async fn the_guard_refuses_a_call_whose_tool_or_limits_the_token_does_not_name() {
    let (coordinator, place) = start().await;
    let details =
        serde_json::from_value(json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": 50 } }]));
    let context = coordinator.context(json!({})).await.with_authorization_details(details.unwrap());
    // Every message of this session carries the same token: the guard alone decides.
    let client = Client::open(&coordinator, &place, route(&place), context).await;
    let rows = [
        ("refund", json!({ "amount": 50 }), true),
        ("refund", json!({ "amount": 0.5, "order": "o-1", "quantity": 9_000 }), true),
        ("refund", json!({ "amount": 51 }), false),
        ("refund", json!({ "amount": -1 }), false),
        ("refund", json!({ "amount": "50" }), false),
        ("refund", json!({ "Amount": 50 }), false),
        ("refund", json!({}), false),
        ("lookup", json!({ "amount": 1 }), false),
        ("delete_customer", json!({ "amount": 1 }), false),
    ];
    for (tool, arguments, is_served) in rows {
        let outcome = client.call(tool, arguments.clone(), None).await;
        assert_eq!(outcome.is_ok(), is_served, "{tool} {arguments}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_guard_reads_a_body_as_strictly_as_any_server_below_it() {
    let (coordinator, place) = start().await;
    let details =
        serde_json::from_value(json!([{ "type": "mcp_tool", "actions": ["lookup"], "limits": { "amount": 50 } }]));
    let context = coordinator.context(json!({})).await.with_authorization_details(details.unwrap());
    let builder = Propagator::builder().sts(coordinator.sts("coordinator")).route(route(&place));
    let propagator = builder.clock(Arc::new(coordinator.harness.clock.clone())).build().await.unwrap();
    let mut headers = http::HeaderMap::new();
    propagator.apply(&context, &place.url("/mcp"), &mut headers).await.unwrap();
    let refund =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund","arguments":{"amount":1}}}"#;
    let lookup = refund.replace("refund", "lookup");
    let long = format!("{}{refund}", " ".repeat(5 << 20));
    let rows = [
        ("another tool", refund.to_owned(), StatusCode::FORBIDDEN),
        ("in a batch", format!("[{lookup},{refund}]"), StatusCode::FORBIDDEN),
        ("two names", refund.replace(r#""name":"#, r#""name":"lookup","name":"#), StatusCode::UNPROCESSABLE_ENTITY),
        (
            "two amounts",
            lookup.replace(r#""amount":1"#, r#""amount":1,"amount":500"#),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("an escaped name", refund.replace("refund", r"r\u0065fund"), StatusCode::FORBIDDEN),
        ("an escaped method", refund.replace("tools/call", r"tools\/call"), StatusCode::FORBIDDEN),
        ("no name", refund.replace(r#""name":"refund","#, ""), StatusCode::UNPROCESSABLE_ENTITY),
        ("a name that is no text", refund.replace(r#""refund""#, "1"), StatusCode::UNPROCESSABLE_ENTITY),
        ("no json", "tools/call".to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
        ("something after it", format!("{lookup}{refund}"), StatusCode::UNPROCESSABLE_ENTITY),
        ("too long", long, StatusCode::UNPROCESSABLE_ENTITY),
    ];
    for (label, body, expected) in rows {
        let post = reqwest::Client::new().post(place.url("/mcp")).headers(headers.clone());
        let post =
            post.header("content-type", "application/json").header("accept", "application/json, text/event-stream");
        let answer = post.body(body).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{label}");
        let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
        let is_named = challenge.is_some_and(|text| text.contains("insufficient_authorization_details"));
        assert_eq!(is_named, expected == StatusCode::FORBIDDEN, "{label}");
    }
}

#[tokio::test]
async fn a_tool_that_waits_for_an_approval_sends_its_client_to_the_page() {
    let setup = Setup::default().registry(|registry| {
        registry.delegation("coordinator", "inventory", "details = [{ type = 'mcp_tool', actions = ['ask'] }]");
    });
    let coordinator = Coordinator::beside(setup.start().await);
    let place = tools(&coordinator.harness).await;
    let context = coordinator.context(json!({})).await;
    let client = Client::open(&coordinator, &place, route(&place).per_tool(), context).await;
    let error = client.call("ask", json!({}), None).await.unwrap_err();
    let ServiceError::McpError(error) = error else { panic!("{error:?}") };
    assert_eq!(error.code.0, -32042);
    let required = elicited_approval(&error).unwrap();
    assert_eq!(required.approval_id, "approval-1");
    assert_eq!(required.interaction_uri.as_str(), "https://sts.test/approvals/approval-1");
}
