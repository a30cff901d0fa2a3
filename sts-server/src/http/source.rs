//! The source address of a request, behind trusted proxies.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use super::client_certificate;
use crate::client_auth::ClientCertificate;
use crate::config::{ClientCertificateHeader, ForwardedHeader, Listen};

/// The proxies whose forwarding headers are trusted, and the header that they use.
#[derive(Debug, Clone)]
pub(super) struct Proxies {
    trusted: Vec<IpNet>,
    header: ForwardedHeader,
    certificate_header: Option<ClientCertificateHeader>,
}

impl Proxies {
    pub(super) fn new(listen: &Listen) -> Self {
        Self {
            trusted: listen.trusted_proxies.clone(),
            header: listen.forwarded_header,
            certificate_header: listen.client_certificate_header,
        }
    }

    /// Returns the verified certificate of the client. Behind a trusted proxy it is the one of the header, because the
    /// connection has the certificate of the proxy. The header of any other peer is not read.
    pub(super) fn certificate(
        &self,
        peer: IpAddr,
        of_connection: Option<&Arc<ClientCertificate>>,
        headers: &HeaderMap,
    ) -> Option<Arc<ClientCertificate>> {
        if !self.trusts(peer.to_canonical()) {
            return of_connection.cloned();
        }
        self.certificate_header.and_then(|header| client_certificate::forwarded(header, headers))
    }

    /// Returns the address that sent a request: the peer's address, or behind trusted proxies the
    /// nearest address that is not a trusted proxy.
    ///
    /// Every hop appends on the right. The search goes from right to left while the writer of an
    /// element is trusted. An element that is not an address ends the search at its writer.
    pub(super) fn source(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut source = peer.to_canonical();
        let name = match self.header {
            ForwardedHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        // A comma within quotes ends an element too. No address contains a comma, and an unclosed
        // quote of a client must not hide the elements after it.
        let lines = headers.get_all(name).into_iter().rev();
        let mut elements = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        while self.trusts(source) {
            let Some(element) = elements.next() else { break };
            let written = match self.header {
                ForwardedHeader::XForwardedFor => address(element.trim()),
                ForwardedHeader::Forwarded => forwarded_for(element).and_then(address),
            };
            let Some(address) = written else { break };
            source = address.to_canonical();
        }
        source
    }

    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// Parses an address, optionally with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.parse().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare().or_else(bracketed).or_else(with_port)
}

/// Returns the value of the single `for` of an element (RFC 7239 §4). Returns `None` if any part of
/// the element is malformed.
fn forwarded_for(element: &str) -> Option<&str> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim().split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\']))?,
            None => Some(value).filter(|value| is_token(value))?,
        };
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// Returns true for a token (RFC 9110 §5.6.2). Allows a port too, which many proxies write without
/// quotes.
fn is_token(text: &str) -> bool {
    let is_token_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_char)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies(header: ForwardedHeader) -> Proxies {
        let trusted = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap()).into();
        Proxies { trusted, header, certificate_header: None }
    }

    fn source(header: ForwardedHeader, peer: &str, lines: &[(&'static str, &'static str)]) -> String {
        let lines = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        proxies(header).source(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right_and_from_trusted_hops_alone() {
        for (peer, value, expected) in [
            ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
            ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("::ffff:10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
            ("::1", "2001:db8::9", "2001:db8::9"),
            ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
            ("10.0.0.1", "[2001:db8::9]:4711", "2001:db8::9"),
            ("10.0.0.1", "[2001:db8::9]", "2001:db8::9"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "unknown", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "203.0.113.9,", "10.0.0.1"),
        ] {
            let found = source(ForwardedHeader::XForwardedFor, peer, &[("x-forwarded-for", value)]);
            assert_eq!(found, expected, "{peer}: {value}");
        }
    }

    #[test]
    fn lines_of_a_header_are_one_list_in_their_order() {
        let lines = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-for", "203.0.113.2, 10.0.0.2")];
        assert_eq!(source(ForwardedHeader::XForwardedFor, "10.0.0.1", &lines), "203.0.113.2");
    }

    #[test]
    fn what_stands_in_the_other_header_is_a_clients_claim() {
        let lines = [("forwarded", "for=203.0.113.1"), ("x-forwarded-for", "203.0.113.2")];
        assert_eq!(source(ForwardedHeader::XForwardedFor, "10.0.0.1", &lines), "203.0.113.2");
        assert_eq!(source(ForwardedHeader::Forwarded, "10.0.0.1", &lines), "203.0.113.1");
        assert_eq!(source(ForwardedHeader::Forwarded, "10.0.0.1", &lines[1..]), "10.0.0.1");
    }

    #[test]
    fn rfc_7239_section_4_elements_are_read_strictly() {
        for (value, expected) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("For=\"203.0.113.9:4711\"", "203.0.113.9"),
            ("for=203.0.113.9:4711", "203.0.113.9"),
            ("for=\"[2001:db8::9]:4711\"", "2001:db8::9"),
            ("proto=https; for=203.0.113.9 ;by=10.0.0.1", "203.0.113.9"),
            ("for=198.51.100.1, for=203.0.113.9;host=sts.example.com", "203.0.113.9"),
            ("for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
            ("for=_hidden", "10.0.0.1"),
            ("for=unknown", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
            ("for=203.0.113.9;for=203.0.113.8", "10.0.0.1"),
            // Values that a client can inject into a name that its proxy repeats.
            ("for=203.0.113.9;host=\"a,for=198.51.100.1\"", "10.0.0.1"),
            ("for=203.0.113.9;host=\"a,for=198.51.100.1;b=\"", "10.0.0.1"),
            ("for=203.0.113.9;host=\"a\\\",for=198.51.100.1;b=\\\"c\"", "10.0.0.1"),
            ("for=\"198.51.100.1, for=203.0.113.9", "203.0.113.9"),
        ] {
            let found = source(ForwardedHeader::Forwarded, "10.0.0.1", &[("forwarded", value)]);
            assert_eq!(found, expected, "{value}");
        }
    }
}
