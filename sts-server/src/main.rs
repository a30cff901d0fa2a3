//! The `sts-server` command.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use mimalloc::MiMalloc;
use sts_jose::{SystemClock, SystemEntropy, error_chain};
use sts_server::cli::{self, Cli, CliError, Output};
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
        // The reader of a stream has closed it, as `head` does.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // No output is left if standard error is closed too.
            let message = format!("error: {}", error_chain(&error));
            let _ = writeln!(std::io::stderr(), "{}", cli::printable(&message));
            ExitCode::from(FAILED)
        }
    }
}

fn run() -> Result<ExitCode, CliError> {
    let cli = Cli::read();
    telemetry::start_logs();
    let surroundings = Surroundings { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) };
    let mut out = Output::standard(&cli.options);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)?;
    runtime.block_on(cli::run(cli, surroundings, &mut out))
}
