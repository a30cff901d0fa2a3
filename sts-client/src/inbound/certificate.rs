//! The client certificate of a connection (RFC 8705, RFC 9440).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::why::Why;
use crate::build_error::BuildError;
use crate::header_values;
use crate::net::x5t_s256;

/// The header in which a proxy passes the certificate of its client (RFC 9440 §2.2).
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// The connection of a request, as the server of the agent knows it. A token that is bound to a
/// client certificate is accepted only with it: insert it into the extensions of each request, outside
/// of [`Verifier::layer`](super::Verifier::layer).
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use std::net::SocketAddr;
/// use axum::extract::{ConnectInfo, Request};
/// use axum::{Router, middleware::map_request};
/// use sts_client::inbound::PeerConnection;
/// # let (app, verifier_layer) = (Router::<()>::new(), tower_layer::Identity::new());
///
/// async fn peer(ConnectInfo(address): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
///     request.extensions_mut().insert(PeerConnection::from(address));
///     request
/// }
///
/// // Serve it by `app.into_make_service_with_connect_info::<SocketAddr>()`.
/// let app: Router = app.layer(verifier_layer).layer(map_request(peer));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConnection {
    address: IpAddr,
    certificate: Option<Arc<str>>,
}

impl PeerConnection {
    /// Makes the description of a connection from this address.
    ///
    /// ```
    /// # use sts_client::inbound::PeerConnection;
    /// let peer = PeerConnection::new("192.0.2.7".parse().unwrap());
    /// ```
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self { address, certificate: None }
    }

    /// Sets the certificate that the peer has proved in the TLS handshake with this agent, in DER.
    ///
    /// ```
    /// # use sts_client::inbound::PeerConnection;
    /// fn accepted(address: std::net::SocketAddr, leaf: &[u8]) -> PeerConnection {
    ///     PeerConnection::from(address).with_certificate(leaf)
    /// }
    /// ```
    #[must_use]
    pub fn with_certificate(mut self, der: &[u8]) -> Self {
        self.certificate = Some(x5t_s256(der));
        self
    }
}

impl From<SocketAddr> for PeerConnection {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip())
    }
}

/// The proxies whose `Client-Cert` header is believed.
#[derive(Debug, Default)]
pub(super) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub(super) fn parse(networks: &[String]) -> Result<Self, BuildError> {
        let parse = |text: &String| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let unusable = |_| {
                BuildError::contradiction(format!(
                    "the trusted proxy {text:?} is no address and no network such as 10.0.0.0/8 (inbound.trusted_proxies in agent.toml)"
                ))
            };
            network.map_err(unusable)
        };
        networks.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the thumbprint (`x5t#S256`) of the certificate of the caller: from the header, if a
    /// trusted proxy sent the request, and else from the connection. The header of any other peer is
    /// ignored.
    pub(super) fn thumbprint(
        &self,
        peer: Option<&PeerConnection>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<str>>, Why> {
        let Some(peer) = peer else { return Ok(None) };
        let address = peer.address.to_canonical();
        if !self.0.iter().any(|network| network.contains(&address)) {
            return Ok(peer.certificate.clone());
        }
        let mut values = header_values::of(headers, &CLIENT_CERT);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                byte_sequence(value.as_bytes()).map(|der| Some(x5t_s256(&der))).ok_or(Why::Certificate)
            }
            (Some(_), Some(_)) => Err(Why::Certificate),
        }
    }
}

/// Decodes a byte sequence of structured fields (RFC 9651 §3.3.5) without parameters.
fn byte_sequence(value: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(value.trim_ascii().strip_prefix(b":")?.strip_suffix(b":")?).ok()
}
