//! The other endpoints: introspection, `client_credentials` and the key set.

use bytes::Bytes;
use serde_json::Value;
use sts_jose::Algorithm;

use super::exchange::{Subjects, forms};
use crate::arguments::Plan;
use crate::load::{Endpoint, Load};
use crate::process;
use crate::server::{Server, audience};
use crate::statistics::Rounds;

/// One endpoint, measured.
#[derive(Debug, Clone)]
pub struct Requests {
    /// What was asked for.
    pub name: &'static str,
    /// CPU time of the server per request, in microseconds.
    pub cpu_us: Rounds,
    /// Requests per second, in a closed loop.
    pub per_second: Rounds,
}

/// Measures introspection of one token over and over, tokens of a service account, and the key set.
///
/// # Errors
/// An answer that is not 200.
pub async fn measure(plan: &Plan, server: &Server) -> anyhow::Result<Vec<Requests>> {
    let token = server.post("/oauth2/token");
    let exchanged =
        Load::connect(&token, 1).await?.one(forms(server, Algorithm::Es256, Subjects::Once, 1).remove(0)).await?;
    let exchanged: Value = serde_json::from_slice(&exchanged)?;
    let exchanged = exchanged["access_token"].as_str().unwrap_or_default();
    let own = format!("grant_type=client_credentials&audience={}", audience(Algorithm::Es256));
    Ok(vec![
        repeat(plan, server, "introspection", (server.post("/oauth2/introspect"), format!("token={exchanged}")))
            .await?,
        repeat(plan, server, "client_credentials", (token, own)).await?,
        repeat(plan, server, "key set", (server.get("/oauth2/jwks"), String::new())).await?,
    ])
}

async fn repeat(
    plan: &Plan,
    server: &Server,
    name: &'static str,
    (endpoint, body): (Endpoint, String),
) -> anyhow::Result<Requests> {
    let mut load = Load::connect(&endpoint, plan.connections).await?;
    let bodies = vec![Bytes::from(body); plan.requests];
    load.run(bodies.clone()).await?;
    let mut measured = Requests { name, cpu_us: Rounds::default(), per_second: Rounds::default() };
    for _ in 0..plan.rounds {
        let before = process::cpu_time(server.pid())?;
        let outcome = load.run(bodies.clone()).await?;
        let cpu = process::cpu_time(server.pid())? - before;
        measured.cpu_us.push(cpu.as_secs_f64() * 1e6 / bodies.len() as f64);
        measured.per_second.push(bodies.len() as f64 / outcome.elapsed.as_secs_f64());
    }
    Ok(measured)
}
