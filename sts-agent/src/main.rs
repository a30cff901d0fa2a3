//! The `sts-agent` command.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use mimalloc::MiMalloc;
use sts_agent::command::{self, Command};
use sts_agent::server::Surroundings;
use sts_jose::{SystemClock, SystemEntropy, error_chain};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let command = Command::parse();
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let outcome = tokio::runtime::Builder::new_multi_thread().enable_all().build().map(|runtime| {
        let surroundings = Surroundings { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) };
        runtime.block_on(command::run(command, surroundings))
    });
    let message = match outcome {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error_chain(&error),
        Err(error) => error_chain(&error),
    };
    // No output is left if standard error is closed too.
    let _ = writeln!(std::io::stderr(), "error: {message}");
    ExitCode::FAILURE
}
