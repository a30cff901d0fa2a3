//! [`sts_client::integrations::a2a`], with the client and the server of the official crates.

use std::sync::Arc;

use a2a::{A2AError, Message, Part, Role, SendMessageRequest, SendMessageResponse, StreamResponse};
use a2a_client::A2AClient;
use a2a_client::jsonrpc::JsonRpcTransport;
use a2a_client::middleware::CallInterceptor;
use a2a_server::jsonrpc::jsonrpc_router;
use a2a_server::{AgentExecutor, DefaultRequestHandler, ExecutorContext, InMemoryTaskStore};
use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use serde_json::json;
use sts_client::inbound::Issuer;
use sts_client::integrations::a2a::{PropagateInterceptor, ServiceParams, to_error, verify};
use sts_client::integrations::http_client;
use sts_client::{CallContext, Error, Propagator, Verifier};

use super::place::Place;
use super::{CARELESS, Coordinator, assert_goes_out_under, assert_no_context, claims};

/// An interceptor that puts on whatever it finds, under every spelling.
struct Careless;

#[async_trait]
impl CallInterceptor for Careless {
    async fn before(&self, _method: &str, params: &mut ServiceParams) -> Result<(), A2AError> {
        for (name, value) in CARELESS {
            params.insert(name.to_owned(), vec![value.to_owned(), value.to_owned()]);
        }
        Ok(())
    }
}

fn client(place: &Place, interceptor: PropagateInterceptor) -> A2AClient<JsonRpcTransport> {
    let transport = JsonRpcTransport::new(http_client().unwrap(), place.url("/").to_string());
    A2AClient::new(transport).with_interceptors(vec![Arc::new(Careless), Arc::new(interceptor)])
}

fn interceptor(propagator: Propagator, place: &Place) -> PropagateInterceptor {
    PropagateInterceptor::new(propagator, place.url("/"))
}

fn question() -> SendMessageRequest {
    let message = Message::new(Role::User, vec![Part::text("who am I?")]);
    SendMessageRequest { message, configuration: None, metadata: None, tenant: None }
}

/// The agent `inventory`, which says who asks.
struct Inventory {
    verifier: Verifier,
}

impl Inventory {
    async fn serve(coordinator: &Coordinator) -> Place {
        let verifier = Verifier::builder(["inventory-agent"])
            .issuer(Issuer::sts(coordinator.harness.issuer()))
            .clock(Arc::new(coordinator.harness.clock.clone()))
            .build()
            .unwrap();
        let handler = DefaultRequestHandler::new(Self { verifier }, InMemoryTaskStore::new());
        Place::serve(jsonrpc_router(Arc::new(handler))).await
    }
}

async fn who(verifier: Verifier, params: ServiceParams) -> Result<StreamResponse, A2AError> {
    let delegation = verify(&verifier, &params).await.map_err(|error| A2AError::invalid_request(error.to_string()))?;
    let answer = CallContext::from(delegation).scope(async {
        let context = CallContext::current().unwrap();
        let user = context.user().unwrap();
        let (subject, actor, tenant) = (user.subject(), user.actor().unwrap(), user.tenant().unwrap());
        format!("{} by {} of {tenant} in {}", subject.sub, actor.sub, context.headers().correlation_id())
    });
    Ok(StreamResponse::Message(Message::new(Role::Agent, vec![Part::text(answer.await)])))
}

impl AgentExecutor for Inventory {
    fn execute(&self, ctx: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        stream::once(who(self.verifier.clone(), ctx.service_params)).boxed()
    }

    fn cancel(&self, ctx: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        self.execute(ctx)
    }
}

#[tokio::test]
async fn a_real_agent_hears_for_whom_and_by_whom_it_is_called() {
    let coordinator = Coordinator::start().await;
    let place = Inventory::serve(&coordinator).await;
    let client = client(&place, interceptor(coordinator.exchanging(&place).await, &place));
    for user in ["alice", "bob"] {
        let context = coordinator.context(json!({ "sub": user })).await;
        let answer = context.scope(client.send_message(&question())).await.unwrap();
        let SendMessageResponse::Message(message) = answer else { panic!("{answer:?}") };
        assert_eq!(message.text(), Some(format!("{user} by coordinator of acme in corr-1").as_str()));
    }
    for request in place.requests() {
        assert_eq!(request.headers.get_all("authorization").iter().count(), 1);
        assert_eq!(claims(&request.headers["authorization"])["aud"], "inventory-agent");
    }
}

