//! `dev`: sends a user's request through a chain of agents, over real HTTP, without any
//! preparation.

mod chain;
mod folder;
mod request;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use tokio::net::TcpListener;

use super::CliError;
use super::arguments::DevArguments;
use super::output::{Output, Style, explain_start, usable};
use super::serve::until_told;
use crate::config::{self, Config, Overrides};
use crate::server::{Server, StartError, Surroundings};
use folder::Folder;

/// The preferred ports: for agents, then for operators.
const PORTS: [u16; 2] = [8080, 8081];
/// The number of further ports to try if a port is busy.
const FURTHER: u16 = 100;

pub(super) async fn run(
    arguments: &DevArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let folder = Folder::make(&arguments.directory, &*surroundings.entropy)?;
    let [public, admin] = listeners(out).await?;
    let config = configuration(&folder.config_file(), public.local_addr()?, out)?;
    let server = Server::start_on(&config, surroundings.clone(), [public, admin]).await;
    let server = server.map_err(|error| explain_start(error, out))?;
    out.line(&out.styled(Style::Heading, &format!("agent-sts at {}", config.issuer)))?;
    let how = if folder.is_new() { "made" } else { "used again" };
    out.line(&out.styled(Style::Quiet, &format!("{} is {how}", arguments.directory.display())))?;
    chain::demonstrate(&folder, &config, server.public(), &surroundings, out).await?;
    if !arguments.once {
        out.line("")?;
        out.line(&format!("Serving on {} until Ctrl-C.", config.issuer))?;
        until_told().await?;
    }
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Binds the public and the admin listener. If their own ports are busy, it uses the next free
/// ports.
async fn listeners(out: &mut Output) -> Result<[TcpListener; 2], CliError> {
    let [public, admin] = PORTS;
    let public = listener(public, public, out).await?;
    let after = public.local_addr()?.port().saturating_add(1);
    let admin = listener(admin, admin.max(after), out).await?;
    Ok([public, admin])
}

async fn listener(wanted: u16, first: u16, out: &mut Output) -> Result<TcpListener, CliError> {
    let mut refused = None;
    for port in first..first.saturating_add(FURTHER) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if refused.is_some() {
                    out.line(&format!("port {wanted} is busy: {port} is used"))?;
                }
                return Ok(listener);
            }
            Err(source) => refused = Some(StartError::Listen { address, source }),
        }
    }
    Err(refused.map_or_else(|| CliError::Argument("there is no port".to_owned()), CliError::from))
}

/// Loads the folder's configuration, with the issuer set to the bound address.
fn configuration(file: &Path, public: SocketAddr, out: &mut Output) -> Result<Config, CliError> {
    let overrides = Overrides { issuer: Some(format!("http://{public}")), ..Overrides::default() };
    usable(config::load(Some(file), [], &overrides), out)
}
