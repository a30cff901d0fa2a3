//! What both A2A agents have in common: a card, an HTTP server that lets only verified callers in, and an executor that knows who calls.

use std::sync::Arc;

use a2a::{
    A2AError, AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Message, Part, PartContent, Role,
    StreamResponse, TRANSPORT_PROTOCOL_JSONRPC,
};
use a2a_server::agent_card::agent_card_router;
use a2a_server::jsonrpc::jsonrpc_router;
use a2a_server::{AgentExecutor, DefaultRequestHandler, ExecutorContext, InMemoryTaskStore, StaticAgentCard};
use async_trait::async_trait;
use axum::Router;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use sts_client::integrations::a2a::verify;
use sts_client::outcome::{Halted, Outcome, Trace};
use sts_client::{CallContext, Caller, Verifier};

/// What an agent does.
#[async_trait]
pub trait Agent: Send + Sync + 'static {
    /// Its name, and the first of its audiences.
    const NAME: &'static str;
    /// What it is for.
    const DESCRIPTION: &'static str;

    /// Answers a message. It runs in the context of its caller, so that what it calls is called on the caller's behalf.
    async fn answer(&self, caller: &Caller, conversation: &str, message: &str) -> Result<String, Halted>;
}

/// The agent's HTTP server: its card for everybody, all else for callers that the verifier lets in.
pub fn router<A: Agent>(agent: Arc<A>, verifier: &Verifier, url: &str) -> Router {
    let executor = Executor { agent, verifier: verifier.clone() };
    let handler = DefaultRequestHandler::new(executor, InMemoryTaskStore::new());
    let card = agent_card_router(Arc::new(StaticAgentCard::new(card::<A>(url))));
    jsonrpc_router(Arc::new(handler)).layer(verifier.layer()).merge(card)
}

/// Runs an agent for the A2A server, which spawns a task for it. What the HTTP layer verified does not reach that task; the headers do.
struct Executor<A> {
    agent: Arc<A>,
    verifier: Verifier,
}

impl<A: Agent> AgentExecutor for Executor<A> {
    fn execute(&self, request: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        let (agent, verifier) = (Arc::clone(&self.agent), self.verifier.clone());
        stream::once(async move {
            let caller = verify(&verifier, &request.service_params)
                .await
                .map_err(|refusal| A2AError::invalid_request(refusal.to_string()))?;
            let message = request.message.as_ref().and_then(Message::text).unwrap_or_default();
            let answer = agent.answer(&caller, &request.context_id, message);
            let part = match CallContext::from(&caller).scope(answer).await {
                Ok(answer) => Part::text(answer),
                Err(halted) => Part::data(halted.answer(&Trace::from(&caller)).to_value()),
            };
            let mut message = Message::new(Role::Agent, vec![part]);
            message.context_id = Some(request.context_id);
            Ok(StreamResponse::Message(message))
        })
        .boxed()
    }

    fn cancel(&self, _request: ExecutorContext) -> BoxStream<'static, Result<StreamResponse, A2AError>> {
        stream::once(async { Err(A2AError::unsupported_operation("answers come at once")) }).boxed()
    }
}

/// What an agent answered: a text, or as data the outcome that says why there is none.
pub fn outcome(message: &Message) -> Outcome<String> {
    let data = message.parts.iter().find_map(|part| match &part.content {
        PartContent::Data(data) => Some(data),
        _ => None,
    });
    match data {
        Some(outcome) => Outcome::Halted(Halted::from_value(outcome)),
        None => Outcome::Done(message.text().unwrap_or_default().to_owned()),
    }
}

fn card<A: Agent>(url: &str) -> AgentCard {
    AgentCard {
        name: A::NAME.to_owned(),
        description: A::DESCRIPTION.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        supported_interfaces: vec![AgentInterface::new(url, TRANSPORT_PROTOCOL_JSONRPC)],
        capabilities: AgentCapabilities::default(),
        default_input_modes: vec!["text/plain".to_owned()],
        default_output_modes: vec!["text/plain".to_owned()],
        skills: vec![AgentSkill {
            id: A::NAME.to_owned(),
            name: A::NAME.to_owned(),
            description: A::DESCRIPTION.to_owned(),
            tags: Vec::new(),
            examples: None,
            input_modes: None,
            output_modes: None,
            security_requirements: None,
        }],
        provider: None,
        documentation_url: None,
        icon_url: None,
        security_schemes: None,
        security_requirements: None,
        signatures: None,
    }
}
