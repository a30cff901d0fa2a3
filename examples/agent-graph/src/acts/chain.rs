//! The chain works: on the first call, and when the user comes back with a newer token.

use super::stage::{ANSWER, CONVERSATION, Stage};
use crate::idp::ALICE;
use crate::wiretap::Heard;
use crate::{Graph, user};

/// Alice asks for the first time.
pub(super) async fn first_call(graph: &Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("alice asks her coordinator, which asks inventory and warehouse");
    call(graph, stage).await?;
    stage.first_call = heard(graph)?;
    let txns = txns(&stage.first_call[1..])?;
    stage.expect("both hops are one transaction", &txns[0], &txns[1]);
    Ok(())
}

/// Alice asks again: the same A2A context and the same MCP session, and a newer token.
pub(super) async fn resumed_call(graph: &Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("alice resumes the conversation with a newer token");
    call(graph, stage).await?;
    let now = heard(graph)?;
    let warehouse = [&stage.first_call[2], &now[2]];
    let sessions = warehouse.map(|heard| heard.mcp_session.clone());
    let is_session = sessions[0].is_some();
    stage.expect("it is the same MCP session", (is_session, &sessions[0]), (true, &sessions[1]));
    let is_new = [0, 1, 2].map(|index| stage.first_call[index].token != now[index].token);
    stage.expect("and no token of the first call was used again", is_new, [true; 3]);
    let is_newer = txns(&now[1..])? != txns(&stage.first_call[1..])?;
    stage.expect("the tokens come from the newer one: another transaction", is_newer, true);
    Ok(())
}

async fn call(graph: &Graph, stage: &mut Stage) -> anyhow::Result<()> {
    let token = graph.idp.log_in(ALICE)?;
    let answer = user::ask(graph.coordinator_url.as_str(), &token, CONVERSATION, "stock tea").await;
    stage.expect("alice has her answer", answer, Ok(ANSWER.to_owned()));
    let claims = graph.wiretap.last("warehouse")?.claims()?;
    stage.expect("the warehouse sees alice", &claims["sub"], "alice");
    let act = &claims["act"];
    let chain = (act["sub"].as_str(), act["act"]["sub"].as_str());
    stage.expect(
        "the inventory as the actor, and the coordinator before it",
        chain,
        (Some("inventory"), Some("coordinator")),
    );
    let rest = (claims["scope"].as_str(), claims["tenant_id"].as_str());
    stage.expect("and no more scope than it needs", rest, (Some("bin:read"), Some("acme")));
    Ok(())
}

fn heard(graph: &Graph) -> anyhow::Result<Vec<Heard>> {
    ["coordinator", "inventory", "warehouse"].into_iter().map(|agent| graph.wiretap.last(agent)).collect()
}

fn txns(heard: &[Heard]) -> anyhow::Result<Vec<String>> {
    let txn = |heard: &Heard| Ok(heard.claims()?["txn"].as_str().unwrap_or_default().to_owned());
    heard.iter().map(txn).collect()
}
