//! The user's token is revoked, and with it everything that came of it.

use std::time::Duration;

use http::StatusCode;
use sts_client::{CorrelationId, Sts, SystemEntropy};

use super::captured::present;
use super::stage::{ANSWER, Stage};
use crate::coordinator::Coordinator;
use crate::idp::ALICE;
use crate::inventory::Inventory;
use crate::process::{self, listen};
use crate::{Graph, agent, coordinator, inventory, user, warehouse};

/// How often, and how many times, it is asked whether the revocation holds: a server follows its database within a second.
const ASK_EVERY: Duration = Duration::from_millis(50);
const ASK_AT_MOST: usize = 60;

/// Whoever asks the STS hears of it at once. Who does not believes a token until it dies, and gets no other in its place.
pub(super) async fn whole_chain_dead(graph: &mut Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("alice's token is revoked, and with it every token of the chain");
    let root = graph.idp.log_in(ALICE)?;
    let answer = user::ask(graph.coordinator_url.as_str(), &root, "conversation-6", "stock tea").await;
    stage.expect("before, alice has her answer", answer, Ok(ANSWER.to_owned()));
    let tokens = [graph.wiretap.last("inventory")?.token, graph.wiretap.last("warehouse")?.token];
    let strict = warehouse::verifier(graph.sts.issuer())?.introspect(graph.sts.client("warehouse")?).build()?;
    let (strict_url, _strict) = process::start(warehouse::router(&strict), "/mcp").await?;
    let is_let_in = present(&tokens[1], &strict_url).await?.0 != StatusCode::UNAUTHORIZED;
    stage.expect("a warehouse that introspects lets its token in", is_let_in, true);

    graph.sts.revoke(&graph.idp.issuer, &root.jti).await?;

    let asking = &graph.clients[1];
    stage.expect("introspection: the inventory's token is inactive", is_dead(asking, &tokens[0]).await?, true);
    stage.expect("introspection: the warehouse's token is inactive", is_dead(asking, &tokens[1]).await?, true);
    let refused = (StatusCode::UNAUTHORIZED, r#"Bearer error="invalid_token""#.to_owned());
    stage.expect(
        "the warehouse that introspects: 401, invalid_token",
        present(&tokens[1], &strict_url).await?,
        refused,
    );

    // Replicas, so that no cache of an earlier call helps.
    let (listener, url) = listen("/").await?;
    let replica = Inventory::new(graph.sts.client("inventory")?, graph.warehouse_url.clone()).await?;
    let verifier = inventory::verifier(graph.sts.issuer()).build()?;
    let _inventory = process::serve(listener, agent::router(replica, &verifier, url.as_str()));
    let sent = graph.wiretap.count("warehouse");
    let stolen = crate::idp::UserToken { token: tokens[0].clone(), jti: String::new() };
    let answer = user::ask(url.as_str(), &stolen, "conversation-7", "stock tea").await;
    stage.expect("the inventory's token gets no token for the warehouse", answer, not_allowed());
    stage.expect("nothing went to the warehouse", graph.wiretap.count("warehouse"), sent);

    let (listener, url) = listen("/").await?;
    let replica = Coordinator::new(graph.sts.client("coordinator")?, graph.inventory_url.clone()).await?;
    let verifier = coordinator::verifier(&graph.idp.issuer)?;
    let _coordinator = process::serve(listener, agent::router(replica, &verifier, url.as_str()));
    let sent = graph.wiretap.count("inventory");
    let answer = user::ask(url.as_str(), &root, "conversation-8", "stock tea").await;
    stage.expect("alice's own gets none for the inventory", answer, not_allowed());
    stage.expect("nothing went to the inventory", graph.wiretap.count("inventory"), sent);
    Ok(())
}

fn not_allowed() -> Result<String, String> {
    Err("the call is not allowed: invalid_request".to_owned())
}

/// Whether the STS says so, within the time that it has.
async fn is_dead(sts: &Sts, token: &str) -> anyhow::Result<bool> {
    let correlation_id = CorrelationId::random(&SystemEntropy);
    for _ in 0..ASK_AT_MOST {
        if !sts.is_active(token, &correlation_id).await? {
            return Ok(true);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(false)
}
