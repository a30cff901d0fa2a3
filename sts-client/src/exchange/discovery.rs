//! Discovery of the STS: its endpoints and keys, from its metadata (RFC 8414), cached.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use jiff::Timestamp;
use serde_json::{Map, Value};
use sts_jose::{Clock, Flight, KeySource, Location, RemoteConfig, RemoteKeySet, has_passed, is_loopback, json};
use url::Url;

use super::answer;
use super::error::{ExchangeError, Outage};
use crate::build_error::BuildError;
use crate::net::{Transport, TransportError};

/// The age at which metadata is refreshed in the background. The old metadata stays in use
/// meanwhile, also while the refresh fails.
const FRESH_FOR: Duration = Duration::from_secs(60 * 60);

/// The minimum time between two attempts to refresh.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// The configuration that is needed to find an STS.
#[derive(Debug)]
pub(super) struct DiscoveryConfig {
    pub(super) issuer: String,
    pub(super) allow_http: bool,
    pub(super) keys: Keys,
    /// True if the agent presents a client certificate, and uses the endpoints for it.
    pub(super) has_certificate: bool,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) clock: Arc<dyn Clock>,
}

/// The source of the keys of the STS.
#[derive(Debug)]
pub(super) enum Keys {
    /// A configured source, independent of the metadata.
    Given(KeySource),
    /// The `jwks_uri` of the metadata, fetched with this configuration except its location.
    AtJwksUri(Box<RemoteConfig>),
}

/// The members that are read from the metadata.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) token_endpoint: Endpoint,
    pub(super) introspection_endpoint: Option<Endpoint>,
    pub(super) keys: KeySource,
    jwks_uri: Option<Url>,
}

/// An endpoint of the STS, as a URL for proofs and as the URI of requests.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) url: Url,
    pub(super) uri: Uri,
}

/// The cached metadata of one STS. Cloning is cheap and shares it.
#[derive(Debug, Clone)]
pub(super) struct Discovery(Arc<DiscoveryInner>);

#[derive(Debug)]
struct DiscoveryInner {
    config: DiscoveryConfig,
    issuer: Url,
    state: Mutex<DiscoveryState>,
}

#[derive(Debug, Default)]
struct DiscoveryState {
    metadata: Option<Arc<Metadata>>,
    fetched_at: Option<Timestamp>,
    attempted_at: Option<Timestamp>,
    in_flight: Option<Flight<Fetched>>,
}

type Fetched = Result<Arc<Metadata>, ExchangeError>;

impl Endpoint {
    fn new(name: &str, url: Url) -> Result<Self, ExchangeError> {
        let uri = uri(name, &url)?;
        Ok(Self { url, uri })
    }
}

impl Discovery {
    /// Checks the configuration. Fetches nothing yet.
    pub(super) fn new(config: DiscoveryConfig) -> Result<Self, BuildError> {
        let issuer = usable_issuer(&config.issuer, config.allow_http)?;
        Ok(Self(Arc::new(DiscoveryInner { config, issuer, state: Mutex::default() })))
    }

    /// Returns the metadata. Fetches it if it was never read; all concurrent callers share one
    /// fetch.
    pub(super) async fn metadata(&self) -> Fetched {
        let flight = {
            let mut state = self.0.lock();
            let running = state.in_flight.clone().filter(Flight::is_running);
            match (state.metadata.clone(), running) {
                (Some(metadata), running) => {
                    if running.is_none() && self.0.refresh_is_due(&state) {
                        self.start(&mut state);
                    }
                    return Ok(metadata);
                }
                (None, Some(running)) => running,
                (None, None) => self.start(&mut state),
            }
        };
        flight.outcome().await
    }

    /// Starts a fetch. The caller holds the lock, so that `state` holds the fetch before it can
    /// finish.
    fn start(&self, state: &mut DiscoveryState) -> Flight<Fetched> {
        state.attempted_at = Some(self.0.config.clock.now());
        let inner = Arc::clone(&self.0);
        let fetch = async move {
            let outcome = inner.fetch().await;
            inner.finish(&outcome);
            outcome
        };
        let flight = Flight::start(fetch, |aborted| Err(given_up(aborted)));
        state.in_flight = Some(flight.clone());
        flight
    }
}

impl DiscoveryInner {
    async fn fetch(&self) -> Fetched {
        let document = match self.get(&self.oauth_url()).await? {
            Some(document) => document,
            // Some issuers serve only the metadata of OpenID Connect Discovery 1.0.
            None => self.get(&self.openid_url()).await?.ok_or_else(|| misconfigured("there is none"))?,
        };
        let document = json::parse_object(&document).map_err(|error| misconfigured(&error.to_string()))?;
        Ok(Arc::new(self.read(&document)?))
    }

    /// Returns the body at `url`; `None` if it does not exist (404).
    async fn get(&self, url: &Url) -> Result<Option<Vec<u8>>, ExchangeError> {
        let mut request = http::Request::new(Vec::new());
        *request.uri_mut() = uri("issuer", url)?;
        let response = match self.config.transport.send(request).await {
            Ok(response) => response,
            Err(error @ TransportError::TooLarge) => return Err(misconfigured(&error.to_string())),
            Err(error) => return Err(Outage::Transport(error).into()),
        };
        match response.status().as_u16() {
            200 => Ok(Some(response.into_body())),
            404 => Ok(None),
            429 | 500..=599 => Err(answer::unavailable(&response, self.config.clock.now())),
            status => Err(misconfigured(&format!("it was answered with status {status}"))),
        }
    }

