//! The certificate of a client, as RFC 8705 reads it.
//!
//! The listener, or a trusted proxy, has verified the possession of its key, and its chain unless it is an X.509-SVID.
//! Here its names are compared.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sts_jose::TrustDomain;
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer as _, X509Certificate};

use crate::keys::CertificateChain;

/// The attribute types with a short name (RFC 4514 §3), by their object identifiers.
const SHORT_NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The certificate of a client, which has proved that it holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    chain: CertificateChain,
    verified_by: VerifiedBy,
    /// True for a leaf that signs no certificates and no lists of revoked ones (X.509-SVID §4).
    is_leaf_of_svid: bool,
    thumbprint: String,
    san_uris: Vec<String>,
    san_dns: Vec<String>,
    subject_dn: String,
    valid: [i64; 2],
}

/// The party that has verified the chain of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifiedBy {
    /// The listener, by `tls.client_ca_file`, or a trusted proxy.
    Authorities,
    /// No party so far: the bundle of its trust domain decides.
    NoParty,
}

/// Bytes are not a certificate that this service reads. The cause is dropped: it is a position in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the client certificate cannot be read")]
pub struct CertificateError;

impl ClientCertificate {
    /// Reads the certificate of a client that has proved to hold its key.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse(chain: CertificateChain, verified_by: VerifiedBy) -> Result<Self, CertificateError> {
        let der = chain.leaf();
        let (rest, certificate) = X509Certificate::from_der(der).or(Err(CertificateError))?;
        if !rest.is_empty() {
            return Err(CertificateError);
        }
        let (mut san_uris, mut san_dns) = (Vec::new(), Vec::new());
        let alternative = certificate.subject_alternative_name().or(Err(CertificateError))?;
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::URI(uri) => san_uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => san_dns.push(name.to_ascii_lowercase()),
                _ => {}
            }
        }
        let validity = certificate.validity();
        let usage = certificate.key_usage().or(Err(CertificateError))?.map(|extension| extension.value);
        let signs_others = usage.is_some_and(|usage| usage.key_cert_sign() || usage.crl_sign());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        Ok(Self {
            verified_by,
            is_leaf_of_svid: !certificate.is_ca() && !signs_others,
            thumbprint: URL_SAFE_NO_PAD.encode(digest.as_ref()),
            san_uris,
            san_dns,
            subject_dn: subject_dn(&certificate),
            valid: [validity.not_before.timestamp(), validity.not_after.timestamp()],
            chain,
        })
    }

    /// Returns the `x5t#S256` of tokens that are bound to it: its SHA-256 in base64url.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Returns true if it is within its times.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        let [from, until] = self.valid;
        (from..=until).contains(&now.as_second())
    }

    /// Returns the time from which on it is valid.
    pub(super) fn valid_from(&self) -> Option<Timestamp> {
        let [from, _] = self.valid;
        Timestamp::from_second(from).ok()
    }

    /// Returns the certificate and the intermediate certificates.
    pub(super) fn chain(&self) -> &CertificateChain {
        &self.chain
    }

    /// Returns true if the listener or a trusted proxy has verified the chain.
    pub(super) fn is_verified(&self) -> bool {
        self.verified_by == VerifiedBy::Authorities
    }

    /// Returns true unless it is an authority.
    pub(super) fn is_leaf_of_svid(&self) -> bool {
        self.is_leaf_of_svid
    }

    /// Returns the SPIFFE ID, if that is the only URI among the subject alternative names (X.509-SVID §2).
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        let [uri] = self.san_uris.as_slice() else { return None };
        TrustDomain::of_id(uri).map(|_domain| uri.as_str())
    }

    /// Returns true if a subject alternative name is this URI. An SVID has exactly one URI (X.509-SVID §2).
    pub(super) fn has_uri(&self, uri: &str) -> bool {
        let is_svid = uri.starts_with("spiffe://");
        self.san_uris.iter().any(|own| own == uri) && (self.san_uris.len() == 1 || !is_svid)
    }

    /// Returns true if a subject alternative name is this DNS name. Names are compared without case.
    pub(super) fn has_dns(&self, name: &str) -> bool {
        self.san_dns.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Returns true if the subject is this distinguished name, in the form of RFC 4514.
    pub(super) fn has_subject(&self, dn: &str) -> bool {
        parts(dn) == parts(&self.subject_dn)
    }
}

/// Returns the subject in the form of RFC 4514 §2: the last part first.
fn subject_dn(certificate: &X509Certificate<'_>) -> String {
    let parts: Vec<String> =
        certificate.subject().iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let id = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == id);
    match (short, attribute.as_str()) {
        (Some((_, name)), Ok(value)) => format!("{name}={}", escaped(value)),
        (_, _) => format!("{id}=#{}", sts_jose::hex(attribute.attr_value().data)),
    }
}

/// Escapes a value (RFC 4514 §2.4).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, char) in value.chars().enumerate() {
        let at_edge = (char == ' ' && (index == 0 || index == last)) || (char == '#' && index == 0);
        match char {
            '\0' => text.push_str("\\00"),
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => {
                let _ = write!(text, "\\{char}");
            }
            char if at_edge => {
                let _ = write!(text, "\\{char}");
            }
            char => text.push(char),
        }
    }
    text
}

/// Splits a name at its unescaped commas. White space around a part does not count, nor does the case of its type.
fn parts(dn: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_escaped = false;
    for char in dn.chars() {
        match (char, parts.last_mut()) {
            (',', _) if !is_escaped => parts.push(String::new()),
            (char, Some(part)) => part.push(char),
            (_, None) => {}
        }
        is_escaped = char == '\\' && !is_escaped;
    }
    parts.iter().map(|part| normal(part.trim())).collect()
}

fn normal(part: &str) -> String {
    match part.split_once('=') {
        Some((name, value)) => format!("{}={}", name.trim().to_ascii_uppercase(), value.trim_start()),
        None => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4514_names_are_equal_with_other_spaces_and_cases_of_types() {
        let own = ["CN=inventory", "O=Shop\\, Inc.", "C=DE"];
        for same in ["CN=inventory,O=Shop\\, Inc.,C=DE", "cn=inventory, o = Shop\\, Inc. , c=DE"] {
            assert_eq!(parts(same), own, "{same}");
        }
        for other in ["CN=Inventory,O=Shop\\, Inc.,C=DE", "CN=inventory,O=Shop, Inc.,C=DE", "CN=inventory", ""] {
            assert_ne!(parts(other), own, "{other}");
        }
    }

    #[test]
    fn rfc_4514_section_2_4_special_characters_are_escaped() {
        for (value, text) in
            [("a", "a"), ("a,b+c", "a\\,b\\+c"), (" a ", "\\ a\\ "), ("#a#", "\\#a#"), ("a\"\\", "a\\\"\\\\")]
        {
            assert_eq!(escaped(value), text);
        }
    }

    #[test]
    fn other_bytes_are_no_certificate() {
        for bytes in [&b""[..], b"certificate", &[0x30, 0x03, 0x02, 0x01, 0x00]] {
            let chain = CertificateChain::new(bytes.to_vec(), Vec::new());
            assert_eq!(ClientCertificate::parse(chain.unwrap(), VerifiedBy::Authorities), Err(CertificateError));
        }
    }
}
