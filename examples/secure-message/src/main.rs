//! Plays the suites, prints the measures, and ends with 0 only if all went as told.

use std::process::ExitCode;

use clap::Parser;
use secure_message::Print;

/// Sealed messages between two agents: the happy paths, every refusal, and the measures.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print the table of measures alone.
    #[arg(long)]
    measures: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let print = if Arguments::parse().measures { Print::Measures } else { Print::All };
    let all_as_told = secure_message::play(print).await?;
    Ok(if all_as_told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
