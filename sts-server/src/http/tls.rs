//! TLS of the listeners: the certificate in use, and its reload when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sts_jose::{BoundedFile, FileContent, FileVersion, MAX_FILE_BYTES};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::certificate_validity::CertificateValidity;
use super::client_verifier::{ClientVerifier, TrustDomains};
use crate::client_auth::ClientCertificate;
use crate::config::ClientCertificates;
use crate::service::Sts;
use crate::shutdown::announced;

/// The interval at which the files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The only protocol that the listeners offer.
const HTTP_1_1: &[u8] = b"http/1.1";

/// A certificate cannot be used. No error text contains a key.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate file cannot be read as certificates.
    #[error("failed to read a certificate from {path}")]
    Certificate {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: pem::Error,
    },
    /// The certificate file is well-formed and empty.
    #[error("{0} contains no certificate")]
    NoCertificate(PathBuf),
    /// The key file holds no private key.
    #[error("failed to read a private key from {path}")]
    Key {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: pem::Error,
    },
    /// The authorities of client certificates cannot be read or used.
    #[error("no authorities of client certificates can be read from {path}")]
    ClientAuthorities {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate and the key do not match, or are of an unsupported kind.
    #[error("the certificate in {certificate} cannot be used with the private key in {key}")]
    Pair {
        /// The path of the certificate file.
        certificate: PathBuf,
        /// The path of the key file.
        key: PathBuf,
        /// The reason.
        #[source]
        source: rustls::Error,
    },
}

/// The last valid certificate and key. Clones share them.
#[derive(Debug, Clone)]
pub struct Tls {
    files: Arc<Files>,
    current: Arc<ArcSwap<Current>>,
    read_at: Versions,
}

/// The configuration of new connections, and the check of client certificates in it.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    validity: Option<CertificateValidity>,
    verifier: Option<Arc<ClientVerifier>>,
}

#[derive(Debug)]
struct Files {
    certificate: BoundedFile,
    key: BoundedFile,
    client_certificates: ClientCertificates,
    /// The authorities of client certificates; `None` takes X.509-SVIDs of registered trust domains alone.
    client_authorities: Option<BoundedFile>,
    trust_domains: TrustDomains,
}

/// The versions of the files at their last read; `None` for a file that cannot be read.
type Versions = Vec<Option<FileVersion>>;

type Read = std::io::Result<(FileVersion, Vec<u8>)>;

impl Tls {
    /// Reads the certificate chain and the private key, and the authorities of client certificates if they are in a
    /// file: regular files of at most 512 KiB. Blocks on the file system.
    ///
    /// # Errors
    /// [`TlsError`], also if the key does not match the certificate.
    pub fn read(
        [certificate, key]: [&Path; 2],
        client_certificates: ClientCertificates,
        client_authorities: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let file = |path: &Path| BoundedFile::new(path, MAX_FILE_BYTES);
        let client_authorities = client_authorities.map(file);
        let files = Arc::new(Files {
            certificate: file(certificate),
            key: file(key),
            client_certificates,
            client_authorities,
            trust_domains: TrustDomains::default(),
        });
        let read: Vec<Read> = files.all().map(BoundedFile::read_now).collect();
        let read_at = versions(&read);
        Ok(Self { current: Arc::new(ArcSwap::new(files.config(read)?)), files, read_at })
    }

    /// Returns the validity of the certificate in use.
    #[must_use]
    pub fn validity(&self) -> Option<CertificateValidity> {
        self.current.load().validity
    }

    /// Takes the trust domains of X.509-SVIDs from the registry of this service.
    pub(super) fn follow_registry(&self, sts: &Arc<Sts>) {
        self.files.trust_domains.follow(sts);
    }

