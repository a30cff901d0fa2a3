//! Work that no user asked for.

use sts_client::Tenant;

use super::stage::{ANSWER, Stage};
use crate::Graph;

/// Both hops are made by service accounts, each for the tenant that it says and may speak for.
pub(super) async fn without_a_user(graph: &Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("the coordinator's nightly run, without a user, over both hops");
    let answer =
        graph.coordinator.nightly(Tenant::new("acme")?).await.map_err(|halted| halted.detail().message.clone());
    stage.expect("it has its answer", answer, Ok(ANSWER.to_owned()));
    for (agent, caller) in [("inventory", "coordinator"), ("warehouse", "inventory")] {
        let heard = graph.wiretap.last(agent)?;
        let claims = heard.claims()?;
        let who = (claims["sub"].as_str(), claims.contains_key("act"));
        stage.expect(&format!("the {agent} sees the {caller}'s service account"), who, (Some(caller), false));
        let headers = (heard.tenant.as_deref(), heard.fallback.as_deref());
        stage.expect("X-Tenant-ID: acme, and no X-Delegation-Fallback", headers, (Some("acme"), None));
    }
    let sent = graph.wiretap.count("inventory");
    let answer =
        graph.coordinator.nightly(Tenant::new("globex")?).await.map_err(|halted| halted.detail().message.clone());
    stage.expect("for another tenant it may not", answer, Err("the call is not allowed: invalid_tenant".to_owned()));
    stage.expect("nothing went to the inventory", graph.wiretap.count("inventory"), sent);
    Ok(())
}
