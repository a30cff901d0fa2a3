//! An agent that verifies who calls, and exchanges the caller's token for every call that it makes itself.

use axum::{Router, extract::State, routing::get};
use reqwest_middleware::ClientWithMiddleware;
use sts_client::{Delegation, Propagator, Verifier, inbound::Refusal, integrations};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = std::fs::read_to_string("agent.toml")?;
    let verifier = Verifier::from_toml(&config)?.build()?;
    let propagator = Propagator::from_toml(&config)?.build().await?;
    let app = Router::new()
        .route("/stock", get(stock))
        .with_state(integrations::reqwest::client(propagator)?)
        .layer(verifier.layer())
        .merge(integrations::axum::resource_metadata(&verifier));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:9000").await?;
    Ok(axum::serve(listener, app).await?)
}

async fn stock(caller: Delegation, State(http): State<ClientWithMiddleware>) -> Result<String, Refusal> {
    caller.require_scope("stock:read")?;
    let answer = http.get("https://inventory.shop.example/stock").send().await;
    Ok(format!("{} asked: {answer:?}", caller.subject().sub))
}