    /// Makes the handshake of a new connection. Returns it with the certificate of the client, if it presented one.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> std::io::Result<(TlsStream<S>, Option<Arc<ClientCertificate>>)> {
        let current = self.current.load_full();
        let stream = TlsAcceptor::from(Arc::clone(&current.config)).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let presented = session.peer_certificates().zip(current.verifier.as_ref());
        let certificate = presented.and_then(|(chain, verifier)| verifier.client_certificate(chain));
        Ok((stream, certificate.map(Arc::new)))
    }

    /// Reads the files again when they change, until shutdown.
    ///
    /// An invalid certificate is logged once, and the old certificate stays in use. Open
    /// connections are not affected.
    pub async fn follow(self, mut ended: watch::Receiver<bool>) {
        let mut seen = self.read_at.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = announced(&mut ended) => return,
            }
            let read = tokio::select! {
                read = self.files.read() => read,
                () = announced(&mut ended) => return,
            };
            if versions(&read) == seen {
                continue;
            }
            seen = versions(&read);
            match self.files.config(read) {
                Ok(config) => {
                    self.current.store(config);
                    tracing::info!(file = %self.files.certificate.path().display(), "reloaded the certificate");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "failed to load the changed certificate: the former one stays in use");
                }
            }
        }
    }
}

impl Files {
    /// Returns the files in the order in which [`Self::config`] takes their contents.
    fn all(&self) -> impl Iterator<Item = &BoundedFile> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_authorities)
    }

    async fn read(&self) -> Vec<Read> {
        let mut read = Vec::new();
        for file in self.all() {
            read.push(match file.read_if_changed(None).await {
                Ok(FileContent::Changed(version, bytes)) => Ok((version, bytes)),
                Ok(FileContent::Unchanged) => Err(std::io::ErrorKind::Other.into()),
                Err(error) => Err(error),
            });
        }
        read
    }

    fn verifier(
        &self,
        authorities: impl FnOnce() -> std::io::Result<Zeroizing<Vec<u8>>>,
    ) -> Result<ClientVerifier, TlsError> {
        let trust_domains = self.trust_domains.clone();
        match &self.client_authorities {
            None => Ok(ClientVerifier::of_trust_domains(trust_domains)),
            Some(file) => ClientVerifier::new(authorities(), trust_domains)
                .map_err(|source| TlsError::ClientAuthorities { path: file.path().to_owned(), source }),
        }
    }

    fn config(&self, read: Vec<Read>) -> Result<Arc<Current>, TlsError> {
        let mut contents = read.into_iter().map(|read| read.map(|(_, bytes)| Zeroizing::new(bytes)));
        let mut next = || contents.next().unwrap_or_else(|| Err(std::io::ErrorKind::NotFound.into()));
        let (certificate, key) = (next(), next());
        let verifier = match self.client_certificates {
            ClientCertificates::Off => None,
            ClientCertificates::Optional => Some(Arc::new(self.verifier(next)?)),
        };
        let [certificate_path, key_path] = [&self.certificate, &self.key].map(|file| file.path().to_owned());
        let chain = certificate.map_err(pem::Error::Io).and_then(|pem| CertificateDer::pem_slice_iter(&pem).collect());
        let chain: Vec<_> = chain.map_err(|source| TlsError::Certificate { path: certificate_path.clone(), source })?;
        let Some(leaf) = chain.first() else {
            return Err(TlsError::NoCertificate(certificate_path));
        };
        let validity = CertificateValidity::of(leaf);
        let key = key.map_err(pem::Error::Io).and_then(|pem| PrivateKeyDer::from_pem_slice(&pem));
        let key = key.map_err(|source| TlsError::Key { path: key_path.clone(), source })?;
        let mut config = configure(chain, key, verifier.clone()).map_err(|source| TlsError::Pair {
            certificate: certificate_path,
            key: key_path,
            source,
        })?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Arc::new(Current { config: Arc::new(config), validity, verifier }))
    }
}

fn versions(read: &[Read]) -> Versions {
    read.iter().map(|read| read.as_ref().ok().map(|(version, _)| *version)).collect()
}

fn configure(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Option<Arc<ClientVerifier>>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12])?;
    let config = match verifier {
        None => config.with_no_client_auth(),
        Some(verifier) => config.with_client_cert_verifier(verifier),
    };
    config.with_single_cert(chain, key)
}

/// Returns the certificates of a PEM file (DER).
pub(super) fn certificates(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    CertificateDer::pem_slice_iter(pem).map(|certificate| certificate.ok().map(|der| der.to_vec())).collect()
}
