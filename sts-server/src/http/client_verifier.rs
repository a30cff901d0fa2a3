//! The check of client certificates in the handshake.
//!
//! A certificate of `tls.client_ca_file`, if there is one, is verified here. One that names a workload of a registered
//! trust domain (X.509-SVID) is verified by client authentication, against the bundle of that domain
//! at the time of the request: the handshake proves that the client holds its key. Any other
//! certificate ends the handshake, and so does a chain that is too long.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use sts_jose::TrustDomain;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    self, CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use zeroize::Zeroizing;

use crate::client_auth::{ClientCertificate, VerifiedBy};
use crate::keys::CertificateChain;
use crate::service::Sts;

/// The trust domains of the registry, which the service follows. Empty until there is a service.
#[derive(Debug, Clone, Default)]
pub(super) struct TrustDomains(Arc<OnceLock<Weak<Sts>>>);

impl TrustDomains {
    /// Reads the registry of this service from now on.
    pub(super) fn follow(&self, sts: &Arc<Sts>) {
        let _ = self.0.set(Arc::downgrade(sts));
    }

    fn contain(&self, id: &str) -> bool {
        let sts = self.0.get().and_then(Weak::upgrade);
        let domain = TrustDomain::of_id(id).map(TrustDomain::issuer);
        sts.zip(domain).is_some_and(|(sts, domain)| sts.snapshot().registry.issuer(&domain).is_some())
    }

    fn now(&self) -> UnixTime {
        let now = self.0.get().and_then(Weak::upgrade).map(|sts| sts.now().as_second());
        UnixTime::since_unix_epoch(Duration::from_secs(now.and_then(|now| u64::try_from(now).ok()).unwrap_or_default()))
    }
}

/// The check of client certificates. A client without a certificate is served too.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    /// None where X.509-SVIDs alone are taken.
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    trust_domains: TrustDomains,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    /// Makes the check of the authorities in a PEM file.
    pub(super) fn new(
        pem: std::io::Result<Zeroizing<Vec<u8>>>,
        trust_domains: TrustDomains,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem?) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Ok(Self { authorities: Some(builder.allow_unauthenticated().build()?), trust_domains, provider })
    }

    /// Makes the check of X.509-SVIDs alone.
    pub(super) fn of_trust_domains(trust_domains: TrustDomains) -> Self {
        Self { authorities: None, trust_domains, provider: Arc::new(aws_lc_rs::default_provider()) }
    }

    /// Returns the certificate of a client after the handshake, with the party that has verified its chain.
    pub(super) fn client_certificate(&self, chain: &[CertificateDer<'static>]) -> Option<ClientCertificate> {
        let (leaf, intermediates) = chain.split_first()?;
        let is_verified = self.verify(leaf, intermediates, self.trust_domains.now()).is_ok();
        let verified_by = if is_verified { VerifiedBy::Authorities } else { VerifiedBy::NoParty };
        let certificate = read(leaf, intermediates, verified_by);
        if certificate.is_none() {
            tracing::debug!("a client certificate cannot be read");
        }
        certificate
    }

    /// Verifies the chain by the configured authorities.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let authorities = self.authorities.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        authorities.verify_client_cert(leaf, intermediates, now)
    }

    fn is_of_trust_domain(&self, leaf: &CertificateDer<'_>) -> bool {
        let certificate = read(leaf, &[], VerifiedBy::NoParty);
        certificate.as_ref().and_then(ClientCertificate::spiffe_id).is_some_and(|id| self.trust_domains.contain(id))
    }
}

fn read(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    verified_by: VerifiedBy,
) -> Option<ClientCertificate> {
    ClientCertificate::parse(chain_of(leaf, intermediates)?, verified_by).ok()
}

fn chain_of(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Option<CertificateChain> {
    CertificateChain::new(leaf.to_vec(), intermediates.iter().map(|der| der.to_vec()).collect())
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Names no authority: a client may have a certificate of a trust domain, whose authorities change.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // This check comes before any signature is verified.
        if chain_of(end_entity, intermediates).is_none() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        match self.verify(end_entity, intermediates, now) {
            Err(_) if self.is_of_trust_domain(end_entity) => Ok(ClientCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
