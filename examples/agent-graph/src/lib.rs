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

pub use acts::Print;
pub use graph::Graph;

use acts::Stage;

/// Prints the tables of the first call, and then each act; whether all went as expected.
pub async fn play(graph: &mut Graph, print: Print) -> anyhow::Result<bool> {
    let mut stage = Stage::printing(print);
    acts::play_first(graph, &mut stage).await?;
    table::print(graph, &stage).await?;
    println!("\nThe acts: what is tried, and whether all came as it should. -v shows each check.\n");
    acts::play_others(graph, &mut stage).await?;
    let is_as_expected = stage.curtain();
    table::print_keys(&stage);
    Ok(is_as_expected)
}
