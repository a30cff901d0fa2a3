//! The `sts-agent` command.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use mimalloc::MiMalloc;
use sts_agent::command::{self, Command};
use sts_agent::server::Surroundings;
use sts_agent::traces::Traces;
use sts_jose::{SystemClock, SystemEntropy, error_chain};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let message = match run(Command::parse()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => error_chain(error.as_ref()),
    };
    // No output is left if standard error is closed too.
    let _ = writeln!(std::io::stderr(), "error: {message}");
    ExitCode::FAILURE
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let surroundings = Surroundings { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) };
    let started = {
        let _within = runtime.enter();
        command.otlp_endpoint().map(|endpoint| Traces::start(endpoint, Arc::clone(&surroundings.entropy))).transpose()
    };
    let traces = started?;
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr).with_filter(filter);
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("sts_"));
    let spans = traces.as_ref().map(|traces| traces.layer().with_filter(ours));
    tracing_subscriber::registry().with(log).with(spans).init();
    let outcome = runtime.block_on(command::run(command, surroundings));
    if let Some(traces) = traces {
        traces.stop();
    }
    Ok(outcome?)
}
