//! The STS says no.

use std::time::Duration;

use anyhow::ensure;
use sts_client::CorrelationId;
use sts_client::SystemEntropy;

use super::stage::{ANSWER, Stage};
use crate::idp::{ALICE, BOB};
use crate::{Graph, user};

/// How often, and how many times, it is asked whether the agents have noticed that the STS is back.
const ASK_EVERY: Duration = Duration::from_millis(100);
const ASK_AT_MOST: usize = 300;

/// On the route whose outages the service account covers, a refusal is a refusal: the account could do what bob may not.
pub(super) async fn does_not_fall_back(graph: &mut Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("the STS is back: a refusal does not fall back");
    graph.sts.start_again().await?;
    until_noticed(graph).await?;
    let coordinator = graph.coordinator_url.as_str();
    let answer = user::ask(coordinator, &graph.idp.log_in(ALICE)?, "conversation-4", "stock tea").await;
    stage.expect("alice is served as before", answer, Ok(ANSWER.to_owned()));
    let heard = graph.wiretap.last("warehouse")?;
    stage.expect("in her own name", &heard.claims()?["sub"], "alice");

    let sent = graph.wiretap.count("warehouse");
    let bob = graph.idp.log_in(BOB)?;
    let answer = user::ask(coordinator, &bob, "conversation-5", "catalogue").await;
    stage.expect("bob may see the catalogue", answer, Ok("there is tea".to_owned()));
    let answer = user::ask(coordinator, &bob, "conversation-5", "stock tea").await;
    stage.expect("and not the stock", answer, Err("the call is not allowed: invalid_scope".to_owned()));
    stage.expect("nothing went to the warehouse", graph.wiretap.count("warehouse"), sent);
    Ok(())
}

/// After an outage an agent does not ask the STS again at once. Waits until both have found it.
async fn until_noticed(graph: &Graph) -> anyhow::Result<()> {
    let correlation_id = CorrelationId::random(&SystemEntropy);
    for sts in &graph.clients {
        let mut asked = 0;
        while sts.is_active("is anybody there", &correlation_id).await.is_err() {
            asked += 1;
            ensure!(asked < ASK_AT_MOST, "the {} does not notice that the STS is back", sts.client_id());
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
    Ok(())
}