    /// Returns the metadata URL of RFC 8414 §3.1: the issuer's path follows the well-known part.
    fn oauth_url(&self) -> Url {
        let path = self.issuer.path().trim_end_matches('/');
        let mut url = self.issuer.clone();
        url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        url
    }

    /// Returns the metadata URL of OpenID Connect Discovery 1.0 §4: the issuer's path precedes the
    /// well-known part.
    fn openid_url(&self) -> Url {
        let path = self.issuer.path().trim_end_matches('/');
        let mut url = self.issuer.clone();
        url.set_path(&format!("{path}/.well-known/openid-configuration"));
        url
    }

    fn read(&self, document: &Map<String, Value>) -> Result<Metadata, ExchangeError> {
        if document.get("issuer").and_then(Value::as_str) != Some(self.config.issuer.as_str()) {
            return Err(misconfigured("it is of another issuer"));
        }
        let token_endpoint = self.aliased(document, "token_endpoint")?;
        let token_endpoint = token_endpoint.ok_or_else(|| misconfigured("it has no token_endpoint"))?;
        let introspection_endpoint = self.aliased(document, "introspection_endpoint")?;
        let jwks_uri = self.endpoint(document, "jwks_uri")?;
        Ok(Metadata {
            token_endpoint: Endpoint::new("token_endpoint", token_endpoint)?,
            introspection_endpoint: introspection_endpoint
                .map(|url| Endpoint::new("introspection_endpoint", url))
                .transpose()?,
            keys: self.keys(jwks_uri.as_ref())?,
            jwks_uri,
        })
    }

    fn keys(&self, jwks_uri: Option<&Url>) -> Result<KeySource, ExchangeError> {
        let fetched_as = match &self.config.keys {
            Keys::Given(keys) => return Ok(keys.clone()),
            Keys::AtJwksUri(config) => config,
        };
        let jwks_uri = jwks_uri.ok_or_else(|| misconfigured("it has no jwks_uri"))?;
        let known = self.lock().metadata.clone().filter(|known| known.jwks_uri.as_ref() == Some(jwks_uri));
        if let Some(known) = known {
            return Ok(known.keys.clone());
        }
        let location = Location::JwksUri(jwks_uri.clone());
        Ok(KeySource::Remote(RemoteKeySet::new(RemoteConfig { location, ..fetched_as.as_ref().clone() })))
    }

    /// Returns an endpoint of the metadata, if present: with a client certificate the alias for it (RFC
    /// 8705 §5).
    fn aliased(&self, document: &Map<String, Value>, name: &str) -> Result<Option<Url>, ExchangeError> {
        let aliases = document.get("mtls_endpoint_aliases").and_then(Value::as_object);
        match aliases.filter(|aliases| self.config.has_certificate && aliases.contains_key(name)) {
            Some(aliases) => self.endpoint(aliases, name),
            None => self.endpoint(document, name),
        }
    }

    /// Returns an endpoint of the metadata, if present. It must be a URL that the agent may call.
    fn endpoint(&self, document: &Map<String, Value>, name: &str) -> Result<Option<Url>, ExchangeError> {
        let text = match document.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            Some(_) => return Err(misconfigured(&format!("its {name} is not a string"))),
        };
        let url = Url::parse(text).map_err(|error| misconfigured(&format!("its {name} is not a url: {error}")))?;
        sts_jose::check_url(&url, self.config.allow_http)
            .map_err(|error| misconfigured(&format!("its {name} may not be asked: {error}")))?;
        // A remote issuer must not direct this agent, with its credentials, to the agent's own
        // loopback.
        if !is_loopback(&self.issuer) && is_loopback(&url) {
            return Err(misconfigured(&format!("its {name} is loopback and the issuer is not")));
        }
        Ok(Some(url))
    }

    fn finish(&self, outcome: &Fetched) {
        let now = self.config.clock.now();
        let mut state = self.lock();
        state.in_flight = None;
        state.attempted_at = Some(now);
        match outcome {
            Ok(metadata) => {
                state.metadata = Some(Arc::clone(metadata));
                state.fetched_at = Some(now);
            }
            Err(failure) => {
                let error: &(dyn std::error::Error + 'static) = failure;
                tracing::warn!(issuer = self.config.issuer, error, "the metadata of the sts could not be fetched");
            }
        }
    }

    fn refresh_is_due(&self, state: &DiscoveryState) -> bool {
        let now = self.config.clock.now();
        has_passed(state.fetched_at, now, FRESH_FOR) && has_passed(state.attempted_at, now, REFRESH_INTERVAL)
    }

    fn lock(&self) -> MutexGuard<'_, DiscoveryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn usable_issuer(issuer: &str, allow_http: bool) -> Result<Url, BuildError> {
    let unusable = |why: &str| BuildError::contradiction(format!("the issuer {issuer:?} cannot be asked: {why}"));
    let url = Url::parse(issuer).map_err(|error| unusable(&error.to_string()))?;
    sts_jose::check_url(&url, allow_http).map_err(|error| unusable(&error.to_string()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unusable("it has a query or a fragment"));
    }
    Ok(url)
}

fn uri(name: &str, url: &Url) -> Result<Uri, ExchangeError> {
    Uri::try_from(url.as_str()).map_err(|error| misconfigured(&format!("its {name} is not a uri: {error}")))
}

fn misconfigured(why: &str) -> ExchangeError {
    ExchangeError::Misconfigured { what: format!("the metadata of the sts cannot be used: {why}") }
}

/// Returns the error for a fetch that the shutdown of the runtime aborted.
fn given_up(aborted: tokio::task::JoinError) -> ExchangeError {
    Outage::Transport(TransportError::Failed(Arc::new(aborted))).into()
}
