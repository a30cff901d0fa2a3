//! The check that authorities have signed a certificate (RFC 5280 §6).

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use sts_jose::CertificateAuthorities;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// A certificate of a client and the intermediate certificates that it presented, in DER. Nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl CertificateChain {
    /// Makes a chain of certificates in DER, the leaf first.
    #[must_use]
    pub fn new(leaf: Vec<u8>, intermediates: Vec<Vec<u8>>) -> Self {
        let intermediates = intermediates.into_iter().map(CertificateDer::from).collect();
        Self { leaf: CertificateDer::from(leaf), intermediates }
    }

    /// Returns the certificate of the client, in DER.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// Checks that one of the authorities, and no other party, has signed the chain for a client, and that it is
    /// within its times. Costs one public-key operation for each certificate.
    pub(super) fn verify(&self, authorities: &CertificateAuthorities, now: Timestamp) -> Result<(), webpki::Error> {
        let authorities: Vec<_> = authorities.iter().map(CertificateDer::from).collect();
        // A certificate of the bundle that cannot be read signs nothing.
        let anchors: Vec<_> = authorities.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        EndEntityCert::try_from(&self.leaf)?
            .verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &anchors,
                &self.intermediates,
                now,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map(drop)
    }
}
