//! `serve`: runs the service.

use std::process::ExitCode;

use super::CliError;
use super::arguments::Options;
use super::output::{Output, configuration, explain_start};
use crate::server::{Server, Surroundings};

pub(super) async fn run(options: &Options, surroundings: Surroundings, out: &mut Output) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    let mut server = Server::start(&config, surroundings).await.map_err(|error| explain_start(error, out))?;
    tracing::info!(issuer = config.issuer, public = %server.public(), admin = %server.admin(), "serving");
    tokio::select! {
        told = until_told() => told?,
        () = server.failed() => return Err(CliError::PartEnded),
    }
    tracing::info!("ending: requests under way are answered, a second signal ends at once");
    tokio::select! {
        () = server.stop() => tracing::info!("ended"),
        told = until_told() => told?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns at Ctrl-C, and where there are such signals, at SIGTERM.
pub(super) async fn until_told() -> Result<(), CliError> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    Ok(tokio::signal::ctrl_c().await?)
}
