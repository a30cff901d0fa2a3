//! A graph of real agents through agent-sts: users → coordinator → (A2A) → inventory → (MCP) → warehouse.
//!
//! To copy from: [`coordinator`], [`inventory`] and [`warehouse`], each whole on a screen or two, and [`agent`], which the two A2A agents
//! share. Everything else is the stage: the STS and the users' IdP, a [`wiretap`], and the [`acts`].

pub mod acts;
pub mod agent;
pub mod alone;
pub mod coordinator;
mod graph;
pub mod idp;
pub mod inventory;
pub mod process;
pub mod sts;
mod table;
pub mod user;
mod verified;
pub mod warehouse;
pub mod wiretap;

pub use graph::Graph;

/// Plays every act and prints the tables; whether each went as told.
pub async fn play(graph: &mut Graph) -> anyhow::Result<bool> {
    let mut stage = acts::Stage::default();
    acts::play(graph, &mut stage).await?;
    table::print(graph, &stage).await?;
    Ok(stage.curtain())
}