#[tokio::test]
async fn two_messages_of_one_request_are_two_operations() {
    let coordinator = Coordinator::start().await;
    let place = Inventory::serve(&coordinator).await;
    let client = client(&place, interceptor(coordinator.exchanging(&place).await, &place));
    for _repetition in 0..2 {
        let context = coordinator.context(json!({})).await;
        for _ in 0..2 {
            let answer = context.clone().scope(client.send_message(&question())).await.unwrap();
            assert!(matches!(answer, SendMessageResponse::Message(_)), "{answer:?}");
        }
    }
    let requests = place.requests();
    let keys: Vec<_> = requests.iter().map(|request| request.headers["idempotency-key"].to_str().unwrap()).collect();
    assert_eq!(keys[..2], ["once-1::SendMessage:1", "once-1::SendMessage:2"]);
    assert_eq!(keys[..2], keys[2..]);
}

#[tokio::test]
async fn whatever_the_call_bore_goes_away_under_any_spelling_and_one_token_leaves() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let token = coordinator.harness.user_token();
    let interceptor = interceptor(coordinator.pass_through(&place).await, &place);
    let client = client(&place, interceptor.with_context(coordinator.context_of(&token).await));
    // The place speaks no A2A: what counts is what it got.
    client.send_message(&question()).await.unwrap_err();
    assert_goes_out_under(&place.only(), &token, Some("once-1::SendMessage"));
    assert_eq!(place.only()["a2a-version"], a2a::VERSION, "what speaks for nobody stays");
}

#[tokio::test]
async fn parameters_have_one_authorization_whatever_they_had() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let token = coordinator.harness.user_token();
    let interceptor = interceptor(coordinator.pass_through(&place).await, &place);
    let interceptor = interceptor.with_context(coordinator.context_of(&token).await);
    for spelling in ["authorization", "Authorization", "AUTHORIZATION", "aUTHORIZATION"] {
        let mut params = ServiceParams::from([
            (spelling.to_owned(), vec!["Bearer careless".to_owned()]),
            ("A2A-Version".to_owned(), vec!["1.0".to_owned()]),
        ]);
        interceptor.before("SendMessage", &mut params).await.unwrap();
        let authorizations: Vec<_> =
            params.iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization")).map(|(_, v)| v).collect();
        assert_eq!(authorizations, [&vec![format!("Bearer {token}")]], "{spelling}");
        assert_eq!(params["A2A-Version"], ["1.0"], "{spelling}");
    }
}

#[tokio::test]
async fn operations_bear_child_keys_stable_over_repetitions_and_what_only_reads_bears_none() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let interceptor = interceptor(coordinator.pass_through(&place).await, &place);
    let key = async |context: CallContext, method: &str| {
        let mut params = ServiceParams::new();
        context.scope(interceptor.before(method, &mut params)).await.unwrap();
        params.get("idempotency-key").map(|keys| keys.join(","))
    };
    for _repetition in 0..2 {
        let context = coordinator.context(json!({})).await;
        assert_eq!(key(context.clone(), "SendMessage").await.as_deref(), Some("once-1::SendMessage:1"));
        let named = context.clone().for_operation("ask-inventory");
        assert_eq!(key(named, "SendMessage").await.as_deref(), Some("once-1::ask-inventory::SendMessage:1"));
        let streaming = key(context.clone(), "SendStreamingMessage").await;
        assert_eq!(streaming.as_deref(), Some("once-1::SendStreamingMessage:1"));
        assert_eq!(key(context.clone(), "SendMessage").await.as_deref(), Some("once-1::SendMessage:2"));
        for method in ["GetTask", "ListTasks", "SubscribeToTask", "GetExtendedAgentCard"] {
            assert_eq!(key(context.clone(), method).await, None, "{method}");
        }
    }
}

