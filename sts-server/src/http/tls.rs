//! TLS of the listeners: the certificate in use, and how it follows its files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig};

use super::listener::announced;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The one protocol that is spoken inside.
const HTTP_1_1: &[u8] = b"http/1.1";

/// A certificate cannot be served. No text of it quotes a key.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate file holds no certificates.
    #[error("no certificate can be read from {path}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The certificate file is well-formed, and empty.
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    /// The key file holds no private key.
    #[error("no private key can be read from {path}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The two do not belong together, or are of a kind that is not served.
    #[error("the certificate of {certificate} cannot be served with the private key of {key}")]
    Pair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate and its key, as they were last read without fault. Clones are one.
#[derive(Debug, Clone)]
pub struct Tls {
    files: Files,
    current: Arc<ArcSwap<ServerConfig>>,
    read_at: Stamps,
}

#[derive(Debug, Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What tells that a file is not the one that was read: when it was changed, and its length. None where it cannot be seen.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// Reads the certificate chain and the private key. Blocks on the file system.
    ///
    /// # Errors
    /// [`TlsError`], also where the key is not that of the certificate.
    pub fn read([certificate, key]: [&Path; 2]) -> Result<Self, TlsError> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        // Before the content: a change meanwhile is seen at the next look.
        let read_at = files.stamps();
        let current = Arc::new(ArcSwap::new(files.read()?));
        Ok(Self { files, current, read_at })
    }

    /// What does the handshakes of connections that come now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again when they have changed, until the end is announced. What cannot be served is told once, and the old
    /// certificate stays; connections that are open are not touched.
    pub async fn follow(self, mut ended: watch::Receiver<bool>) {
        let mut seen = self.read_at;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = announced(&mut ended) => return,
            }
            let files = self.files.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let stamps = files.stamps();
                (stamps != seen).then(|| (stamps, files.read()))
            });
            let Ok(Some((stamps, read))) = looked.await else { continue };
            seen = stamps;
            match read {
                Ok(config) => {
                    self.current.store(config);
                    tracing::info!(file = %self.files.certificate.display(), "the certificate was read again");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the changed certificate cannot be served, the old one stays");
                }
            }
        }
    }
}

impl Files {
    fn stamps(&self) -> Stamps {
        [&self.certificate, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|source| TlsError::Certificate { path: self.certificate.clone(), source })?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(self.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|source| TlsError::Key { path: self.key.clone(), source })?;
        let mut config = configure(chain, key).map_err(|source| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Arc::new(config))
    }
}

fn configure(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
}
