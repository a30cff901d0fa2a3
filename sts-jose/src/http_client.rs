//! The HTTP clients, and their bounds.

use std::time::Duration;

use reqwest::{NoProxy, Proxy};

use crate::egress::Egress;

/// A key set or a discovery document may have this many bytes.
pub const MAX_KEY_SET_BYTES: usize = 512 * 1024;

/// The upper bound of every single request; a whole refresh has its own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The failure to make an HTTP client. A fault of the configuration or the machine.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The CA file holds no certificate in PEM.
    #[error("the ca file contains no pem certificate")]
    NoCertificate,
    /// A file of the client certificate cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The path of the file.
        path: std::path::PathBuf,
        /// The error of the file system.
        #[source]
        source: std::io::Error,
    },
    /// The proxy, a certificate of the CA file, or the machine's own trust store, cannot be used.
    #[error("the http client could not be built")]
    Build(#[from] reqwest::Error),
}

/// The HTTP client for key sets, which sends its requests directly. See [`http_client_via`].
///
/// # Errors
/// See [`HttpClientError`].
pub fn http_client(ca_pem: Option<&[u8]>) -> Result<reqwest::Client, HttpClientError> {
    http_client_via(&Egress::default(), ca_pem)
}

/// The HTTP client for key sets. It follows no redirect, uses the proxies of `egress` alone, decodes no compression, and
/// gives up a request after 5 seconds. With `ca_pem` (one or more PEM certificates) exactly those authorities are trusted
/// and the system's are not, like `curl --cacert`; without, those of the system.
///
/// # Errors
/// See [`HttpClientError`]; on a machine without any trust store a client without `ca_pem` cannot be built.
pub fn http_client_via(egress: &Egress, ca_pem: Option<&[u8]>) -> Result<reqwest::Client, HttpClientError> {
    let mut builder = http_client_builder(REQUEST_TIMEOUT, ca_pem)?.pool_max_idle_per_host(1);
    let direct = NoProxy::from_string(&egress.direct_hosts());
    if let Some(url) = egress.https() {
        builder = builder.proxy(Proxy::https(url.clone())?.no_proxy(direct.clone()));
    }
    if let Some(url) = egress.http() {
        builder = builder.proxy(Proxy::http(url.clone())?.no_proxy(direct));
    }
    Ok(builder.build()?)
}

/// The bounds of every client of the workspace that speaks to an issuer: it follows no redirect, retries nothing, uses no proxy, decodes
/// no compression, and gives up a request after `timeout`. `ca_pem` is as for [`http_client_via`].
///
/// # Errors
/// See [`HttpClientError`].
pub fn http_client_builder(
    timeout: Duration,
    ca_pem: Option<&[u8]>,
) -> Result<reqwest::ClientBuilder, HttpClientError> {
    let builder = reqwest::Client::builder()
        .user_agent("agent-sts")
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .connect_timeout(timeout)
        .timeout(timeout)
        .tls_backend_rustls();
    match ca_pem {
        Some(pem) => trusting(builder, pem),
        None => Ok(builder),
    }
}

/// Trusts exactly the authorities of `ca_pem`.
///
/// # Errors
/// [`HttpClientError::NoCertificate`]; [`HttpClientError::Build`] for a malformed certificate.
pub fn trusting(builder: reqwest::ClientBuilder, ca_pem: &[u8]) -> Result<reqwest::ClientBuilder, HttpClientError> {
    let certificates = reqwest::Certificate::from_pem_bundle(ca_pem)?;
    if certificates.is_empty() {
        return Err(HttpClientError::NoCertificate);
    }
    Ok(builder.tls_certs_only(certificates))
}
