//! Plays the suites, prints the measures, and ends with 0 only if all went as expected.

use std::process::ExitCode;

use clap::Parser;
use secure_message::Print;

/// Sealed messages between two agents: the happy paths, every refusal, and the measures.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print the table of measures alone.
    #[arg(long)]
    measures: bool,
    /// Show every case.
    #[arg(short, long, conflicts_with = "measures")]
    verbose: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let print = match Arguments::parse() {
        Arguments { measures: true, .. } => Print::Measures,
        Arguments { verbose: true, .. } => Print::Details,
        Arguments { .. } => Print::Verdicts,
    };
    let is_as_expected = secure_message::play(print).await?;
    Ok(if is_as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
