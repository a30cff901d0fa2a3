//! The `sts-server` command.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use mimalloc::MiMalloc;
use sts_jose::{SystemClock, SystemEntropy};
use sts_server::cli::{self, Cli, Output};
use sts_server::server::Surroundings;
use sts_server::telemetry;

/// The allocator. A request makes many small allocations and frees some of them on other threads;
/// `docs/performance.md` has the measurements.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The exit code of a command that could not do its work; 1 means that a check found a fault.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            // No output is left if standard error is closed too.
            let _ = writeln!(std::io::stderr(), "{}", cli::printable(&format!("error: {error:#}")));
            ExitCode::from(FAILED)
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    telemetry::start_logs();
    let surroundings = Surroundings { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) };
    let mut out = Output::standard(&cli.options);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    Ok(runtime.block_on(cli::run(cli, surroundings, &mut out))?)
}
