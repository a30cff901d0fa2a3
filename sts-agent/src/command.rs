//! The command line.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use thiserror::Error;
use url::Url;

use crate::listen::Place;
use crate::loaded::Surroundings;
use crate::server::{self, ServeError};

/// The time within which `health` needs its answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// The local process of an agent: verifies its callers, and makes the headers of its calls.
#[derive(Debug, Parser)]
#[command(name = "sts-agent", version)]
pub struct Command {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Serves until SIGTERM. SIGHUP loads the file again.
    Serve(Serve),
    /// Loads the file, and says if it can be used.
    Check(FileArguments),
    /// Asks the process that serves if it is healthy. The exit code is the answer.
    Health(PlaceArguments),
}

#[derive(Debug, Args)]
struct FileArguments {
    /// The agent's file: the same that sts-client reads.
    #[arg(long, short, env = "STS_AGENT_CONFIG", default_value = "agent.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct PlaceArguments {
    /// The path of a unix socket, or a loopback address.
    #[arg(long, env = "STS_AGENT", default_value = "/run/agent-sts/agent.sock")]
    listen: Place,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    file: FileArguments,
    #[command(flatten)]
    place: PlaceArguments,
    /// The file with the bearer of a loopback address. Made if it does not exist.
    #[arg(long, env = "STS_AGENT_BEARER_FILE")]
    bearer_file: Option<PathBuf>,
    /// The collector that spans are sent to, by OTLP over HTTP. No spans are sent without it.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<Url>,
}

impl Command {
    /// Returns the collector that spans are to be sent to.
    #[must_use]
    pub fn otlp_endpoint(&self) -> Option<&Url> {
        match &self.act {
            Act::Serve(serve) => serve.otlp_endpoint.as_ref(),
            Act::Check(_) | Act::Health(_) => None,
        }
    }
}

/// A command failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The process cannot serve.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The process that should serve does not answer.
    #[error("no answer at {place}")]
    NoAnswer {
        /// The place that was asked.
        place: Place,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The process that serves is not healthy.
    #[error("the process at {0} is not healthy")]
    Unhealthy(Place),
}

/// Runs a command to its end.
///
/// # Errors
/// See [`CommandError`].
pub async fn run(command: Command, surroundings: Surroundings) -> Result<(), CommandError> {
    match command.act {
        Act::Serve(Serve { file, place, bearer_file, otlp_endpoint: _ }) => {
            let options = server::Options { config: file.config, place: place.listen, bearer_file };
            Ok(server::serve(options, surroundings).await?)
        }
        Act::Check(FileArguments { config }) => Ok(server::check(config, surroundings).await?),
        Act::Health(PlaceArguments { listen }) => health(listen),
    }
}

/// Sends one request, as a container's probe.
fn health(place: Place) -> Result<(), CommandError> {
    let asked = match &place {
        Place::Socket(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
            ask(stream)
        }),
        Place::Loopback(address) => TcpStream::connect_timeout(address, HEALTH_TIMEOUT).and_then(|stream| {
            stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
            ask(stream)
        }),
    };
    match asked {
        Ok(answer) if answer.starts_with(b"HTTP/1.1 200 ") => Ok(()),
        Ok(_) => Err(CommandError::Unhealthy(place)),
        Err(source) => Err(CommandError::NoAnswer { place, source }),
    }
}

fn ask<S: std::io::Read + std::io::Write>(mut stream: S) -> std::io::Result<[u8; 13]> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: sts-agent\r\nConnection: close\r\n\r\n")?;
    let mut start = [0; 13];
    stream.read_exact(&mut start)?;
    Ok(start)
}
