//! The warehouse: an MCP tool server. It calls nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use http::request::Parts;
use rmcp::handler::server::common::Extension;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, ContentBlock, ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, schemars, tool, tool_handler, tool_router};
use serde::Deserialize;
use sts_client::dedup::{MemoryDedupStore, MemoryLimits};
use sts_client::idempotency::{Fingerprint, Idempotency, Ran, Repeatable, Work};
use sts_client::inbound::{Issuer, VerifierBuilder};
use sts_client::outcome::{Halted, Outcome, Trace};
use sts_client::{Caller, ScopeToken, SystemClock, Tenant, Verifier, X_DELEGATION_FALLBACK};

use crate::verified;

/// Its name, and its audience.
pub const NAME: &str = "warehouse";

/// The tool server.
#[derive(Clone)]
pub struct Warehouse {
    tool_router: ToolRouter<Self>,
    shelves: Arc<Shelves>,
    idempotency: Idempotency,
}

/// What the tool is asked.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
pub struct Stock {
    /// The product.
    product: String,
}

/// Whom it believes: the STS alone, and only tokens that allow to read bins.
pub fn verifier(sts: &str) -> anyhow::Result<VerifierBuilder> {
    Ok(Verifier::builder([NAME]).issuer(Issuer::sts(sts)).require_scope(ScopeToken::new("bin:read")?))
}

/// Its HTTP server on this machine: MCP at `/mcp`, for callers that the verifier lets in.
pub fn router(verifier: &Verifier) -> Router {
    serving(verifier, StreamableHttpServerConfig::default())
}

/// The same, by the name of a host.
pub fn router_of(verifier: &Verifier, host: &str) -> Router {
    serving(verifier, StreamableHttpServerConfig::default().with_allowed_hosts([host]))
}

fn serving(verifier: &Verifier, config: StreamableHttpServerConfig) -> Router {
    // One store for all sessions: a repetition may come in another one. A warehouse of several processes takes a database.
    let store = MemoryDedupStore::new(Arc::new(SystemClock), MemoryLimits::default());
    let idempotency = Idempotency::new(Arc::new(store));
    let shelves = Arc::<Shelves>::default();
    let tools = move || {
        let (shelves, idempotency) = (Arc::clone(&shelves), idempotency.clone());
        Ok(Warehouse { tool_router: Warehouse::tool_router(), shelves, idempotency })
    };
    let mcp = StreamableHttpService::new(tools, Arc::<LocalSessionManager>::default(), config);
    Router::new().nest_service("/mcp", mcp).layer(verifier.layer())
}

#[tool_router]
impl Warehouse {
    /// The layer's verdict on this very request comes with the request's parts.
    #[tool(description = "How much of a product is left")]
    async fn stock(
        &self,
        Parameters(Stock { product }): Parameters<Stock>,
        Extension(request): Extension<Parts>,
    ) -> Result<String, ErrorData> {
        let caller = caller(&request)?;
        let left = self.shelves.left(caller, &product);
        Ok(format!("{left} packets of {product}"))
    }

    /// Reserves once for each idempotency key, whatever the session, and says the same again.
    #[tool(description = "Reserves a packet of a product")]
    async fn reserve(
        &self,
        Parameters(Stock { product }): Parameters<Stock>,
        Extension(request): Extension<Parts>,
    ) -> Result<CallToolResult, ErrorData> {
        let caller = caller(&request)?;
        let Some(key) = caller.idempotency_key() else {
            return Err(ErrorData::invalid_params("an idempotency key is required", None));
        };
        let fingerprint = Fingerprint::of([&product]);
        let repeatable = Repeatable { caller, route: "reserve", key, fingerprint };
        let (shelves, whose) = (Arc::clone(&self.shelves), caller.clone());
        let reserve = move |_attempt| async move {
            let left = shelves.reserve(&whose, &product);
            Work::Final(
                left.map(|left| format!("reserved, {left} packets of {product} left")).unwrap_or_default().into_bytes(),
            )
        };
        let outcome = match self.idempotency.run(repeatable, reserve).await {
            Ok(Ran { outcome, .. }) if outcome.is_empty() => {
                Outcome::Halted(Halted::conflict("OUT_OF_STOCK", "none is left", None))
            }
            Ok(Ran { outcome, .. }) => Outcome::Done(String::from_utf8_lossy(&outcome).into_owned()),
            Err(not_run) => Outcome::Halted(Halted::from(not_run)),
        };
        Ok(match outcome {
            Outcome::Done(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Outcome::Halted(halted) => CallToolResult::structured_error(halted.answer(&Trace::from(caller)).to_value()),
        })
    }
}

/// Who calls, as the layer has verified; it is printed.
fn caller(request: &Parts) -> Result<&Caller, ErrorData> {
    let caller: &Caller = request
        .extensions
        .get()
        .ok_or_else(|| ErrorData::internal_error("no verifier stands before this tool", None))?;
    match request.headers.get(X_DELEGATION_FALLBACK) {
        None => verified::print(NAME, caller),
        Some(_) => verified::print_fallback(NAME, caller),
    }
    Ok(caller)
}

/// What is reserved, by tenant and product.
#[derive(Default)]
struct Shelves(Mutex<HashMap<(Option<Tenant>, String), u32>>);

impl Shelves {
    fn left(&self, caller: &Caller, product: &str) -> u32 {
        let key = (caller.tenant().cloned(), product.to_owned());
        let reserved = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied().unwrap_or(0);
        Self::stored(&key).saturating_sub(reserved)
    }

    /// Takes one, and says how many are left; `None` where none is.
    fn reserve(&self, caller: &Caller, product: &str) -> Option<u32> {
        let key = (caller.tenant().cloned(), product.to_owned());
        let stored = Self::stored(&key);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved = all.entry(key).or_default();
        let left = stored.checked_sub(*reserved + 1)?;
        *reserved += 1;
        Some(left)
    }

    fn stored((tenant, product): &(Option<Tenant>, String)) -> u32 {
        match (tenant.as_ref().map(Tenant::as_str), product.as_str()) {
            (Some("acme"), "saffron") => 0,
            (Some("acme"), _) => 42,
            _ => 0,
        }
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Warehouse {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}
