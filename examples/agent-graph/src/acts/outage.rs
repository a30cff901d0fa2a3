//! The STS is out of reach.

use super::stage::{ANSWER, Stage};
use crate::idp::ALICE;
use crate::{Graph, user};

/// Said by agents while it lasts.
const NOT_NOW: &str = "inventory: no token is available for the call now";

/// The conversation that is under way when the STS stops.
const UNDER_WAY: &str = "conversation-2";

/// By default no token means no call. It leaves the STS stopped, for the next act.
pub(super) async fn fails_closed(graph: &mut Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("the STS stops: the coordinator's route fails closed");
    let before = graph.idp.log_in(ALICE)?;
    let coordinator = graph.coordinator_url.as_str();
    let answer = user::ask(coordinator, &before, UNDER_WAY, "catalogue").await;
    stage.expect("a conversation is under way", answer, Ok("there is tea".to_owned()));
    stage.under_way = Some(before);
    graph.sts.stop().await;
    let sent = graph.wiretap.count("inventory");
    let answer = user::ask(coordinator, &graph.idp.log_in(ALICE)?, "conversation-3", "stock tea").await;
    stage.expect("a call with a new token fails, and may be retried", answer, Err(NOT_NOW.to_owned()));
    stage.expect("nothing went to the inventory", graph.wiretap.count("inventory"), sent);
    Ok(())
}

/// Where the route says so, the agent's own account stands in, for the tenant that was verified. It starts the STS again.
pub(super) async fn service_account_where_allowed(graph: &mut Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("the inventory's route lets its service account stand in");
    let Some(token) = stage.under_way.take() else { anyhow::bail!("no conversation is under way") };
    let answer = user::ask(graph.coordinator_url.as_str(), &token, UNDER_WAY, "stock tea").await;
    stage.expect("alice's conversation goes on, with a token that is cached", answer, Ok(ANSWER.to_owned()));
    let heard = graph.wiretap.last("warehouse")?;
    let claims = heard.claims()?;
    let who = (claims["sub"].as_str(), claims.contains_key("act"));
    stage.expect("the warehouse sees a service account and no user", who, (Some("inventory"), false));
    stage.expect("X-Tenant-ID: acme", heard.tenant.as_deref(), Some("acme"));
    stage.expect("X-Delegation-Fallback: service-account", heard.fallback.as_deref(), Some("service-account"));
    Ok(())
}
