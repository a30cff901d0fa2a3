//! The inventory: knows what there is to buy, and asks the warehouse's tool how much of it is left.

use std::collections::HashMap;
use std::sync::Arc;

use a2a::A2AError;
use async_trait::async_trait;
use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest, ServerResult};
use rmcp::service::{Peer, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt as _};
use sts_client::inbound::Issuer;
use sts_client::integrations::http_client;
use sts_client::integrations::rmcp::{McpHttpClient, propagation_error, with_context};
use sts_client::{
    CallContext, Delegation, Kind, OnOutage, Propagator, Route, ServiceAccount, Sts, SubjectId, Tenant, Verifier,
    WithoutUser,
};
use tokio::sync::Mutex;
use url::Url;

use crate::agent::{Agent, apology};
use crate::verified;

/// The inventory.
pub struct Inventory {
    http: reqwest::Client,
    propagator: Propagator,
    warehouse: Url,
    sessions: Mutex<HashMap<Owner, RunningService<RoleClient, ()>>>,
}

/// Whose MCP session it is: a conversation of one principal in one tenant. A conversation's name alone proves nothing.
type Owner = (String, Kind, SubjectId, Option<Tenant>);

/// How many sessions it keeps; then it begins anew.
const MAX_SESSIONS: usize = 100;

/// Whom it believes: the STS alone.
pub fn verifier(sts: &str) -> anyhow::Result<Verifier> {
    Ok(Verifier::builder([Inventory::NAME]).issuer(Issuer::sts(sts)).build()?)
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
        let propagator =
            Propagator::builder().sts(sts).service_account(ServiceAccount::Sts).route(route).build().await?;
        Ok(Arc::new(Self { http: http_client()?, propagator, warehouse, sessions: Mutex::default() }))
    }

    /// Calls the tool, in the session of the conversation and with the token of this very request.
    async fn stock(&self, caller: &Delegation, conversation: &str, product: &str) -> Result<String, A2AError> {
        let session = self.session(caller, conversation).await?;
        let arguments = serde_json::Map::from_iter([("product".to_owned(), product.into())]);
        let call = CallToolRequest::new(CallToolRequestParams::new("stock").with_arguments(arguments));
        let call = ClientRequest::CallToolRequest(with_context(call, CallContext::from(caller)));
        match session.send_request(call).await.map_err(|error| told(&error))? {
            ServerResult::CallToolResult(result) => {
                let text = result.content.iter().find_map(|content| content.as_text());
                Ok(text.map(|text| text.text.clone()).unwrap_or_default())
            }
            _ => Err(A2AError::internal("the warehouse answered something else")),
        }
    }

    async fn session(&self, caller: &Delegation, conversation: &str) -> Result<Peer<RoleClient>, A2AError> {
        let owner = (conversation.to_owned(), caller.kind(), caller.subject().clone(), caller.tenant().cloned());
        let mut sessions = self.sessions.lock().await;
        if let Some(session) = sessions.get(&owner).filter(|session| !session.is_closed()) {
            return Ok(session.peer().clone());
        }
        if sessions.len() >= MAX_SESSIONS {
            sessions.clear();
        }
        let http = McpHttpClient::new(self.http.clone(), self.propagator.clone(), CallContext::from(caller));
        let config = StreamableHttpClientTransportConfig::with_uri(self.warehouse.as_str());
        let session = ().serve(StreamableHttpClientTransport::with_client(http, config)).await;
        let session = session.map_err(|error| told(&error))?;
        let peer = session.peer().clone();
        sessions.insert(owner, session);
        Ok(peer)
    }
}

#[async_trait]
impl Agent for Inventory {
    const NAME: &'static str = "inventory";
    const DESCRIPTION: &'static str = "Knows the catalogue and the stock";

    async fn answer(&self, caller: &Delegation, conversation: &str, message: &str) -> Result<String, A2AError> {
        verified::print(Self::NAME, caller);
        match message.split_once(' ') {
            None if message == "catalogue" => Ok("there is tea".to_owned()),
            Some(("stock", product)) => self.stock(caller, conversation, product).await,
            _ => Err(A2AError::invalid_params("ask for: catalogue, or: stock PRODUCT")),
        }
    }
}

/// What the caller is told of a call to the warehouse that failed.
fn told(error: &(dyn std::error::Error + 'static)) -> A2AError {
    match propagation_error::<reqwest::Client>(error) {
        Some(error) => apology(error),
        None => A2AError::internal("the warehouse did not answer"),
    }
}
