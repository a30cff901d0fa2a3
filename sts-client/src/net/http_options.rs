//! The options of the HTTP client for an agent's own calls.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretSlice};
use sts_jose::HttpClientError;
use url::Url;

use super::certificate_files::{CertificateFiles, joined};

/// The type of the client that [`HttpOptions::build`] makes.
pub(crate) type HttpClient = reqwest::Client;

/// The default time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The default time limit between two reads.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The options of an HTTP client for calls that carry tokens.
///
/// The client follows no redirect, because the token was chosen for the URL of the call. reqwest
/// removes `Authorization` on a redirect to another host. It does not remove it on a redirect to
/// another route of the same host. It would send the tenant and all forwarded headers even to
/// another host. The caller receives the redirect as the response. The client keeps no cookies, and
/// reads no proxy from the environment.
///
/// ```
/// use std::time::Duration;
/// use sts_client::HttpOptions;
///
/// let client = HttpOptions::default().read_timeout(Duration::from_secs(120)).no_proxy("internal.example").build()?;
/// # Ok::<(), sts_client::HttpClientError>(())
/// ```
#[derive(Clone)]
pub struct HttpOptions {
    connect_timeout: Duration,
    read_timeout: Option<Duration>,
    ca_pem: Option<Arc<[u8]>>,
    proxy: Option<Url>,
    no_proxy: Vec<String>,
    identity: Option<ClientIdentity>,
}

/// The client certificate of a client.
#[derive(Clone)]
enum ClientIdentity {
    /// The certificate chain and key, in PEM.
    Pem(Arc<SecretSlice<u8>>),
    /// Files that the operator may replace.
    Files(CertificateFiles),
}

impl Default for HttpOptions {
    fn default() -> Self {
        let (connect_timeout, read_timeout) = (CONNECT_TIMEOUT, Some(READ_TIMEOUT));
        Self { connect_timeout, read_timeout, ca_pem: None, proxy: None, no_proxy: Vec::new(), identity: None }
    }
}

impl HttpOptions {
    /// Sets the time limit of a connection attempt. Default 5 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sts_client::HttpOptions;
    ///
    /// let options = HttpOptions::default().connect_timeout(Duration::from_secs(1)).read_timeout(Duration::from_secs(10));
    /// ```
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the time limit for the start of the response, and between two parts of it. Default 30
    /// s. A stream may take longer in total.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = Some(timeout);
        self
    }

    /// Removes the read time limit, for streams that may stay silent for an unknown time.
    ///
    /// ```
    /// use sts_client::HttpOptions;
    ///
    /// // A2A and MCP send events over a stream that may be silent for hours.
    /// let client = HttpOptions::default().without_read_timeout().build()?;
    /// # Ok::<(), sts_client::HttpClientError>(())
    /// ```
    #[must_use]
    pub fn without_read_timeout(mut self) -> Self {
        self.read_timeout = None;
        self
    }

    /// Trusts only these certificate authorities, in PEM. Default: those of the system.
    ///
    /// ```
    /// use sts_client::{HttpClientError, HttpOptions};
    ///
    /// // A file without a certificate is a mistake, not an empty list.
    /// let refused = HttpOptions::default().ca_pem(b"not a certificate".to_vec()).build();
    /// assert!(matches!(refused, Err(HttpClientError::NoCertificate)));
    /// ```
    #[must_use]
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// Sends calls through this proxy. Calls to this machine do not use it.
    ///
    /// ```
    /// use sts_client::HttpOptions;
    ///
    /// let client = HttpOptions::default()
    ///     .proxy("http://proxy.shop.example:3128".parse()?)
    ///     .no_proxy("shop.example")
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn proxy(mut self, proxy: Url) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Sends calls directly, without the proxy, to that host (`internal.example` and its
    /// subdomains), address or network (`10.0.0.0/8`).
    #[must_use]
    pub fn no_proxy(mut self, host: impl Into<String>) -> Self {
        self.no_proxy.push(host.into());
        self
    }

    /// Presents this client certificate with its chain, in PEM. The key, in PEM, proves its
    /// possession.
    ///
    /// ```no_run
    /// use sts_client::HttpOptions;
    ///
    /// let (certificate, key) = (std::fs::read("/etc/shop/agent.pem")?, std::fs::read("/etc/shop/agent-key.pem")?);
    /// let client = HttpOptions::default().client_certificate(certificate, key).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn client_certificate(mut self, certificate_pem: Vec<u8>, key_pem: Vec<u8>) -> Self {
        self.identity = Some(ClientIdentity::Pem(Arc::new(joined(certificate_pem, key_pem))));
        self
    }

    /// Presents the client certificate of these files, in PEM. `integrations::reqwest::client` looks at
    /// the files at most once a second, and makes its client again when one has changed. [`Self::build`]
    /// reads the files once.
    ///
    /// ```no_run
    /// use sts_client::HttpOptions;
    ///
    /// let options = HttpOptions::default().client_certificate_files("/run/secrets/agent.pem", "/run/secrets/agent.key");
    /// let client = options.build()?;
    /// # Ok::<(), sts_client::HttpClientError>(())
    /// ```
    #[must_use]
    pub fn client_certificate_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let files = CertificateFiles { certificate: certificate.into(), key: key.into() };
        self.identity = Some(ClientIdentity::Files(files));
        self
    }

    /// Makes a client. Opens no connection yet.
    ///
    /// # Errors
    /// [`HttpClientError::NoCertificate`] when the authorities hold no certificate.
    /// [`HttpClientError::Build`] when the authorities, the proxy, the client certificate or the
    /// machine's trust store cannot be used. [`HttpClientError::File`] when a file of the client
    /// certificate cannot be read.
    pub fn build(&self) -> Result<HttpClient, HttpClientError> {
        match &self.identity {
            None => self.build_with(None),
            Some(ClientIdentity::Pem(pem)) => self.build_with(Some(pem)),
            Some(ClientIdentity::Files(files)) => self.build_with(Some(&files.read()?)),
        }
    }

    /// Returns the files of the client certificate, if it is in files.
    #[cfg(feature = "reqwest")]
    pub(super) fn certificate_files(&self) -> Option<&CertificateFiles> {
        match &self.identity {
            Some(ClientIdentity::Files(files)) => Some(files),
            Some(ClientIdentity::Pem(_)) | None => None,
        }
    }

    pub(super) fn build_with(&self, identity: Option<&SecretSlice<u8>>) -> Result<HttpClient, HttpClientError> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.connect_timeout)
            .tls_backend_rustls();
        if let Some(timeout) = self.read_timeout {
            builder = builder.read_timeout(timeout);
        }
        if let Some(pem) = &self.ca_pem {
            builder = sts_jose::trusting(builder, pem)?;
        }
        if let Some(proxy) = &self.proxy {
            let direct =
                ["localhost", "127.0.0.0/8", "::1"].into_iter().chain(self.no_proxy.iter().map(String::as_str));
            let direct = direct.collect::<Vec<_>>().join(",");
            builder =
                builder.proxy(reqwest::Proxy::all(proxy.clone())?.no_proxy(reqwest::NoProxy::from_string(&direct)));
        }
        if let Some(pem) = identity {
            builder = builder.identity(reqwest::Identity::from_pem(pem.expose_secret())?);
        }
        Ok(builder.build()?)
    }
}

/// Omits the proxy's password and the key.
impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("connect_timeout", &self.connect_timeout)
            .field("read_timeout", &self.read_timeout)
            .finish_non_exhaustive()
    }
}
