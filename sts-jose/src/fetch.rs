//! The only place that opens connections to others (in addition, `dev` calls the server in its
//! process). Requests have a size limit and a time limit, and follow no redirects. They use no
//! proxy except a configured one. They go only to addresses that the configuration or the issuer's
//! discovery document names.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{NoProxy, Proxy, StatusCode};
use serde_json::Value;
use url::Url;

use crate::bounded_file::{BoundedFile, FileContent, FileVersion, MAX_FILE_BYTES};
use crate::egress::Egress;
use crate::fetch_error::{FetchError, cut};
use crate::json;
use crate::key_set::KeySet;
use crate::remote::{Location, RemoteConfig};

/// The maximum length of a key set or a discovery document, in bytes.
pub const MAX_KEY_SET_BYTES: usize = 512 * 1024;

/// The time limit of a single request. A whole refresh has a separate limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum length of a bearer token file, in bytes.
pub(crate) const MAX_BEARER_TOKEN_BYTES: usize = 16 * 1024;

/// The reason there is no HTTP client: a fault of the configuration or of the machine.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The CA file holds no certificate in PEM.
    #[error("the ca file holds no pem certificate")]
    NoCertificate,
    /// The proxy, a certificate of the CA file, or the trust store of the machine cannot be used.
    #[error("the http client could not be built")]
    Build(#[from] reqwest::Error),
}

/// Returns the HTTP client for key sets, without a proxy. See [`http_client_via`].
///
/// # Errors
/// See [`HttpClientError`].
pub fn http_client(ca_pem: Option<&[u8]>) -> Result<reqwest::Client, HttpClientError> {
    http_client_via(&Egress::default(), ca_pem)
}

/// Returns the HTTP client for key sets. It follows no redirects, uses only the proxies of
/// `egress`, decodes no compression, and gives up a request after 5 seconds. With `ca_pem` (one or
/// more PEM certificates), it trusts exactly those authorities, like `curl --cacert`, and not the
/// system's. Without it, the client trusts the system's authorities.
///
/// # Errors
/// See [`HttpClientError`]. Without `ca_pem`, the client cannot be built on a machine without a
/// trust store.
pub fn http_client_via(egress: &Egress, ca_pem: Option<&[u8]>) -> Result<reqwest::Client, HttpClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent("agent-sts")
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .connect_timeout(REQUEST_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .pool_max_idle_per_host(1)
        .tls_backend_rustls();
    let direct = NoProxy::from_string(&egress.direct_hosts());
    if let Some(url) = egress.https() {
        builder = builder.proxy(Proxy::https(url.clone())?.no_proxy(direct.clone()));
    }
    if let Some(url) = egress.http() {
        builder = builder.proxy(Proxy::http(url.clone())?.no_proxy(direct));
    }
    if let Some(pem) = ca_pem {
        let certificates = reqwest::Certificate::from_pem_bundle(pem)?;
        if certificates.is_empty() {
            return Err(HttpClientError::NoCertificate);
        }
        builder = builder.tls_certs_only(certificates);
    }
    Ok(builder.build()?)
}

/// The HTTP client for key sets. It either comes from [`http_client`], or trusts the authorities of
/// a file. The latter is rebuilt when the file changes. Clones share it.
#[derive(Debug, Clone)]
pub struct KeySetClient(Trust);

#[derive(Debug, Clone)]
enum Trust {
    Given(reqwest::Client),
    CaFile(Arc<CaFile>),
}

#[derive(Debug)]
struct CaFile {
    file: BoundedFile,
    egress: Egress,
    made: Mutex<Option<(FileVersion, reqwest::Client)>>,
}

impl From<reqwest::Client> for KeySetClient {
    fn from(client: reqwest::Client) -> Self {
        Self(Trust::Given(client))
    }
}

impl KeySetClient {
    /// Returns a client that trusts exactly the authorities of a PEM file, and uses the proxies of
    /// `egress`. Reads nothing yet: each fetch checks the file.
    pub fn with_ca_file(path: impl Into<PathBuf>, egress: &Egress) -> Self {
        let file = BoundedFile::new(path, MAX_FILE_BYTES);
        Self(Trust::CaFile(Arc::new(CaFile { file, egress: egress.clone(), made: Mutex::default() })))
    }

    async fn current(&self) -> Result<reqwest::Client, FetchError> {
        match &self.0 {
            Trust::Given(client) => Ok(client.clone()),
            Trust::CaFile(ca_file) => ca_file.client().await,
        }
    }
}

impl CaFile {
    async fn client(&self) -> Result<reqwest::Client, FetchError> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = made.as_ref().map(|(version, _)| *version);
        match (self.file.read_if_changed(known).await.map_err(FetchError::CaFile)?, made) {
            (FileContent::Unchanged, Some((_, client))) => Ok(client),
            (FileContent::Unchanged, None) => Err(FetchError::NeverRead),
            (FileContent::Changed(version, pem), _) => {
                let client = http_client_via(&self.egress, Some(&pem)).map_err(FetchError::HttpClient)?;
                *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some((version, client.clone()));
                Ok(client)
            }
        }
    }
}

