//! The only module that sends the requests of this crate.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretSlice};
use sts_jose::{Clock, HttpClientError};

use super::certificate_files::CertificateFiles;
use super::followed_client::FollowedClient;

/// The maximum size of an answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// The time for which an idle connection is kept, so that the next exchange needs no handshake.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The time limit for the body of an unsuccessful answer. Its status alone decides the result.
const FAILURE_BODY_TIMEOUT: Duration = Duration::from_millis(250);

/// The maximum number of idle connections to one host.
const MAX_IDLE_CONNECTIONS: usize = 32;

/// Sends one HTTP request and reads its whole answer. Reads at most [`MAX_ANSWER_BYTES`], follows
/// no redirect, uses no proxy of the environment, and does not retry. Implement it to use another
/// HTTP client, or to inject faults in a test.
///
/// An answer with a status outside 200 to 299 is an answer even if its body fails. The body may
/// then be left out. Otherwise a refusal that breaks halfway would count as an outage.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use sts_client::net::{HttpTransport, Transport, TransportError};
/// use sts_client::{async_trait, http};
///
/// /// Counts the requests that it passes on.
/// #[derive(Debug)]
/// struct Counted(HttpTransport, AtomicUsize);
///
/// #[async_trait]
/// impl Transport for Counted {
///     async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, TransportError> {
///         self.1.fetch_add(1, Ordering::Relaxed);
///         self.0.send(request).await
///     }
/// }
/// ```
#[async_trait]
pub trait Transport: std::fmt::Debug + Send + Sync {
    /// Sends `request`. Its URI is absolute.
    ///
    /// # Errors
    /// See [`TransportError`].
    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, TransportError>;
}

/// The reason why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The connection failed, or it broke before the answer was complete.
    #[error("the request failed")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The time limit passed.
    #[error("timed out")]
    TimedOut,
    /// The answer is longer than [`MAX_ANSWER_BYTES`]. It is unreadable, but not an outage.
    #[error("longer than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
}

/// The default transport. Cloning is cheap and shares the connections.
///
/// ```
/// use std::time::Duration;
/// use sts_client::net::HttpTransport;
///
/// let transport = HttpTransport::new(Duration::from_secs(2))?;
/// # Ok::<(), sts_client::HttpClientError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: TransportClient,
}

#[derive(Debug, Clone)]
enum TransportClient {
    Fixed(reqwest::Client),
    /// A client with a client certificate from files.
    Followed(Arc<FollowedClient>),
}

impl HttpTransport {
    /// Makes a transport with a time limit of `timeout` for every request, from the connection to
    /// the last byte of the answer. It trusts the certificate authorities of the system.
    ///
    /// # Errors
    /// See [`HttpClientError`].
    pub fn new(timeout: Duration) -> Result<Self, HttpClientError> {
        client(timeout, None, None).map(Self::fixed)
    }

    /// Makes a transport like [`Self::new`] that trusts only the certificate authorities in
    /// `ca_pem`: one or more certificates in PEM.
    ///
    /// # Errors
    /// See [`HttpClientError`].
    pub fn with_ca(timeout: Duration, ca_pem: &[u8]) -> Result<Self, HttpClientError> {
        client(timeout, Some(ca_pem), None).map(Self::fixed)
    }

    /// Makes a client like that of [`Self::new`] or [`Self::with_ca`], with a client certificate.
    pub(crate) fn followed(
        timeout: Duration,
        ca_pem: Option<Vec<u8>>,
        files: &CertificateFiles,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<FollowedClient>, HttpClientError> {
        FollowedClient::open(files, clock, move |pem| client(timeout, ca_pem.as_deref(), Some(pem))).map(Arc::new)
    }

    /// Makes a transport that uses this client.
    pub(crate) fn following(client: Arc<FollowedClient>) -> Self {
        Self { client: TransportClient::Followed(client) }
    }

    fn fixed(client: reqwest::Client) -> Self {
        Self { client: TransportClient::Fixed(client) }
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, TransportError> {
        let request = request.try_into().map_err(failed)?;
        let answer = match &self.client {
            TransportClient::Fixed(client) => client.execute(request).await,
            TransportClient::Followed(followed) => followed.current().await.execute(request).await,
        };
        let mut answer = answer.map_err(failed)?;
        let body = if answer.status().is_success() {
            whole_body(&mut answer).await?
        } else {
            // The cause of a body failure adds nothing to the status.
            let body = tokio::time::timeout(FAILURE_BODY_TIMEOUT, whole_body(&mut answer)).await;
            body.ok().and_then(Result::ok).unwrap_or_default()
        };
        let mut response = http::Response::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

async fn whole_body(answer: &mut reqwest::Response) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(TransportError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn client(
    timeout: Duration,
    ca_pem: Option<&[u8]>,
    identity: Option<&SecretSlice<u8>>,
) -> Result<reqwest::Client, HttpClientError> {
    let mut builder = sts_jose::http_client_builder(timeout, ca_pem)?
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS);
    if let Some(pem) = identity {
        builder = builder.identity(reqwest::Identity::from_pem(pem.expose_secret())?);
    }
    Ok(builder.build()?)
}

fn failed(error: reqwest::Error) -> TransportError {
    if error.is_timeout() {
        return TransportError::TimedOut;
    }
    TransportError::Failed(Arc::new(error.without_url()))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    }

    /// Serves empty answers to clients that trust `authority`; returns the URL.
    async fn serve(authority: &CertifiedIssuer<'static, KeyPair>) -> String {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = parameters.signed_by(&key, authority).unwrap().into();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust the authority ends the handshake.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        });
        format!("https://localhost:{port}/")
    }

    async fn get(transport: HttpTransport, url: &str) -> Result<http::StatusCode, TransportError> {
        let request = http::Request::get(url).body(Vec::new()).unwrap();
        transport.send(request).await.map(|response| response.status())
    }

    #[tokio::test]
    async fn exactly_the_given_authorities_are_trusted() {
        let (ours, other) = (authority(), authority());
        let url = serve(&ours).await;
        let with = |authority: &CertifiedIssuer<'static, KeyPair>| {
            HttpTransport::with_ca(TIMEOUT, authority.pem().as_bytes()).unwrap()
        };
        assert_eq!(get(with(&ours), &url).await.unwrap(), 204);
        for untrusting in [with(&other), HttpTransport::new(TIMEOUT).unwrap()] {
            assert!(matches!(get(untrusting, &url).await, Err(TransportError::Failed(_))));
        }
    }

    #[test]
    fn a_file_of_authorities_without_any_is_refused() {
        for pem in [b"".as_slice(), b"no pem"] {
            assert!(matches!(HttpTransport::with_ca(TIMEOUT, pem), Err(HttpClientError::NoCertificate)));
        }
    }
}
