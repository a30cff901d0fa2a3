//! The peer of a connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::request::Parts;

use super::places::Seat;
use crate::client_auth::ClientCertificate;

/// The peer of a connection, stored as an extension of requests that go through a router.
#[derive(Debug, Clone)]
pub struct Peer {
    pub(super) address: SocketAddr,
    /// `None` for a request without a connection.
    seat: Option<Arc<Seat>>,
    /// The verified certificate of the client, on a connection over TLS.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { address, seat: None, certificate: None }
    }
}

impl Peer {
    pub(super) fn connected(address: SocketAddr, seat: Arc<Seat>, certificate: Option<Arc<ClientCertificate>>) -> Self {
        Self { address, seat: Some(seat), certificate }
    }

    /// Returns the peer of a request that went through a router.
    pub(super) fn of(head: &Parts) -> Self {
        let unknown = || Self::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        head.extensions.get().cloned().unwrap_or_else(unknown)
    }

    pub(super) fn seat(&self) -> Option<&Seat> {
        self.seat.as_deref()
    }
}