/// Sends requests that other code has made, such as traces to their collector. The limits are those
/// of [`http_client`], and an answer of at most [`MAX_KEY_SET_BYTES`].
#[derive(Debug, Clone)]
pub struct Sender(reqwest::Client);

impl Sender {
    /// Returns a sender that trusts the system's authorities.
    ///
    /// # Errors
    /// See [`HttpClientError`].
    pub fn new() -> Result<Self, HttpClientError> {
        http_client(None).map(Self)
    }

    /// Sends a request and returns the answer, regardless of its status.
    ///
    /// # Errors
    /// [`FetchError::Http`] or [`FetchError::TooLarge`].
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, FetchError> {
        let failed = |error: reqwest::Error| FetchError::Http(error.without_url());
        let response = self.0.execute(request.try_into().map_err(failed)?).await.map_err(failed)?;
        let mut answer = http::Response::new(Bytes::new());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        *answer.body_mut() = read_body(response).await?.into();
        Ok(answer)
    }
}

/// Checks that keys may be fetched from `url`. The scheme must be https, or http if `allow_http` is
/// true or the host is loopback. The URL must have a host, and no user or password.
///
/// # Errors
/// [`FetchError::NotHttps`] or [`FetchError::BadUrl`].
pub fn check_url(url: &Url, allow_http: bool) -> Result<(), FetchError> {
    if !url.has_host() || !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::BadUrl(None));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if allow_http || is_loopback(url) => Ok(()),
        _ => Err(FetchError::NotHttps),
    }
}

/// Performs a whole refresh: discovery if needed, then the keys, all within `timeout`.
pub(crate) async fn fetch_key_set(
    config: &RemoteConfig,
    bearer_token: Option<&BoundedFile>,
    timeout: Duration,
) -> Result<KeySet, FetchError> {
    tokio::time::timeout(timeout, fetch_unbounded(config, bearer_token)).await.unwrap_or(Err(FetchError::TimedOut))
}

/// The credential of a fetch.
#[derive(Debug, Clone, Copy)]
enum Bearer<'a> {
    /// No credential is configured, or it belongs to another URL.
    No,
    Sent(&'a HeaderValue),
    /// A credential is configured, but must not be sent to this URL.
    Withheld,
}

impl<'a> Bearer<'a> {
    fn of(token: Option<&'a HeaderValue>) -> Self {
        token.map_or(Self::No, Self::Sent)
    }

    /// Returns the credential for a URL that the issuer's discovery document names. It is sent to
    /// the issuer's own origin only.
    fn at_discovered(self, url: &Url, issuer: &Url) -> Self {
        match self {
            Self::Sent(_) if url.origin() != issuer.origin() => Self::Withheld,
            Self::No | Self::Sent(_) | Self::Withheld => self,
        }
    }
}

async fn fetch_unbounded(config: &RemoteConfig, bearer_token: Option<&BoundedFile>) -> Result<KeySet, FetchError> {
    let token = match bearer_token {
        Some(file) => Some(read_bearer_token(file).await?),
        None => None,
    };
    let bearer = Bearer::of(token.as_ref());
    let http = config.http.current().await?;
    let (jwks_uri, bearer) = match &config.location {
        Location::JwksUri(url) => {
            check_url(url, config.allow_http).map_err(|error| error.at(url))?;
            (url.clone(), bearer)
        }
        Location::Discovery => discover(config, &http, bearer).await?,
    };
    let keys = get(&http, jwks_uri.clone(), bearer).await.and_then(|body| Ok(KeySet::parse(&body)?));
    keys.map_err(|error| error.at(&jwks_uri))
}

/// Reads `jwks_uri` from the issuer's discovery document, at one of the [`discovery_places`].
/// Ignores all other members of the document. Returns the URL with the credential that may be sent
/// there.
async fn discover<'a>(
    config: &RemoteConfig,
    http: &reqwest::Client,
    bearer: Bearer<'a>,
) -> Result<(Url, Bearer<'a>), FetchError> {
    let issuer = parse_url(&config.issuer)?;
    check_url(&issuer, config.allow_http)?;
    if issuer.query().is_some() || issuer.fragment().is_some() {
        return Err(FetchError::BadUrl(None));
    }
    let mut tried = Vec::new();
    for place in discovery_places(&issuer) {
        match document_at(http, &place, bearer, &config.issuer).await.map_err(|error| error.at(&place)) {
            Ok(jwks_uri) => {
                check_url(&jwks_uri, config.allow_http).map_err(|error| error.at(&jwks_uri))?;
                // An https issuer elsewhere must not redirect us to our own loopback interface.
                if issuer.scheme() == "https" && jwks_uri.scheme() != "https" && !config.allow_http {
                    return Err(FetchError::NotHttps.at(&jwks_uri));
                }
                let bearer = bearer.at_discovered(&jwks_uri, &issuer);
                return Ok((jwks_uri, bearer));
            }
            Err(error) if error.is_answer() => tried.push(error),
            Err(error) => return Err(error),
        }
    }
    Err(FetchError::NotDiscovered { issuer: cut(&config.issuer), tried })
}

