//! The acts: each does one thing to the graph and says what must come of it.

mod bound;
mod captured;
mod chain;
mod nightly;
mod once;
mod outage;
mod refusal;
mod revoked;
mod stage;

pub use stage::{Print, Stage};

use crate::Graph;

/// Plays the first act, which the table shows.
pub async fn play_first(graph: &Graph, stage: &mut Stage) -> anyhow::Result<()> {
    chain::first_call(graph, stage).await
}

/// Plays the other acts, in their order: an act may build on those before.
pub async fn play_others(graph: &mut Graph, stage: &mut Stage) -> anyhow::Result<()> {
    chain::resumed_call(graph, stage).await?;
    captured::refused_elsewhere(graph, stage).await?;
    outage::fails_closed(graph, stage).await?;
    outage::service_account_where_allowed(graph, stage).await?;
    refusal::does_not_fall_back(graph, stage).await?;
    revoked::whole_chain_dead(graph, stage).await?;
    nightly::without_a_user(graph, stage).await?;
    once::reserved_once(graph, stage).await?;
    bound::useless_without_its_key(graph, stage).await
}
