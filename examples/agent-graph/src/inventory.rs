//! The inventory: knows what there is to buy, and asks the warehouse's tool how much of it is left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest, ServerResult};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt as _};
use sts_client::inbound::{Issuer, VerifierBuilder};
use sts_client::integrations::rmcp::{McpHttpClient, propagation_error, with_context};
use sts_client::outcome::{Detail, Halted, Outcome, Translator, Validation};
use sts_client::{
    CallContext, Caller, Kind, OnOutage, Propagator, Route, ServiceAccount, Sts, SubjectId, Tenant, Verifier,
    WithoutUser,
};
use url::Url;

use crate::agent::Agent;
use crate::verified;

/// The inventory.
pub struct Inventory {
    http: reqwest::Client,
    propagator: Propagator,
    warehouse: Url,
    sessions: Mutex<Sessions>,
}

/// An MCP session. It ends when nobody has it any more.
type Session = RunningService<RoleClient, ()>;

/// Whose MCP session it is: a conversation of one principal in one tenant. A conversation's name alone proves nothing.
type Owner = (String, Kind, SubjectId, Option<Tenant>);

/// The most sessions that are kept, and the most of one principal: the names of conversations are the callers', who must not push out the
/// sessions of others with them.
const MAX_SESSIONS: usize = 100;
const MAX_OF_ONE: usize = 10;

/// The open sessions, each with the number of its last use.
#[derive(Default)]
struct Sessions {
    open: HashMap<Owner, (u64, Arc<Session>)>,
    uses: u64,
}

impl Sessions {
    /// The session of that owner, if it is open.
    fn get(&mut self, owner: &Owner) -> Option<Arc<Session>> {
        self.uses += 1;
        let (used, session) = self.open.get_mut(owner).filter(|(_, session)| !session.is_transport_closed())?;
        *used = self.uses;
        Some(Arc::clone(session))
    }

    /// Keeps a session, in place of the one that was not used for longest where there are too many: of the same principal, or of all.
    fn keep(&mut self, owner: Owner, session: Arc<Session>) {
        // One that was closed makes room for itself.
        self.open.remove(&owner);
        let of_one = |other: &Owner| (&other.1, &other.2, &other.3) == (&owner.1, &owner.2, &owner.3);
        if self.open.keys().filter(|other| of_one(other)).count() >= MAX_OF_ONE {
            self.close_oldest(of_one);
        }
        if self.open.len() >= MAX_SESSIONS {
            self.close_oldest(|_| true);
        }
        self.uses += 1;
        self.open.insert(owner, (self.uses, session));
    }

    fn close_oldest(&mut self, among: impl Fn(&Owner) -> bool) {
        let among = self.open.iter().filter(|(owner, _)| among(owner));
        if let Some(oldest) = among.min_by_key(|(_, (used, _))| *used).map(|(owner, _)| owner.clone()) {
            self.open.remove(&oldest);
        }
    }
}

/// Whom it believes: the STS alone.
pub fn verifier(sts: &str) -> VerifierBuilder {
    Verifier::builder([Inventory::NAME]).issuer(Issuer::sts(sts))
}

impl Inventory {
    /// Sets it up for a warehouse at that URL.
    pub async fn new(sts: Sts, warehouse: Url) -> anyhow::Result<Arc<Self>> {
        // Reading the stock is harmless enough that the inventory's own account may stand in while the STS is out of reach.
        let route = Route::to(warehouse.clone())
            .audience("warehouse")
            .scope("bin:read".parse()?)
            .on_outage(OnOutage::ServiceAccount)
            .without_user(WithoutUser::ServiceAccount);
        Self::calling(
            Propagator::builder().sts(sts).service_account(ServiceAccount::Sts).route(route).build().await?,
            warehouse,
        )
    }