#[tokio::test]
async fn a_parameter_that_is_no_header_stops_the_call() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let interceptor = interceptor(coordinator.pass_through(&place).await, &place);
    let interceptor = interceptor.with_context(coordinator.context(json!({})).await);
    for (name, value) in [("authorization ", "x"), ("x y", "x"), ("", "x"), ("x-note", "a\r\nauthorization: x")] {
        let mut params = ServiceParams::from([(name.to_owned(), vec![value.to_owned()])]);
        let error = interceptor.before("SendMessage", &mut params).await.unwrap_err();
        assert!(matches!(to_error(&error), Some(Error::Misconfigured { .. })), "{name:?}: {error:?}");
        assert!(params.is_empty(), "{name:?}");
    }
}

#[tokio::test]
async fn a_call_without_a_context_never_leaves() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let client = client(&place, interceptor(coordinator.pass_through(&place).await, &place));
    let error = client.send_message(&question()).await.unwrap_err();
    assert_no_context(&to_error(&error).unwrap());
    assert!(place.is_untouched());
}

#[tokio::test]
async fn a_place_without_a_route_gets_nothing() {
    let (coordinator, place, elsewhere) = (Coordinator::start().await, Place::start().await, Place::start().await);
    let client = client(&elsewhere, interceptor(coordinator.pass_through(&place).await, &elsewhere));
    let error = coordinator.context(json!({})).await.scope(client.send_message(&question())).await.unwrap_err();
    assert!(matches!(to_error(&error), Some(Error::NoRoute { .. })), "{error:?}");
    assert!(elsewhere.is_untouched());
}

#[tokio::test]
async fn a_refusal_of_the_sts_comes_back_with_its_code_and_nothing_leaves() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let propagator = coordinator.exchanging_for("warehouse", &place).await;
    let client = client(&place, interceptor(propagator, &place));
    let error = coordinator.context(json!({})).await.scope(client.send_message(&question())).await.unwrap_err();
    let Some(Error::Refused { code }) = to_error(&error) else { panic!("{error:?}") };
    assert_eq!(code.as_str(), "invalid_target");
    assert!(place.is_untouched());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (coordinator, elsewhere) = (Coordinator::start().await, Place::start().await);
    let place = Place::leading_to(elsewhere.url("/").as_str()).await;
    let client = client(&place, interceptor(coordinator.pass_through(&place).await, &place));
    coordinator.context(json!({})).await.scope(client.send_message(&question())).await.unwrap_err();
    assert!(elsewhere.is_untouched());
}

#[tokio::test]
async fn parameters_with_two_authorizations_are_refused() {
    let coordinator = Coordinator::start().await;
    let token = format!("Bearer {}", coordinator.harness.user_token());
    let twice = [
        ServiceParams::from([("authorization".to_owned(), vec![token.clone(), token.clone()])]),
        ServiceParams::from([
            ("authorization".to_owned(), vec![token.clone()]),
            ("Authorization".to_owned(), vec![token.clone()]),
        ]),
        ServiceParams::from([("authorization".to_owned(), vec![token.clone(), "\n".to_owned()])]),
    ];
    for params in twice {
        assert_eq!(verify(&coordinator.verifier, &params).await.unwrap_err().status(), 400, "{params:?}");
    }
    let once = ServiceParams::from([("authorization".to_owned(), vec![token])]);
    assert_eq!(verify(&coordinator.verifier, &once).await.unwrap().subject().sub, "alice");
}

#[tokio::test]
async fn parameters_without_a_usable_authorization_are_refused() {
    let coordinator = Coordinator::start().await;
    for values in [vec![], vec![""], vec!["\n"], vec!["Basic x"]] {
        let values = values.into_iter().map(str::to_owned).collect();
        let params = ServiceParams::from([("authorization".to_owned(), values)]);
        assert_eq!(verify(&coordinator.verifier, &params).await.unwrap_err().status(), 401, "{params:?}");
    }
}
