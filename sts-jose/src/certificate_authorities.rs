//! The certificate authorities of a SPIFFE trust domain. They are read here because they are part of its bundle.
//! Certificates are verified elsewhere.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::verification_key::JwkError;

/// The authorities that sign the X.509-SVIDs of a trust domain, in DER and in the order of its bundle (SPIFFE Trust
/// Domain and Bundle §4.2.2). The certificates were decoded and not parsed. Cloning is cheap.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CertificateAuthorities(Arc<[Vec<u8>]>);

impl CertificateAuthorities {
    /// Returns true if a JWK holds a certificate for X.509-SVIDs. Without a certificate it is a key for another purpose.
    pub(crate) fn is_one(jwk: &Map<String, Value>) -> bool {
        jwk.get("use").and_then(Value::as_str) == Some("x509-svid") && jwk.contains_key("x5c")
    }

    /// Returns the certificate of a JWK: the only element of its `x5c`, which is base64 with padding (RFC 7517 §4.7).
    pub(crate) fn certificate(jwk: &Map<String, Value>) -> Result<Vec<u8>, JwkError> {
        let chain = jwk.get("x5c").and_then(Value::as_array).map(Vec::as_slice);
        let Some([certificate]) = chain else { return Err(JwkError::Parameter) };
        // The cause is the place of a character.
        STANDARD
            .decode(certificate.as_str().unwrap_or_default())
            .ok()
            .filter(|der| !der.is_empty())
            .ok_or(JwkError::Parameter)
    }

    /// Returns the certificates, in DER.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}

impl FromIterator<Vec<u8>> for CertificateAuthorities {
    fn from_iter<I: IntoIterator<Item = Vec<u8>>>(certificates: I) -> Self {
        Self(certificates.into_iter().collect())
    }
}

impl fmt::Debug for CertificateAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateAuthorities({})", self.0.len())
    }
}
