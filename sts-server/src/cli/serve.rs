//! `serve`: runs the service.

use std::process::ExitCode;
use std::time::Duration;

use super::CliError;
use super::arguments::Options;
use super::output::{Output, configuration, explain_start};
use crate::config;
use crate::server::{Server, Surroundings};

pub(super) async fn run(options: &Options, surroundings: Surroundings, out: &mut Output) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    for exposed in config::exposed_files(&config) {
        tracing::warn!("{exposed}");
    }
    let mut signals = Signals::listen()?;
    let started = tokio::select! {
        started = Server::start(&config, surroundings) => started,
        told = signals.next() => return told.map(|_| ExitCode::SUCCESS),
    };
    let mut server = started.map_err(|error| explain_start(error, out))?;
    tracing::info!(issuer = config.issuer, public = %server.public(), admin = %server.admin(), "serving");
    let first = tokio::select! {
        told = signals.next() => told?,
        () = server.failed() => return Err(CliError::PartEnded),
    };
    tokio::select! {
        () = drain(server, first, config.listen.drain_delay) => tracing::info!("ended"),
        told = signals.next() => {
            told?;
            tracing::warn!("stopped at once: requests in progress were cut off");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the server without cutting off requests. An orchestrator sends SIGTERM and watches
/// readiness, so the server first waits for `delay`. A user at a terminal does not wait.
async fn drain(server: Server, told: Told, delay: Duration) {
    server.withdraw();
    if told == Told::Terminate && !delay.is_zero() {
        tracing::info!("not ready any more: serving for {delay:?}, a second signal stops at once");
        tokio::time::sleep(delay).await;
    }
    tracing::info!("shutting down: finishing the requests in progress, a second signal stops at once");
    server.stop().await;
}

/// Waits for Ctrl-C or, on Unix, SIGTERM.
pub(super) async fn until_told() -> Result<(), CliError> {
    Signals::listen()?.next().await.map(drop)
}

/// The signal to stop a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// The signals that stop a process. No signal is lost after `listen`.
#[derive(Debug)]
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Result<Told, CliError> {
        tokio::select! {
            _ = self.interrupt.recv() => Ok(Told::Interrupt),
            _ = self.terminate.recv() => Ok(Told::Terminate),
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self, CliError> {
        Ok(Self {})
    }

    async fn next(&mut self) -> Result<Told, CliError> {
        tokio::signal::ctrl_c().await?;
        Ok(Told::Interrupt)
    }
}
