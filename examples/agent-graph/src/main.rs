//! Starts the graph of agents and plays the acts; or one part of the graph alone.

use std::process::ExitCode;

use agent_graph::alone::{self, Part};
use agent_graph::{Graph, Print};
use clap::Parser;

/// Real agents, a real STS, and what happens to a user's token on its way.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// End after the acts: with 0 only if each went as expected.
    #[arg(long)]
    once: bool,
    /// Show what each agent verified, and each check.
    #[arg(short, long)]
    verbose: bool,
    /// Run one part alone, instead of all and the acts.
    #[command(subcommand)]
    part: Option<Part>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(part) = arguments.part {
        alone::run(part).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut graph = Graph::start().await?;
    let print = if arguments.verbose { Print::Details } else { Print::Verdicts };
    let is_as_expected = agent_graph::play(&mut graph, print).await?;
    if !arguments.once {
        graph.serve_until_told().await?;
    }
    graph.stop().await;
    Ok(if is_as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
