//! The warehouse: an MCP tool server. It calls nobody.

use std::sync::Arc;

use axum::Router;
use http::request::Parts;
use rmcp::handler::server::common::Extension;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler, schemars, tool, tool_handler, tool_router};
use serde::Deserialize;
use sts_client::inbound::{Issuer, VerifierBuilder};
use sts_client::{Delegation, ScopeToken, Verifier, X_DELEGATION_FALLBACK};

use crate::verified;

/// Its name, and its audience.
pub const NAME: &str = "warehouse";

/// The tool server.
#[derive(Clone)]
pub struct Warehouse {
    tool_router: ToolRouter<Self>,
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
    let tools = || Ok(Warehouse { tool_router: Warehouse::tool_router() });
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
        let caller: &Delegation = request
            .extensions
            .get()
            .ok_or_else(|| ErrorData::internal_error("no verifier stands before this tool", None))?;
        match request.headers.get(X_DELEGATION_FALLBACK) {
            None => verified::print(NAME, caller),
            Some(instead) => verified::print_fallback(NAME, caller, instead),
        }
        let bins = match caller.tenant().map(|tenant| tenant.as_str()) {
            Some("acme") => 42,
            _ => 0,
        };
        Ok(format!("{bins} packets of {product}"))
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Warehouse {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }
}
