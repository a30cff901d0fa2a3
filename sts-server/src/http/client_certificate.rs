//! The client certificate that a trusted proxy passes on in a header.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use sts_protocol::split_unquoted;

use super::tls;
use crate::client_auth::{ClientCertificate, VerifiedBy};
use crate::config::ClientCertificateHeader;
use crate::keys::CertificateChain;

/// Returns the certificate of the client of a trusted proxy. Returns `None` unless the request has exactly one such
/// header, with a certificate, and its chain is not too long.
pub(super) fn forwarded(header: ClientCertificateHeader, headers: &HeaderMap) -> Option<Arc<ClientCertificate>> {
    let name = match header {
        ClientCertificateHeader::ClientCert => HeaderName::from_static("client-cert"),
        ClientCertificateHeader::XForwardedClientCert => HeaderName::from_static("x-forwarded-client-cert"),
    };
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let value = value.to_str().ok()?;
    let chain = match header {
        ClientCertificateHeader::ClientCert => CertificateChain::new(byte_sequence(value)?, intermediates(headers)?)?,
        ClientCertificateHeader::XForwardedClientCert => envoy(value)?,
    };
    ClientCertificate::parse(chain, VerifiedBy::Authorities).ok().map(Arc::new)
}

/// Reads the certificates of `Client-Cert-Chain`, a list of byte sequences (RFC 9440 §2.3). They are not verified.
fn intermediates(headers: &HeaderMap) -> Option<Vec<Vec<u8>>> {
    let values = headers.get_all("client-cert-chain").iter().map(|value| value.to_str().ok());
    let values: Option<Vec<&str>> = values.collect();
    values?.into_iter().flat_map(|value| value.split(',')).map(byte_sequence).collect()
}

/// Reads a byte sequence of RFC 8941 §3.3.5, which RFC 9440 §2.1 demands.
fn byte_sequence(value: &str) -> Option<Vec<u8>> {
    STANDARD.decode(value.trim().strip_prefix(':')?.strip_suffix(':')?).ok()
}

/// Reads `Cert` and `Chain` of the last element of Envoy's `X-Forwarded-Client-Cert`, which the nearest proxy wrote: PEM
/// files in percent-encoding.
fn envoy(value: &str) -> Option<CertificateChain> {
    let element = split_unquoted(value, ',').pop()?;
    let pairs = split_unquoted(&element, ';');
    let certificates = |wanted: &str| {
        let mut values = pairs.iter().filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().trim_matches('"'))
        });
        match (values.next(), values.next()) {
            (Some(value), None) => tls::certificates(&percent_decode_str(value).collect::<Vec<u8>>()),
            (None, _) => Some(Vec::new()),
            (Some(_), Some(_)) => None,
        }
    };
    let leaf = certificates("cert")?.into_iter().next()?;
    // The chain of Envoy begins with the certificate itself.
    let intermediates = certificates("chain")?.into_iter().filter(|certificate| *certificate != leaf).collect();
    CertificateChain::new(leaf, intermediates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9440_section_2_1_a_byte_sequence_is_strict() {
        assert_eq!(byte_sequence(":AQID:"), Some(vec![1, 2, 3]));
        for other in ["AQID", ":AQID", "AQID:", ":AQ ID:", ":-_8=:", ""] {
            assert_eq!(byte_sequence(other), None, "{other}");
        }
    }
}
