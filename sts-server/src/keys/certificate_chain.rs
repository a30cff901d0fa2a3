//! The check that authorities have signed a certificate (RFC 5280 §6).

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};
use sts_jose::CertificateAuthorities;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

/// The maximum number of intermediate certificates. webpki tries each of them as the issuer of each other, up to its
/// budget of 100 signatures for a chain: all clients would pay for those of one without a valid certificate.
const MAX_INTERMEDIATES: usize = 4;

/// The maximum length of a chain, in bytes. The chain is kept as long as its connection.
const MAX_CHAIN_BYTES: usize = 16 * 1024;

/// A certificate of a client and the intermediate certificates that it presented, in DER. Nothing is verified. It has
/// at most 4 intermediate certificates, and 16 KiB in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl CertificateChain {
    /// Makes a chain of a certificate and its intermediate certificates, in DER; `None` if it is too long.
    #[must_use]
    pub fn new(leaf: Vec<u8>, intermediates: Vec<Vec<u8>>) -> Option<Self> {
        let bytes = leaf.len() + intermediates.iter().map(Vec::len).sum::<usize>();
        if intermediates.len() > MAX_INTERMEDIATES || bytes > MAX_CHAIN_BYTES {
            return None;
        }
        let intermediates = intermediates.into_iter().map(CertificateDer::from).collect();
        Some(Self { leaf: CertificateDer::from(leaf), intermediates })
    }

    /// Returns the certificate of the client, in DER.
    #[must_use]
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// Checks that one of the authorities, and no other party, has signed the chain for a client, and that it is
    /// within its times. Costs one public-key operation for each certificate of the chain, and more if certificates
    /// have the same names: 100 at most.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_four_intermediate_certificates_and_16_kib_at_most() {
        for (label, leaf, intermediates, is_chain) in [
            ("a certificate alone", 1_000, vec![], true),
            ("four intermediate certificates", 1_000, vec![1_000; 4], true),
            ("five", 1_000, vec![1_000; 5], false),
            ("16 KiB", 4 * 1_024, vec![4 * 1_024; 3], true),
            ("a byte more", 4 * 1_024 + 1, vec![4 * 1_024; 3], false),
            ("a long certificate", 16 * 1_024 + 1, vec![], false),
        ] {
            let intermediates = intermediates.into_iter().map(|bytes| vec![0; bytes]).collect();
            assert_eq!(CertificateChain::new(vec![0; leaf], intermediates).is_some(), is_chain, "{label}");
        }
    }
}
