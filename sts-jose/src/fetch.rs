//! Requests for keys: with a size limit and a time limit, without redirects, through no proxy but a configured one, and only to
//! addresses that the configuration or the issuer's discovery document names.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION};
use serde_json::{Map, Value};
use url::Url;

use crate::bounded_file::{BoundedFile, FileContent, FileVersion, MAX_FILE_BYTES};
use crate::clock::Clock;
use crate::egress::Egress;
use crate::fetch_error::{FetchError, cut};
use crate::http_client::{HttpClientError, MAX_KEY_SET_BYTES, http_client, http_client_builder, http_client_via};
use crate::json;
use crate::key_set::KeySet;

/// The maximum length of a bearer token file, in bytes.
pub(crate) const MAX_BEARER_TOKEN_BYTES: usize = 16 * 1024;

/// The location of an issuer's keys.
#[derive(Debug, Clone)]
pub enum Location {
    /// The keys are at this URL.
    JwksUri(Url),
    /// The issuer's discovery document names the URL.
    Discovery,
}

/// The settings for fetching an issuer's keys.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// The issuer, exactly as in `iss`. With [`Location::Discovery`] it must be a URL.
    pub issuer: String,
    /// The location of its keys.
    pub location: Location,
    /// The client that sends the requests.
    pub http: KeySetClient,
    /// A file whose content is sent as a bearer token. It is sent to the origin of the issuer or,
    /// with [`Location::JwksUri`], to that URL, and to no other. Read for every fetch.
    pub bearer_token_file: Option<PathBuf>,
    /// True if plain http is allowed for hosts other than loopback.
    pub allow_http: bool,
    /// The clock that measures the intervals.
    pub clock: Arc<dyn Clock>,
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
/// of [`http_client`], and an answer of at most [`MAX_KEY_SET_BYTES`], unless it has its own.
#[derive(Debug, Clone)]
pub struct Sender {
    client: KeySetClient,
    max_bytes: usize,
}

impl From<KeySetClient> for Sender {
    fn from(client: KeySetClient) -> Self {
        Self { client, max_bytes: MAX_KEY_SET_BYTES }
    }
}

impl Sender {
    /// Returns a sender that trusts the system's authorities.
    ///
    /// # Errors
    /// See [`HttpClientError`].
    pub fn new() -> Result<Self, HttpClientError> {
        http_client(None).map(|client| KeySetClient::from(client).into())
    }

    /// Returns a sender that trusts the system's authorities, gives up a request after `timeout`, and
    /// accepts an answer of at most `max_bytes` bytes.
    ///
    /// # Errors
    /// See [`HttpClientError`].
    pub fn bounded(timeout: Duration, max_bytes: usize) -> Result<Self, HttpClientError> {
        let client = http_client_builder(timeout, None)?.build()?;
        Ok(Self { client: client.into(), max_bytes })
    }

    /// Fetches the discovery document of `issuer`, byte for byte its `issuer`. Its places are those of
    /// `OpenID` Connect Discovery 1.0 §4 and RFC 8414 §3.
    ///
    /// # Errors
    /// [`FetchError`] if the URL is not permitted, or no place has a document of the issuer.
    pub async fn discovery_document(&self, issuer: &str) -> Result<Map<String, Value>, FetchError> {
        let url = issuer_url(issuer, false)?;
        discover(&self.client.current().await?, &url, issuer, Bearer::No, Ok).await
    }

    /// Returns a sender that trusts the system's authorities, and uses the proxies of `egress`.
    ///
    /// # Errors
    /// See [`HttpClientError`].
    pub fn via(egress: &Egress) -> Result<Self, HttpClientError> {
        http_client_via(egress, None).map(|client| KeySetClient::from(client).into())
    }

