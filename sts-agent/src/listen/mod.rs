//! The place at which the process listens: a unix socket, or a loopback address with a bearer.

mod bearer;
mod socket;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

pub(crate) use bearer::Bearer;
pub use bearer::BearerError;
pub(crate) use socket::Socket;
pub use socket::SocketError;

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A unix socket, which only the user of the process may use.
    Socket(PathBuf),
    /// A loopback address. Each request needs the bearer.
    Loopback(SocketAddr),
}

/// The text is no place to listen at.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PlaceError {
    /// The text is neither a path nor an address.
    #[error("neither the path of a socket, such as /run/agent-sts/agent.sock, nor an address, such as 127.0.0.1:9009")]
    Unreadable,
    /// The address can be reached from other machines.
    #[error("not an address of this machine alone: use 127.0.0.1 or [::1]")]
    NotLoopback,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Socket(path.into()));
        }
        let text = text.strip_prefix("http://").map_or(text, |address| address.trim_end_matches('/'));
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Loopback(address)),
            Ok(_) => Err(PlaceError::NotLoopback),
            Err(_) if text.contains('/') => Ok(Self::Socket(text.into())),
            Err(_) => Err(PlaceError::Unreadable),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
            Self::Loopback(address) => write!(f, "http://{address}"),
        }
    }
}

/// The process cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The socket cannot be used.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The address cannot be used.
    #[error("cannot listen on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The bearer cannot be read or made.
    #[error(transparent)]
    Bearer(#[from] BearerError),
    /// A loopback address was given without a bearer file.
    #[error("a loopback address needs a file for its bearer: --bearer-file, or STS_AGENT_BEARER_FILE")]
    NoBearerFile,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_socket_or_an_address_of_this_machine() {
        let socket = |path: &str| Ok(Place::Socket(path.into()));
        let loopback = |address: &str| Ok(Place::Loopback(address.parse().unwrap()));
        for (text, place) in [
            ("/run/agent-sts/agent.sock", socket("/run/agent-sts/agent.sock")),
            ("./agent.sock", socket("./agent.sock")),
            ("unix:agent.sock", socket("agent.sock")),
            ("127.0.0.1:9009", loopback("127.0.0.1:9009")),
            ("http://[::1]:9009/", loopback("[::1]:9009")),
            ("0.0.0.0:9009", Err(PlaceError::NotLoopback)),
            ("192.0.2.1:9009", Err(PlaceError::NotLoopback)),
            ("agent.sock", Err(PlaceError::Unreadable)),
            ("localhost:9009", Err(PlaceError::Unreadable)),
        ] {
            assert_eq!(text.parse(), place, "{text}");
        }
    }
}