    /// Sets it up for a warehouse at that URL, with what goes out there told by the propagator.
    pub fn calling(propagator: Propagator, warehouse: Url) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self { http: propagator.http_client()?, propagator, warehouse, sessions: Mutex::default() }))
    }

    /// Calls a tool, in the session of the conversation and with the token of this very request. Its idempotency key is a child of the
    /// request's, and the same when the request is repeated.
    async fn call(
        &self,
        caller: &Caller,
        conversation: &str,
        tool: &'static str,
        product: &str,
    ) -> Result<String, Halted> {
        let session = self.session(caller, conversation).await?;
        let arguments = serde_json::Map::from_iter([("product".to_owned(), product.into())]);
        let call = CallToolRequest::new(CallToolRequestParams::new(tool).with_arguments(arguments));
        let call = ClientRequest::CallToolRequest(with_context(call, CallContext::from(caller)));
        let outcome = match session.send_request(call).await {
            Err(error) => Outcome::Halted(told(&error)),
            Ok(ServerResult::CallToolResult(result)) => match (result.is_error, &result.structured_content) {
                (Some(true), Some(outcome)) => Outcome::Halted(Halted::from_value(outcome)),
                (Some(true), None) => Outcome::Halted(no_answer()),
                (None | Some(false), _) => {
                    let text = result.content.iter().find_map(|content| content.as_text());
                    Outcome::Done(text.map(|text| text.text.clone()).unwrap_or_default())
                }
            },
            Ok(_) => Outcome::Halted(no_answer()),
        };
        match outcome {
            Outcome::Done(text) => Ok(text),
            Outcome::Halted(halted) => Err(Translator::of("warehouse").translate(halted)),
        }
    }

    /// The session of the conversation: the one that is open, or else a new one.
    async fn session(&self, caller: &Caller, conversation: &str) -> Result<Arc<Session>, Halted> {
        let owner = (conversation.to_owned(), caller.kind(), caller.subject().clone(), caller.tenant().cloned());
        if let Some(open) = self.open(&owner, None) {
            return Ok(open);
        }
        let http = McpHttpClient::new(self.http.clone(), self.propagator.clone(), CallContext::from(caller));
        let config = StreamableHttpClientTransportConfig::with_uri(self.warehouse.as_str());
        let session = ().serve(StreamableHttpClientTransport::with_client(http, config)).await;
        let session = Arc::new(session.map_err(|error| told(&error))?);
        Ok(self.open(&owner, Some(&session)).unwrap_or(session))
    }

    /// The session that is open. If none is, `new` is from now on: of two that begin at once, one is kept.
    fn open(&self, owner: &Owner, new: Option<&Arc<Session>>) -> Option<Arc<Session>> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = sessions.get(owner) {
            return Some(open);
        }
        sessions.keep(owner.clone(), Arc::clone(new?));
        None
    }
}

#[async_trait]
impl Agent for Inventory {
    const NAME: &'static str = "inventory";
    const DESCRIPTION: &'static str = "Knows the catalogue and the stock";

    async fn answer(&self, caller: &Caller, conversation: &str, message: &str) -> Result<String, Halted> {
        verified::print(Self::NAME, caller);
        match message.split_once(' ') {
            None if message == "catalogue" => Ok("there is tea".to_owned()),
            Some(("stock", product)) => self.call(caller, conversation, "stock", product).await,
            Some(("reserve", product)) => self.call(caller, conversation, "reserve", product).await,
            _ => Err(Halted::ValidationFailed(Validation {
                detail: Detail::new("NOT_UNDERSTOOD", "ask for: catalogue, stock PRODUCT, or reserve PRODUCT"),
                errors: Vec::new(),
            })),
        }
    }
}

/// Why a call to the warehouse has no answer.
fn told(error: &(dyn std::error::Error + 'static)) -> Halted {
    propagation_error::<reqwest::Client>(error).map_or_else(no_answer, Halted::from)
}

fn no_answer() -> Halted {
    Halted::failed_dependency("NO_ANSWER", "there is no answer", None)
}
