//! An agent that verifies who calls, and exchanges the caller's token for the call that it makes itself.
//! Arguments: its own address, and the URL that it calls.

use axum::{Router, extract::State, routing::get};
use reqwest_middleware::ClientWithMiddleware;
use sts_client::outcome::{Answer, Trace, Translator};
use sts_client::{Caller, Propagator, Verifier, integrations};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let inventory = arguments.next().unwrap_or_else(|| "http://127.0.0.1:9001/stock".to_owned());

    let config = std::fs::read_to_string("agent.toml")?;
    let verifier = Verifier::from_toml(&config)?.build()?;
    let propagator = Propagator::from_toml(&config)?.build().await?;
    let http = integrations::reqwest::client(propagator)?;
    let app = Router::new().route("/stock", get(stock)).with_state((http, inventory)).layer(verifier.layer());
    let listener = tokio::net::TcpListener::bind(&address).await;
    let listener = listener.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

type Inventory = (ClientWithMiddleware, String);

async fn stock(caller: Caller, State((http, url)): State<Inventory>) -> Result<String, Answer> {
    let outcome = integrations::reqwest::outcome(http.get(url).send().await, 64 * 1024).await;
    let stock = outcome.settle(&Translator::of("inventory"), &Trace::from(&caller))?;
    Ok(format!("{} asked, {}", caller.subject().sub, String::from_utf8_lossy(&stock.body)))
}
