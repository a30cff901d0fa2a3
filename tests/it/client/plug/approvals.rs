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
use crate::interop::python;

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

/// The agent, whose task waits for an operator.
struct Waiting {
    coordinator: Coordinator,
    place: Place,
}

impl Waiting {
    async fn start() -> Self {
        let setup = Setup::default().operators();
        let setup = setup.registry(|registry| registry.delegation("coordinator", "inventory", APPROVAL));
        let coordinator = Coordinator::beside(setup.start().await);
        let route = Route::to("https://inventory.shop.example/".parse().unwrap())
            .audience("inventory")
            .issued_audience("inventory-agent")
            .scope("stock:write".parse().unwrap());
        let builder = Propagator::builder().sts(coordinator.sts("coordinator")).route(route);
        let propagator = builder.clock(Arc::new(coordinator.harness.clock.clone())).build().await.unwrap();
        let buyer = Buyer { verifier: coordinator.verifier.clone(), propagator };
        let handler = DefaultRequestHandler::new(buyer, InMemoryTaskStore::new());
        let place = Place::serve(jsonrpc_router(Arc::new(handler))).await;
        Self { coordinator, place }
    }

    fn page(&self, id: &str) -> String {
        format!("{}/approvals/{id}", self.coordinator.harness.issuer())
    }

    /// The operator grants it, and the agent no longer remembers that it was refused.
    async fn grant(&self, id: &str) {
        let request = self.coordinator.harness.admin("POST", &format!("/approvals/{id}")).by("operator");
        let decided = request.json(&json!({ "decision": "grant" })).send().await;
        assert_eq!(decided.status, 200, "{}", decided.text());
        self.coordinator.harness.advance(5);
    }
}

#[tokio::test]
async fn a_task_that_waits_for_an_approval_says_so_and_its_next_message_resumes_it() {
    let agent = Waiting::start().await;
    let Waiting { coordinator, place } = &agent;
    let interceptor = PropagateInterceptor::new(coordinator.pass_through(place).await, place.url("/"));
    let transport = JsonRpcTransport::new(http_client().unwrap(), place.url("/").to_string());
    let client = A2AClient::new(transport).with_interceptors(vec![Arc::new(interceptor)]);
    let context: CallContext = coordinator.context(json!({})).await;

    let waiting = task(context.clone().scope(client.send_message(&message(None))).await.unwrap());
    assert_eq!(waiting.status.state, TaskState::AuthRequired);
    let approval = required_approval(&waiting.status).unwrap();
    let id = approval.approval_id.clone().unwrap();
    assert_eq!(approval.approver.as_deref(), Some("operator"));
    assert_eq!(approval.interaction_uri.as_ref().unwrap().as_str(), agent.page(&id));
    let text = waiting.status.message.as_ref().unwrap().text().unwrap().to_owned();
    assert!(text.contains(&id), "{text}");

    agent.grant(&id).await;
    let resumed = task(context.scope(client.send_message(&message(Some(waiting.id.clone())))).await.unwrap());
    assert_eq!((&resumed.id, &resumed.status.state), (&waiting.id, &TaskState::Completed));
    assert_eq!(required_approval(&resumed.status), None);
}

#[tokio::test]
async fn the_python_sdk_sees_that_a_task_waits_and_resumes_it() {
    let agent = Waiting::start().await;
    let (url, token) = (agent.place.url("/").to_string(), agent.coordinator.harness.user_token());
    agent.coordinator.harness.seen.remember(&token);
    let waiting = python::run("auth_required.py", &[&url, &token]).await.unwrap();
    assert_eq!(waiting["state"], "TASK_STATE_AUTH_REQUIRED", "{waiting}");
    let approval = &waiting["approvals"][0];
    let id = approval["approvalId"].as_str().unwrap();
    assert_eq!((&approval["type"], &approval["approver"]), (&json!("approval_required"), &json!("operator")));
    assert_eq!(approval["interactionUri"], agent.page(id));
    assert!(waiting["text"].as_str().unwrap().contains(&agent.page(id)), "{waiting}");

    agent.grant(id).await;
    let task = waiting["task"].as_str().unwrap();
    let resumed = python::run("auth_required.py", &[&url, &token, task]).await.unwrap();
    assert_eq!((&resumed["task"], &resumed["state"]), (&waiting["task"], &json!("TASK_STATE_COMPLETED")));
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
