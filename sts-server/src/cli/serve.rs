//! `serve`: runs the service.

use std::process::ExitCode;
use std::time::Duration;

use sts_jose::error_chain;

use super::CliError;
use super::arguments::{Options, ServeArguments};
use super::output::{Output, configuration, explain_start};
use crate::config::{self, Config};
use crate::server::{ServedRegistry, Server, StartError, Surroundings};
use crate::telemetry;

/// The interval at which a server tries to reach its database when it starts.
const RETRY_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(
    options: &Options,
    arguments: &ServeArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let as_read = configuration(options, out)?;
    let mut config = as_read.clone();
    config.database.migrate &= !arguments.no_migrate;
    for exposed in config::exposed_files(&config) {
        tracing::warn!("{exposed}");
    }
    let mut signals = Signals::listen()?;
    let mut hangups = Hangups::listen()?;
    let started = tokio::select! {
        started = start(&config, surroundings) => started,
        told = signals.next() => return told.map(|_| ExitCode::SUCCESS),
    };
    let mut server = started.map_err(|error| explain_start(error, out))?;
    tracing::info!(issuer = config.issuer, public = %server.public(), admin = %server.admin(), "serving");
    let first = loop {
        tokio::select! {
            told = signals.next() => break told?,
            () = server.failed() => return Err(CliError::PartEnded),
            () = hangups.next() => {
                let registry = server.registry();
                tokio::select! {
                    // A signal to stop ends the reload, which changes all or nothing.
                    told = signals.next() => break told?,
                    () = server.failed() => return Err(CliError::PartEnded),
                    () = reload(&registry, options, &as_read, out) => {}
                }
            }
        }
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

/// Starts the server. While its database is unreachable, tries again without end: after a power
/// failure, the database may start later than the server. Logs each cause when it changes.
async fn start(config: &Config, surroundings: Surroundings) -> Result<Server, StartError> {
    let mut logged = String::new();
    loop {
        match Server::start(config, surroundings.clone()).await {
            Err(error) if error.is_outage() => {
                let cause = error_chain(&error);
                if cause != logged {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the database is unreachable: retrying until it answers");
                    logged = cause;
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
            started => return started,
        }
    }
}

/// Reads the configuration and the registry file again, after SIGHUP. Files with faults change
/// nothing. `running` is the configuration as it was read at the start.
async fn reload(registry: &ServedRegistry, options: &Options, running: &Config, out: &mut Output) {
    tracing::info!("reading the configuration and the registry file again");
    let config = match configuration(options, out) {
        Ok(config) => config,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            return tracing::error!(error, "the configuration has faults: nothing was changed");
        }
    };
    // The format of the log is an option too.
    telemetry::choose_format(running.log.format);
    if config != *running {
        tracing::warn!("the configuration has changed: restart the server to apply its options");
    }
    // Another registry file belongs to the changed configuration.
    if let Some(path) = running.registry.as_ref().filter(|_| config.registry == running.registry) {
        registry.reload(path).await;
    }
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

/// SIGHUP, by which an operator asks a server to read its files again.
#[derive(Debug)]
struct Hangups {
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Hangups {
    fn listen() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { hangup: signal(SignalKind::hangup())? })
    }

    async fn next(&mut self) {
        self.hangup.recv().await;
    }
}

#[cfg(not(unix))]
impl Hangups {
    fn listen() -> Result<Self, CliError> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}
