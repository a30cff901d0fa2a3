//! `dev`: sends a user's request through a chain of agents, over real HTTP, without any
//! preparation.

mod chain;
mod folder;
mod live;
mod next_steps;
mod request;
mod user;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use tokio::net::TcpListener;

use super::arguments::{DevArguments, DevCommand};
use super::output::{Output, Style, explain_start, usable};
use super::serve::until_told;
use super::{CliError, database};
use crate::admin::NewToken;
use crate::config::{self, Config, Overrides, Role};
use crate::server::{Foundation, Server, StartError, Surroundings};
use crate::telemetry::divert_refusals;
use chain::{Demonstrated, Stage, demonstrate};
use folder::Folder;
use live::{Decisions, WatchedRegistry};

/// The name of the operator whom the link to the console signs in.
const OPERATOR: &str = "dev";
/// The preferred ports: for agents, then for operators.
const PORTS: [u16; 2] = [8080, 8081];
/// The number of further ports to try if a port is busy.
const FURTHER: u16 = 100;

pub(super) async fn run(
    arguments: &DevArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    if let Some(DevCommand::Token(user)) = &arguments.command {
        return user::print(arguments, user, &surroundings, out);
    }
    let folder = Folder::make(&arguments.directory, &*surroundings.entropy)?;
    let _lock = folder.lock()?;
    let [public, admin] = listeners(arguments.port, out).await?;
    let addresses = [public.local_addr()?, admin.local_addr()?];
    folder.configure(addresses)?;
    let mut config = configuration(&folder.config_file(), addresses, out)?;
    let operator = NewToken::make(OPERATOR, &*surroundings.entropy)?;
    config.admin.tokens.push(operator.configured(OPERATOR, Role::Admin));
    out.line(&out.styled(Style::Heading, &format!("agent-sts at {}", config.issuer)))?;
    out.line(&out.styled(Style::Quiet, &folder.described()))?;
    // The server reads no registry file, so that faults in it do not end the server.
    let registry = config.registry.take();
    let in_folder = |error| CliError::Folder { path: arguments.directory.clone(), source: Box::new(error) };
    let in_database = |error: CliError| in_folder(database::with_name(error, &config.database));
    let foundation = Foundation::lay(&config, surroundings.clone()).await;
    let foundation = foundation.map_err(|error| in_database(error.into()))?;
    foundation.store.migrate().await.map_err(|error| in_database(error.into()))?;
    let administration = foundation.administration(&config);
    administration.ensure_keys().await.map_err(|error| in_folder(error.into()))?;
    let mut registry = WatchedRegistry::new(registry.unwrap_or_default(), administration);
    registry.begin(out).await?;
    let mut decisions = Decisions::of(&foundation);
    let started = Server::start_with(&config, foundation, [public, admin]).await;
    let server = started.map_err(|error| in_database(explain_start(error, out)))?;

    let refusals = divert_refusals();
    let correlation_id = format!("demo-{}", surroundings.clock.now().as_second());
    let server_address = server.public();
    let demonstrated = {
        let (folder, surroundings, decisions) = (&folder, &surroundings, &mut decisions);
        let mut stage = Stage { folder, server: server_address, surroundings, decisions, correlation_id };
        let demonstrated = demonstrate(&mut stage, out).await?;
        let console = server.sign_in_link(operator.token, &*surroundings.entropy);
        next_steps::print(demonstrated, &stage, arguments, [&config.issuer, &console], out)?;
        demonstrated
    };
    if !arguments.once {
        tokio::select! {
            told = until_told() => told?,
            shown = live::show(decisions, refusals, registry, out) => shown?,
        }
    }
    server.stop().await;
    Ok(match demonstrated {
        Demonstrated::Refused | Demonstrated::UserRevoked if arguments.once => ExitCode::FAILURE,
        Demonstrated::Refused | Demonstrated::UserRevoked | Demonstrated::Whole => ExitCode::SUCCESS,
    })
}

/// Binds the public and the admin listener. A port that was asked for must be free; the other ports
/// are the next free ones.
async fn listeners(port: Option<u16>, out: &mut Output) -> Result<[TcpListener; 2], CliError> {
    let [public, admin] = PORTS;
    let public = match port {
        Some(port) => bind(port).await?,
        None => listener(public, public, out).await?,
    };
    let after = public.local_addr()?.port().saturating_add(1);
    let admin = match port {
        Some(_) => listener(after, after, out).await?,
        None => listener(admin, admin.max(after), out).await?,
    };
    Ok([public, admin])
}

async fn listener(wanted: u16, first: u16, out: &mut Output) -> Result<TcpListener, CliError> {
    let mut refused = None;
    for port in first..first.saturating_add(FURTHER) {
        match bind(port).await {
            Ok(listener) => {
                if refused.is_some() {
                    out.line(&format!("port {wanted} is busy: {port} is used"))?;
                }
                return Ok(listener);
            }
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| CliError::Argument(format!("--port: no port follows {wanted}"))))
}

async fn bind(port: u16) -> Result<TcpListener, CliError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bound = TcpListener::bind(address).await;
    Ok(bound.map_err(|source| StartError::Listen { option: "--port", address, source })?)
}

/// Loads the folder's configuration for the bound addresses.
fn configuration(file: &Path, [public, admin]: [SocketAddr; 2], out: &mut Output) -> Result<Config, CliError> {
    let overrides = Overrides {
        issuer: Some(format!("http://{public}")),
        public: Some(public.to_string()),
        admin: Some(admin.to_string()),
        ..Overrides::default()
    };
    usable(config::load(Some(file), [], &overrides), out)
}
