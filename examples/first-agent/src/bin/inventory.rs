//! The agent that the first one calls: it accepts tokens of the STS alone, and says who acts for whom. Argument: its own address.

use axum::{Router, routing::get};
use sts_client::{Caller, Verifier, inbound::Refusal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let verifier = Verifier::from_toml(&std::fs::read_to_string("inventory.toml")?)?.build()?;
    let app = Router::new().route("/stock", get(stock)).layer(verifier.layer());
    let listener = tokio::net::TcpListener::bind(&address).await;
    let listener = listener.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn stock(caller: Caller) -> Result<String, Refusal> {
    caller.require_scope("stock:read")?;
    let tenant = caller.require_tenant()?;
    let actor = caller.actor().map_or("no agent", |actor| actor.sub);
    Ok(format!("{actor} acts for {} of {tenant}: 7 bolts", caller.subject().sub))
}