/// Returns the places of a discovery document, in the order to try. These are `OpenID` Connect
/// Discovery 1.0 §4, RFC 8414 §3, and `OpenID` Connect with the path inserted as in RFC 8414 (§5
/// there).
fn discovery_places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let paths = [
        format!("{path}/.well-known/openid-configuration"),
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ];
    let mut places: Vec<Url> = Vec::new();
    for path in paths {
        let mut place = issuer.clone();
        place.set_path(&path);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Returns the `jwks_uri` of the issuer's document at `place`.
async fn document_at(http: &reqwest::Client, place: &Url, bearer: Bearer<'_>, issuer: &str) -> Result<Url, FetchError> {
    let body = get(http, place.clone(), bearer).await?;
    let document = json::parse_document(&body).map_err(FetchError::Discovery)?;
    let found = document.get("issuer").and_then(Value::as_str);
    if found != Some(issuer) {
        return Err(FetchError::IssuerMismatch { expected: cut(issuer), found: found.map(cut) });
    }
    parse_url(document.get("jwks_uri").and_then(Value::as_str).ok_or(FetchError::JwksUriMissing)?)
}

/// Sends a GET request to `url` and returns the body, of at most [`MAX_KEY_SET_BYTES`]. The bearer
/// token is sent to this URL only. A redirect is an error, like any other status except 200.
async fn get(http: &reqwest::Client, url: Url, bearer: Bearer<'_>) -> Result<Vec<u8>, FetchError> {
    let mut request = http.get(url).header(ACCEPT, "application/jwk-set+json, application/json");
    if let Bearer::Sent(token) = bearer {
        request = request.header(AUTHORIZATION, token);
    }
    let response = request.send().await.map_err(FetchError::of_request)?;
    match (response.status(), bearer) {
        (StatusCode::OK, _) => read_body(response).await,
        (status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), Bearer::Withheld) => {
            Err(FetchError::BearerWithheld(status.as_u16()))
        }
        (status, _) => {
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()).map(cut);
            Err(FetchError::Status { status: status.as_u16(), location })
        }
    }
}

/// Reads a body of at most [`MAX_KEY_SET_BYTES`].
async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(FetchError::of_request)? {
        if body.len() + chunk.len() > MAX_KEY_SET_BYTES {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads the token file. Every fetch reads it again, because Kubernetes rotates such files.
async fn read_bearer_token(file: &BoundedFile) -> Result<HeaderValue, FetchError> {
    let bytes = match file.read_if_changed(None).await.map_err(FetchError::BearerTokenFile)? {
        FileContent::Changed(_, bytes) => bytes,
        FileContent::Unchanged => Vec::new(),
    };
    let token = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    if token.is_empty() {
        return Err(FetchError::BearerToken(None));
    }
    let mut value =
        HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| FetchError::BearerToken(Some(error)))?;
    value.set_sensitive(true);
    Ok(value)
}

fn parse_url(text: &str) -> Result<Url, FetchError> {
    Url::parse(text).map_err(|error| FetchError::BadUrl(Some(error)))
}

/// Returns true if a URL leads to this machine: by address, or by the name `localhost`. No other
/// name is resolved for this check.
pub fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || IpAddr::from_str(address).is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_allowed_http_is_fetched() {
        let rows = [
            ("https://idp.example/jwks", false, true),
            ("http://idp.example/jwks", false, false),
            ("http://idp.example/jwks", true, true),
            ("http://127.0.0.1:81/jwks", false, true),
            ("http://[::1]:81/jwks", false, true),
            ("http://localhost/jwks", false, true),
            ("http://localhost.evil.example/jwks", false, false),
            ("http://127.0.0.1.evil.example/jwks", false, false),
            ("file:///etc/passwd", true, false),
            ("ftp://idp.example/jwks", true, false),
            ("https://user:pass@idp.example/jwks", false, false),
            ("https://user@idp.example/jwks", false, false),
        ];
        for (url, allow_http, fits) in rows {
            assert_eq!(check_url(&Url::parse(url).unwrap(), allow_http).is_ok(), fits, "{url}");
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        assert!(matches!(http_client(Some(b"")), Err(HttpClientError::NoCertificate)));
        assert!(matches!(http_client(Some(b"no pem")), Err(HttpClientError::NoCertificate)));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(http_client(Some(broken)), Err(HttpClientError::Build(_))));
    }
}