    /// Sends a request and returns the answer, regardless of its status.
    ///
    /// # Errors
    /// [`FetchError::Http`] or [`FetchError::TooLarge`].
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, FetchError> {
        let failed = |error: reqwest::Error| FetchError::Http(error.without_url());
        let client = self.client.current().await?;
        let response = client.execute(request.try_into().map_err(failed)?).await.map_err(failed)?;
        let mut answer = http::Response::new(Bytes::new());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        *answer.body_mut() = read_body(response, self.max_bytes).await?.into();
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
        Location::Discovery => discover_keys(config, &http, bearer).await?,
    };
    let keys = get(&http, jwks_uri.clone(), bearer).await.and_then(|body| Ok(KeySet::parse(&body)?));
    keys.map_err(|error| error.at(&jwks_uri))
}

/// Reads `jwks_uri` from the issuer's discovery document. Returns the URL with the credential that
/// may be sent there.
async fn discover_keys<'a>(
    config: &RemoteConfig,
    http: &reqwest::Client,
    bearer: Bearer<'a>,
) -> Result<(Url, Bearer<'a>), FetchError> {
    let issuer = issuer_url(&config.issuer, config.allow_http)?;
    let jwks_uri = discover(http, &issuer, &config.issuer, bearer, jwks_uri).await?;
    check_url(&jwks_uri, config.allow_http).map_err(|error| error.at(&jwks_uri))?;
    // An https issuer elsewhere must not redirect us to our own loopback interface.
    if issuer.scheme() == "https" && jwks_uri.scheme() != "https" && !config.allow_http {
        return Err(FetchError::NotHttps.at(&jwks_uri));
    }
    let bearer = bearer.at_discovered(&jwks_uri, &issuer);
    Ok((jwks_uri, bearer))
}

/// Returns the URL of an issuer that may be asked for its discovery document.
fn issuer_url(issuer: &str, allow_http: bool) -> Result<Url, FetchError> {
    let issuer = parse_url(issuer)?;
    check_url(&issuer, allow_http)?;
    if issuer.query().is_some() || issuer.fragment().is_some() {
        return Err(FetchError::BadUrl(None));
    }
    Ok(issuer)
}

/// Returns what `read` takes from the first of the [`discovery_places`] that has a document of this
/// issuer with it.
async fn discover<T>(
    http: &reqwest::Client,
    url: &Url,
    issuer: &str,
    bearer: Bearer<'_>,
    read: impl Fn(Map<String, Value>) -> Result<T, FetchError>,
) -> Result<T, FetchError> {
    let mut tried = Vec::new();
    for place in discovery_places(url) {
        let document = document_at(http, &place, bearer, issuer).await;
        match document.and_then(&read).map_err(|error| error.at(&place)) {
            Ok(content) => return Ok(content),
            Err(error) if error.is_answer() => tried.push(error),
            Err(error) => return Err(error),
        }
    }
    Err(FetchError::NotDiscovered { issuer: cut(issuer), tried })
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

/// Returns the issuer's document at `place`.
async fn document_at(
    http: &reqwest::Client,
    place: &Url,
    bearer: Bearer<'_>,
    issuer: &str,
) -> Result<Map<String, Value>, FetchError> {
    let body = get(http, place.clone(), bearer).await?;
    let document = json::parse_document(&body).map_err(FetchError::Discovery)?;
    let found = document.get("issuer").and_then(Value::as_str);
    if found != Some(issuer) {
        return Err(FetchError::IssuerMismatch { expected: cut(issuer), found: found.map(cut) });
    }
    Ok(document)
}

fn jwks_uri(document: Map<String, Value>) -> Result<Url, FetchError> {
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
        (StatusCode::OK, _) => read_body(response, MAX_KEY_SET_BYTES).await,
        (status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), Bearer::Withheld) => {
            Err(FetchError::BearerWithheld(status.as_u16()))
        }
        (status, _) => {
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()).map(cut);
            Err(FetchError::Status { status: status.as_u16(), location })
        }
    }
}

/// Reads a body of at most `max_bytes`.
async fn read_body(mut response: reqwest::Response, max_bytes: usize) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(FetchError::of_request)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(FetchError::TooLarge(max_bytes));
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
