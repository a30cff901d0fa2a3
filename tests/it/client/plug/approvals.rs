//! An A2A agent whose task waits for an approval, and is resumed.

use std::sync::Arc;

use a2a::{
    A2AError, Message, Part, Role, SendMessageRequest, SendMessageResponse, StreamResponse, Task, TaskState, TaskStatus,
};
use a2a_client::A2AClient;
use a2a_client::jsonrpc::JsonRpcTransport;
use a2a_server::jsonrpc::jsonrpc_router;
use a2a_server::{AgentExecutor, DefaultRequestHandler, ExecutorContext, InMemoryTaskStore};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::HeaderMap;
use serde_json::json;
use sts_client::integrations::a2a::{PropagateInterceptor, auth_required, required_approval, verify};
use sts_client::integrations::http_client;
use sts_client::outcome::{Approval, Halted, Trace};
use sts_client::{CallContext, Error, Propagator, Route, Verifier};
use sts_tests::Setup;
use url::Url;

use super::Coordinator;
use super::place::Place;

const APPROVAL: &str = "approval = { scopes = ['stock:write'], by = 'operator', remember = '10m', wait = '5m' }";

/// The agent `coordinator`, whose task needs a token for the inventory.
#[derive(Clone)]
struct Buyer {
    verifier: Verifier,
    propagator: Propagator,
}

impl Buyer {
    async fn work(self, ctx: ExecutorContext) -> Result<StreamResponse, A2AError> {
        let caller = verify(&self.verifier, &ctx.service_params)
            .await
            .map_err(|refusal| A2AError::invalid_request(refusal.to_string()))?;
        let trace = Trace::from(&caller);
        let url: Url = "https://inventory.shop.example/".parse().unwrap();
        let status = match self.propagator.apply(&caller.into(), &url, &mut HeaderMap::new()).await {
            Ok(_) => TaskStatus { state: TaskState::Completed, message: None, timestamp: None },
            Err(Error::ApprovalRequired(required)) => auth_required(&Approval::from(&*required), &trace),
            Err(error) => return Err(A2AError::internal(error.to_string())),
        };
        Ok(StreamResponse::Task(Task {
            id: ctx.task_id,
            context_id: ctx.context_id,
            status,
            artifacts: None,
            history: None,
            metadata: None,
        }))
    }
}

impl AgentExecutor for Buyer {
    fn execute(&self, ctx: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        stream::once(self.clone().work(ctx)).boxed()
    }

    fn cancel(&self, ctx: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        self.execute(ctx)
    }
}

fn message(task_id: Option<String>) -> SendMessageRequest {
    let message = Message { task_id, ..Message::new(Role::User, vec![Part::text("buy")]) };
    SendMessageRequest { message, configuration: None, metadata: None, tenant: None }
}

fn task(answer: SendMessageResponse) -> Task {
    match answer {
        SendMessageResponse::Task(task) => task,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_task_that_waits_for_an_approval_says_so_and_its_next_message_resumes_it() {
    let setup = Setup::default().operators();
    let setup = setup.registry(|registry| registry.delegation("coordinator", "inventory", APPROVAL));
    let coordinator = Coordinator::beside(setup.start().await);
    let harness = &coordinator.harness;
    let route = Route::to("https://inventory.shop.example/".parse().unwrap())
        .audience("inventory")
        .issued_audience("inventory-agent")
        .scope("stock:write".parse().unwrap());
    let builder = Propagator::builder().sts(coordinator.sts("coordinator")).route(route);
    let propagator = builder.clock(Arc::new(harness.clock.clone())).build().await.unwrap();
    let buyer = Buyer { verifier: coordinator.verifier.clone(), propagator };
    let handler = DefaultRequestHandler::new(buyer, InMemoryTaskStore::new());
    let place = Place::serve(jsonrpc_router(Arc::new(handler))).await;
    let interceptor = PropagateInterceptor::new(coordinator.pass_through(&place).await, place.url("/"));
    let transport = JsonRpcTransport::new(http_client().unwrap(), place.url("/").to_string());
    let client = A2AClient::new(transport).with_interceptors(vec![Arc::new(interceptor)]);
    let context: CallContext = coordinator.context(json!({})).await;

    let waiting = task(context.clone().scope(client.send_message(&message(None))).await.unwrap());
    assert_eq!(waiting.status.state, TaskState::AuthRequired);
    let approval = required_approval(&waiting.status).unwrap();
    let id = approval.approval_id.clone().unwrap();
    assert_eq!(approval.approver.as_deref(), Some("operator"));
    assert_eq!(approval.interaction_uri.as_ref().unwrap().as_str(), format!("{}/approvals/{id}", harness.issuer()));
    let text = waiting.status.message.as_ref().unwrap().text().unwrap().to_owned();
    assert!(text.contains(&id), "{text}");

    let request = harness.admin("POST", &format!("/approvals/{id}")).by("operator");
    let decided = request.json(&json!({ "decision": "grant" })).send().await;
    assert_eq!(decided.status, 200, "{}", decided.text());
    harness.advance(5);
    let resumed = context.scope(client.send_message(&message(Some(waiting.id.clone())))).await.unwrap();
    let resumed = task(resumed);
    assert_eq!((&resumed.id, &resumed.status.state), (&waiting.id, &TaskState::Completed));
    assert_eq!(required_approval(&resumed.status), None);
}

#[test]
fn only_a_task_that_waits_for_an_approval_has_one() {
    let without = |state, parts| {
        let message = Some(Message::new(Role::Agent, parts));
        TaskStatus { state, message, timestamp: None }
    };
    let forbidden = Halted::forbidden("NO", "no");
    let trace = Trace::from(&CallContext::without_user(None, &sts_jose::SystemEntropy));
    let rows = [
        TaskStatus { state: TaskState::AuthRequired, message: None, timestamp: None },
        without(TaskState::AuthRequired, vec![Part::text("https://sts.example.com/approvals/a-1")]),
        without(TaskState::AuthRequired, vec![Part::data(json!({ "type": "approval_required" }))]),
        without(TaskState::AuthRequired, vec![Part::data(forbidden.answer(&trace).to_value())]),
    ];
    for status in rows {
        assert_eq!(required_approval(&status), None, "{status:?}");
    }
}
