//! `health`: reports if the server of this configuration, on this machine, is ready. Container
//! health checks run it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http_body_util::Full;
use serde_json::json;

use super::arguments::Options;
use super::output::{Output, Style, configuration};
use super::{CliError, loopback};
use crate::config::Config;

/// The time limit for the answer of the server. The server gives its own check of the database two
/// seconds.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) async fn run(options: &Options, out: &mut Output) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    let server = plain_listener(&config)?;
    let what = match tokio::time::timeout(PATIENCE, ask(server)).await {
        Ok(Ok(what)) => what,
        Ok(Err(error)) => Err(format!("no answer: {error}")),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    };
    let (is_ready, style, text, code) = match what {
        Ok(()) => (true, Style::Good, "ready".to_owned(), ExitCode::SUCCESS),
        Err(why) => (false, Style::Bad, format!("not ready: {why}"), ExitCode::FAILURE),
    };
    if out.is_json() {
        out.json(&json!({ "ready": is_ready, "server": server.to_string() }))?;
    } else {
        out.line(&out.joined(&[(Style::Plain, &format!("{server} is ")), (style, &text)]))?;
    }
    Ok(code)
}

/// Returns the listener to ask: the admin listener, or the public listener if only the admin
/// listener uses TLS.
fn plain_listener(config: &Config) -> Result<SocketAddr, CliError> {
    let listen = &config.listen;
    match (config.tls.admin, config.tls.files()) {
        (false, _) => Ok(reached(listen.admin)),
        (true, None) => Ok(reached(listen.public)),
        (true, Some(_)) => {
            Err(CliError::Argument("with tls.admin no listener is plain: ask /readyz over TLS instead".to_owned()))
        }
    }
}

/// Returns the address at which this machine reaches a listener.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Asks the server if it is ready. The inner error holds its answer if it is not.
async fn ask(server: SocketAddr) -> Result<Result<(), String>, loopback::SendError> {
    let request = http::Request::get("/readyz").header(HOST, server.to_string()).body(Full::new(Bytes::new()))?;
    let (status, body) = loopback::send(server, request).await?;
    Ok(if status.is_success() { Ok(()) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim())) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_over_loopback() {
        for (listens, reachable) in
            [("0.0.0.0:8081", "127.0.0.1:8081"), ("[::]:8081", "[::1]:8081"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(reached(listens.parse().unwrap()).to_string(), reachable);
        }
    }
}
