//! The client certificate of a connection (RFC 8705, RFC 9440).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use serde::Deserialize;
use sts_jose::unhex;
use sts_protocol::split_unquoted;

use super::why::Why;
use crate::build_error::BuildError;
use crate::header_values;
use crate::net::x5t_s256;

/// The header in which a proxy names the certificate of its client.
///
/// ```
/// use sts_client::inbound::ClientCertificateHeader;
///
/// assert_eq!(ClientCertificateHeader::default(), ClientCertificateHeader::ClientCert);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub enum ClientCertificateHeader {
    /// `Client-Cert` (RFC 9440 §2.2), which holds the certificate.
    #[default]
    #[serde(rename = "Client-Cert")]
    ClientCert,
    /// `X-Forwarded-Client-Cert` of Envoy, of which the last element counts: the nearest proxy wrote it.
    /// Its `Hash` is the SHA-256 of the certificate.
    #[serde(rename = "X-Forwarded-Client-Cert")]
    XForwardedClientCert,
}

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

/// The proxies whose header is believed.
#[derive(Debug, Default)]
pub(super) struct TrustedProxies {
    networks: Vec<IpNet>,
    header: ClientCertificateHeader,
}

impl TrustedProxies {
    pub(super) fn parse(networks: &[String], header: ClientCertificateHeader) -> Result<Self, BuildError> {
        if networks.is_empty() && header != ClientCertificateHeader::default() {
            return Err(BuildError::contradiction(
                "the header of client certificates counts from trusted proxies alone: name them (inbound.trusted_proxies in agent.toml)",
            ));
        }
        let parse = |text: &String| {
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            let unusable = |_| {
                BuildError::contradiction(format!(
                    "the trusted proxy {text:?} is no address and no network such as 10.0.0.0/8 (inbound.trusted_proxies in agent.toml)"
                ))
            };
            network.map_err(unusable)
        };
        let networks = networks.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { networks, header })
    }

    /// Returns true if there is any.
    pub(super) fn are_named(&self) -> bool {
        !self.networks.is_empty()
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
        if !self.networks.iter().any(|network| network.contains(&address)) {
            return Ok(peer.certificate.clone());
        }
        let name = match self.header {
            ClientCertificateHeader::ClientCert => "client-cert",
            ClientCertificateHeader::XForwardedClientCert => "x-forwarded-client-cert",
        };
        let read = |value: &str| match self.header {
            ClientCertificateHeader::ClientCert => Some(x5t_s256(&byte_sequence(value)?)),
            ClientCertificateHeader::XForwardedClientCert => envoy_hash(value),
        };
        let mut values = header_values::of(headers, &HeaderName::from_static(name));
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().ok().and_then(read).map(Some).ok_or(Why::Certificate),
            (Some(_), Some(_)) => Err(Why::Certificate),
        }
    }
}

/// Reads `Hash` of the last element of `X-Forwarded-Client-Cert`: a SHA-256 in hexadecimal.
fn envoy_hash(value: &str) -> Option<Arc<str>> {
    let element = split_unquoted(value, ',').pop()?;
    let mut hashes = split_unquoted(&element, ';').into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("hash").then(|| value.trim().trim_matches('"').to_owned())
    });
    let (Some(hash), None) = (hashes.next(), hashes.next()) else { return None };
    let hash: [u8; 32] = unhex(&hash)?.try_into().ok()?;
    Some(URL_SAFE_NO_PAD.encode(hash).into())
}

/// Decodes a byte sequence of structured fields (RFC 9651 §3.3.5) without parameters.
fn byte_sequence(value: &str) -> Option<Vec<u8>> {
    STANDARD.decode(value.trim_ascii().strip_prefix(':')?.strip_suffix(':')?).ok()
}
