//! An HTTP client whose client certificate is in files that the operator replaces.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretSlice;
use sts_jose::{BoundedFile, FileContent, FileVersion, HttpClientError};

use super::certificate_files::{CertificateFiles, joined, leaf, read_now, unreadable, x5t_s256};
use super::http_options::HttpClient;
#[cfg(feature = "reqwest")]
use super::http_options::HttpOptions;

/// A client, or the client of the present certificate.
#[cfg(feature = "reqwest")]
#[derive(Debug)]
pub(crate) enum ClientSource {
    /// A client with fixed options.
    Fixed(HttpClient),
    /// A client whose certificate is in files.
    Followed(Box<FollowedClient>),
}

#[cfg(feature = "reqwest")]
impl HttpOptions {
    /// Makes a client that follows the files of its certificate, if it has any.
    pub(crate) fn source(&self) -> Result<ClientSource, HttpClientError> {
        let Some(files) = self.certificate_files() else { return self.build().map(ClientSource::Fixed) };
        let options = self.clone();
        let followed = FollowedClient::open(files, move |pem| options.build_with(Some(pem)))?;
        Ok(ClientSource::Followed(Box::new(followed)))
    }
}

/// An HTTP client that is made again when a file of its client certificate has changed. If the new
/// files cannot be used, as halfway through their replacement, the client from before stays in use,
/// and a single warning is logged.
pub(crate) struct FollowedClient {
    files: [BoundedFile; 2],
    make: Make,
    made: Mutex<Made>,
    is_failing: AtomicBool,
}

/// A function that makes a client with a certificate and key, in PEM.
type Make = Box<dyn Fn(&SecretSlice<u8>) -> Result<HttpClient, HttpClientError> + Send + Sync>;

#[derive(Clone)]
struct Made {
    versions: [FileVersion; 2],
    client: HttpClient,
    /// The thumbprint of the certificate.
    x5t_s256: Arc<str>,
}

impl FollowedClient {
    /// Reads the files and makes the first client.
    pub(crate) fn open(
        files: &CertificateFiles,
        make: impl Fn(&SecretSlice<u8>) -> Result<HttpClient, HttpClientError> + Send + Sync + 'static,
    ) -> Result<Self, HttpClientError> {
        let (files, make) = (files.bounded(), Box::new(make));
        let made = Made::new(read_now(&files)?, &*make)?;
        Ok(Self { files, make, made: Mutex::new(made), is_failing: AtomicBool::new(false) })
    }

    /// Returns the client with the present certificate. Makes it again if a file has changed.
    pub(crate) async fn current(&self) -> HttpClient {
        let made = self.lock().clone();
        let changed = match self.is_changed(&made).await {
            Ok(false) => None,
            Ok(true) => Some(self.make_again().await),
            Err(error) => Some(Err(error)),
        };
        let (is_failing, client) = match changed {
            None => (false, made.client),
            Some(Ok(again)) => {
                let client = again.client.clone();
                tracing::info!(file = %self.path(), "read a changed client certificate");
                *self.lock() = again;
                (false, client)
            }
            Some(Err(error)) => {
                if !self.is_failing.load(Ordering::Relaxed) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(file = %self.path(), error, "failed to read a client certificate again: the one from before stays in use");
                }
                (true, made.client)
            }
        };
        self.is_failing.store(is_failing, Ordering::Relaxed);
        client
    }

    /// Returns the client without looking at the files.
    #[cfg(feature = "reqwest")]
    pub(crate) fn last(&self) -> HttpClient {
        self.lock().client.clone()
    }

    /// Returns the thumbprint of the certificate that was used last: the `cnf.x5t#S256` of tokens that
    /// are bound to it.
    pub(crate) fn x5t_s256(&self) -> Arc<str> {
        Arc::clone(&self.lock().x5t_s256)
    }

    /// Returns the thumbprint of the present certificate. Makes the client again if a file has changed.
    pub(crate) async fn present(&self) -> Arc<str> {
        self.current().await;
        self.x5t_s256()
    }

    async fn is_changed(&self, made: &Made) -> Result<bool, HttpClientError> {
        for (file, version) in self.files.iter().zip(made.versions) {
            match file.read_if_changed(Some(version)).await.map_err(|source| unreadable(file, source))? {
                FileContent::Unchanged => {}
                FileContent::Changed(_, content) => {
                    // The content may be a key.
                    drop(SecretSlice::from(content));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn make_again(&self) -> Result<Made, HttpClientError> {
        let [certificate, key] = &self.files;
        Made::new([read(certificate).await?, read(key).await?], &*self.make)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> std::path::Display<'_> {
        let [certificate, _] = &self.files;
        certificate.path().display()
    }
}

impl Made {
    fn new(
        [(of_certificate, certificate), (of_key, key)]: [(FileVersion, Vec<u8>); 2],
        make: &(dyn Fn(&SecretSlice<u8>) -> Result<HttpClient, HttpClientError> + Send + Sync),
    ) -> Result<Self, HttpClientError> {
        let leaf = leaf(&certificate).ok_or(HttpClientError::NoCertificate);
        let client = make(&joined(certificate, key))?;
        Ok(Self { versions: [of_certificate, of_key], client, x5t_s256: x5t_s256(&leaf?) })
    }
}

impl fmt::Debug for FollowedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowedClient").field("files", &self.files).finish_non_exhaustive()
    }
}

async fn read(file: &BoundedFile) -> Result<(FileVersion, Vec<u8>), HttpClientError> {
    match file.read_if_changed(None).await.map_err(|source| unreadable(file, source))? {
        FileContent::Changed(version, content) => Ok((version, content)),
        FileContent::Unchanged => Err(unreadable(file, std::io::Error::other("it was not read"))),
    }
}
