//! TLS of the listeners: the certificate in use, and its reload when its files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sts_jose::{BoundedFile, FileContent, FileVersion, MAX_FILE_BYTES};
use thiserror::Error;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};
use zeroize::Zeroizing;

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
    current: Arc<ArcSwap<ServerConfig>>,
    read_at: Versions,
}

#[derive(Debug)]
struct Files {
    certificate: BoundedFile,
    key: BoundedFile,
}

/// The versions of the two files at their last read; `None` for a file that cannot be read.
type Versions = [Option<FileVersion>; 2];

type Read = std::io::Result<(FileVersion, Vec<u8>)>;

impl Tls {
    /// Reads the certificate chain and the private key: regular files of at most 512 KiB. Blocks on
    /// the file system.
    ///
    /// # Errors
    /// [`TlsError`], also if the key does not match the certificate.
    pub fn read([certificate, key]: [&Path; 2]) -> Result<Self, TlsError> {
        let [certificate, key] = [certificate, key].map(|path| BoundedFile::new(path, MAX_FILE_BYTES));
        let files = Arc::new(Files { certificate, key });
        let read = [files.certificate.read_now(), files.key.read_now()];
        let read_at = versions(&read);
        Ok(Self { current: Arc::new(ArcSwap::new(files.config(read)?)), files, read_at })
    }

    /// Returns the acceptor for new connections.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again when they change, until shutdown.
    ///
    /// An invalid certificate is logged once, and the old certificate stays in use. Open
    /// connections are not affected.
    pub async fn follow(self, mut ended: watch::Receiver<bool>) {
        let mut seen = self.read_at;
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
    async fn read(&self) -> [Read; 2] {
        let read = [self.certificate.read_if_changed(None).await, self.key.read_if_changed(None).await];
        read.map(|content| match content? {
            FileContent::Changed(version, bytes) => Ok((version, bytes)),
            FileContent::Unchanged => Err(std::io::ErrorKind::Other.into()),
        })
    }

    fn config(&self, read: [Read; 2]) -> Result<Arc<ServerConfig>, TlsError> {
        let [certificate, key] = read.map(|read| read.map(|(_, bytes)| Zeroizing::new(bytes)));
        let [certificate_path, key_path] = [&self.certificate, &self.key].map(|file| file.path().to_owned());
        let chain = certificate.map_err(pem::Error::Io).and_then(|pem| CertificateDer::pem_slice_iter(&pem).collect());
        let chain: Vec<_> = chain.map_err(|source| TlsError::Certificate { path: certificate_path.clone(), source })?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(certificate_path));
        }
        let key = key.map_err(pem::Error::Io).and_then(|pem| PrivateKeyDer::from_pem_slice(&pem));
        let key = key.map_err(|source| TlsError::Key { path: key_path.clone(), source })?;
        let mut config = configure(chain, key).map_err(|source| TlsError::Pair {
            certificate: certificate_path,
            key: key_path,
            source,
        })?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Arc::new(config))
    }
}

fn versions(read: &[Read; 2]) -> Versions {
    read.each_ref().map(|read| read.as_ref().ok().map(|(version, _)| *version))
}

fn configure(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
}
