//! The agent's own tokens from an OpenID provider other than the STS.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use openidconnect::core::{CoreClient, CoreProviderMetadata, CoreTokenType};
use openidconnect::{
    AsyncHttpClient, ClientId, ClientSecret, DiscoveryError, HttpRequest, HttpResponse, IssuerUrl,
    OAuth2TokenResponse as _, RequestTokenError, Scope, StandardErrorResponse, core::CoreErrorResponseType,
};
use secrecy::{ExposeSecret as _, SecretString};
use sts_jose::{Clock, SystemClock};
use url::Url;

use crate::build_error::BuildError;
use crate::call::RefusalCode;
use crate::credentials::{SecretFile, SourcedToken, TokenSource, TokenSourceError};
use crate::net::{HttpTransport, Transport, TransportError};

/// The timeout of each HTTP request, for discovery and for the token.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time before its expiry at which a token is no longer used.
const MARGIN: Duration = Duration::from_secs(30);

/// The minimum pause between requests to an unreachable provider while a token is still valid.
const RETRY: Duration = Duration::from_secs(5);

/// A client of an OpenID provider that gets tokens by `client_credentials` (RFC 6749 §4.4).
///
/// Requests the next token at half of the lifetime of the current token. Returns the current token
/// while the provider is unreachable, and drops it at once if the provider refuses. Finds the token
/// endpoint by OpenID Connect Discovery 1.0. Follows no redirect.
///
/// ```
/// use std::sync::Arc;
/// use sts_client::ServiceAccount;
/// use sts_client::service_account::openid::OpenIdServiceAccount;
///
/// let own = OpenIdServiceAccount::builder("https://login.example.com", "nightly", "from a vault".into())
///     .scope("reports:read")
///     .build()?;
/// let service_account = ServiceAccount::Source(Arc::new(own));
/// # Ok::<(), sts_client::BuildError>(())
/// ```
pub struct OpenIdServiceAccount {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Secret,
    scopes: Vec<Scope>,
    audience: Option<String>,
    http: Http,
    clock: Arc<dyn Clock>,
    kept: Mutex<Option<Kept>>,
}

/// The source of the client secret.
#[derive(Debug)]
enum Secret {
    Given(SecretString),
    File(SecretFile),
}

impl Secret {
    async fn current(&self) -> ClientSecret {
        let secret = match self {
            Self::Given(secret) => secret.clone(),
            Self::File(file) => file.current().await,
        };
        ClientSecret::new(secret.expose_secret().to_owned())
    }
}

#[derive(Clone)]
struct Kept {
    token: SourcedToken,
    renew_at: Timestamp,
}

/// The builder of an [`OpenIdServiceAccount`].
#[derive(Debug)]
pub struct OpenIdServiceAccountBuilder {
    issuer: String,
    client_id: String,
    client_secret: Secret,
    scopes: Vec<String>,
    audience: Option<String>,
    allow_http: bool,
    ca_pem: Option<Vec<u8>>,
    transport: Option<Arc<dyn Transport>>,
    clock: Arc<dyn Clock>,
}

impl OpenIdServiceAccount {
    /// Returns a builder for the provider with this issuer identifier. The client authenticates by
    /// `client_secret_basic`.
    #[must_use]
    pub fn builder(
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: SecretString,
    ) -> OpenIdServiceAccountBuilder {
        OpenIdServiceAccountBuilder::new(issuer.into(), client_id.into(), Secret::Given(client_secret))
    }

    /// Returns the same builder, with a secret in a file that the operator may replace.
    #[must_use]
    pub fn builder_with_file(
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: SecretFile,
    ) -> OpenIdServiceAccountBuilder {
        OpenIdServiceAccountBuilder::new(issuer.into(), client_id.into(), Secret::File(client_secret))
    }

    /// Returns the stored token and the time of its renewal, unless the token is close to its
    /// expiry.
    fn kept(&self) -> Option<Kept> {
        let last_moment = self.clock.now().checked_add(MARGIN).unwrap_or(Timestamp::MAX);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone().filter(|kept| kept.token.expires_at.is_some_and(|death| last_moment < death))
    }

    fn keep(&self, kept: Option<Kept>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    async fn fetch(&self) -> Result<SourcedToken, TokenSourceError> {
        let metadata = CoreProviderMetadata::discover_async(self.issuer.clone(), &self.http).await;
        let client = CoreClient::from_provider_metadata(
            metadata.map_err(undiscovered)?,
            self.client_id.clone(),
            Some(self.client_secret.current().await),
        );
        let request = client.exchange_client_credentials().map_err(|error| TokenSourceError::Misconfigured {
            what: format!("the openid provider of the service account: {error}"),
        })?;
        let request = request.add_scopes(self.scopes.iter().cloned());
        let request = match &self.audience {
            Some(audience) => request.add_extra_param("audience", audience.as_str()),
            None => request,
        };
        let answer = request.request_async(&self.http).await.map_err(not_issued)?;
        if !matches!(answer.token_type(), CoreTokenType::Bearer) {
            return Err(unreadable());
        }
        let now = self.clock.now();
        let expires_at = answer.expires_in().map(|life| now.checked_add(life).unwrap_or(Timestamp::MAX));
        Ok(SourcedToken { token: answer.access_token().secret().as_str().into(), expires_at })
    }
}

#[async_trait]
impl TokenSource for OpenIdServiceAccount {
    fn forget(&self) {
        self.keep(None);
    }

    async fn token(&self) -> Result<SourcedToken, TokenSourceError> {
        let now = self.clock.now();
        let kept = self.kept();
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.renew_at) {
            return Ok(kept.token.clone());
        }
        match (self.fetch().await, kept) {
            (Ok(token), _) => {
                let life = token.expires_at.and_then(|death| Duration::try_from(now.duration_until(death)).ok());
                let renew_at = now.checked_add(life.unwrap_or_default() / 2).unwrap_or(now);
                self.keep(Some(Kept { token: token.clone(), renew_at }));
                Ok(token)
            }
            (Err(TokenSourceError::Unavailable(_)), Some(kept)) => {
                let renew_at = now.checked_add(RETRY).unwrap_or(now);
                self.keep(Some(Kept { token: kept.token.clone(), renew_at }));
                Ok(kept.token)
            }
            (Err(error), _) => {
                self.keep(None);
                Err(error)
            }
        }
    }
}

impl OpenIdServiceAccountBuilder {
    fn new(issuer: String, client_id: String, client_secret: Secret) -> Self {
        Self {
            issuer,
            client_id,
            client_secret,
            scopes: Vec::new(),
            audience: None,
            allow_http: false,
            ca_pem: None,
            transport: None,
            clock: Arc::new(SystemClock),
        }
    }

    /// Adds a requested scope.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scopes.push(scope.into());
        self
    }

    /// Sets the parameter `audience`, which some providers require.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Allows plain http to a provider that is not loopback.
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// Trusts only these certificate authorities, in PEM.
    #[must_use]
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.ca_pem = Some(pem);
        self
    }

    /// Sets the transport that sends requests. The certificate authorities of [`Self::ca_pem`] then
    /// have no effect.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the clock. Default [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the client. Opens no connection.
    ///
    /// # Errors
    /// [`BuildError::Contradiction`] if the issuer is not a permitted http(s) URL;
    /// [`BuildError::Http`] if the HTTP client cannot be built.
    pub fn build(self) -> Result<OpenIdServiceAccount, BuildError> {
        let unusable = |why: &dyn fmt::Display| {
            BuildError::contradiction(format!(
                "the issuer {:?} of the service account cannot be asked: {why}",
                self.issuer
            ))
        };
        let issuer = IssuerUrl::new(self.issuer.clone()).map_err(|error| unusable(&error))?;
        sts_jose::check_url(issuer.url(), self.allow_http).map_err(|error| unusable(&error))?;
        let transport = match (self.transport, &self.ca_pem) {
            (Some(transport), _) => transport,
            (None, Some(pem)) => Arc::new(HttpTransport::with_ca(TIMEOUT, pem)?),
            (None, None) => Arc::new(HttpTransport::new(TIMEOUT)?),
        };
        Ok(OpenIdServiceAccount {
            issuer,
            client_id: ClientId::new(self.client_id),
            client_secret: self.client_secret,
            scopes: self.scopes.into_iter().map(Scope::new).collect(),
            audience: self.audience,
            http: Http { transport, allow_http: self.allow_http },
            clock: self.clock,
            kept: Mutex::new(None),
        })
    }
}

impl fmt::Debug for OpenIdServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenIdServiceAccount")
            .field("issuer", &self.issuer.as_str())
            .field("client_id", &self.client_id.as_str())
            .finish_non_exhaustive()
    }
}

/// The HTTP client for `openidconnect`. It distinguishes an unreachable or overloaded provider from
/// a refusal. `openidconnect` does not, because it looks for an error code in every answer.
struct Http {
    transport: Arc<dyn Transport>,
    allow_http: bool,
}

/// The reason for a missing or unusable answer.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error(transparent)]
    Transport(TransportError),
    #[error("answered with status {0}")]
    Status(u16),
    #[error("its metadata contains a url that is not allowed")]
    Place(#[source] sts_jose::FetchError),
    #[error("its metadata contains a malformed url")]
    Url(#[source] url::ParseError),
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl Http {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = Url::parse(&request.uri().to_string()).map_err(HttpError::Url)?;
        sts_jose::check_url(&url, self.allow_http).map_err(HttpError::Place)?;
        let answer = tokio::time::timeout(TIMEOUT, self.transport.send(request)).await;
        let answer = answer.unwrap_or(Err(TransportError::TimedOut)).map_err(HttpError::Transport)?;
        match answer.status().as_u16() {
            status @ (429 | 500..=599) => Err(HttpError::Status(status)),
            _ => Ok(answer),
        }
    }
}

fn undiscovered(error: DiscoveryError<HttpError>) -> TokenSourceError {
    match error {
        DiscoveryError::Request(error) => unanswered(error),
        // This is not a refusal: the issuer URL is wrong, or another server answers there.
        other => TokenSourceError::Misconfigured {
            what: format!("the metadata of the service account's openid provider cannot be used: {other}"),
        },
    }
}

fn not_issued(error: RequestTokenError<HttpError, StandardErrorResponse<CoreErrorResponseType>>) -> TokenSourceError {
    match error {
        RequestTokenError::ServerResponse(refusal) => {
            TokenSourceError::Refused { code: RefusalCode::from_answer(refusal.error().as_ref()) }
        }
        RequestTokenError::Request(error) => unanswered(error),
        // The causes are dropped because they quote the answer, which may contain a token.
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => unreadable(),
    }
}

fn unanswered(error: HttpError) -> TokenSourceError {
    match error {
        HttpError::Transport(TransportError::TooLarge) => unreadable(),
        HttpError::Transport(_) | HttpError::Status(_) => TokenSourceError::Unavailable(Arc::new(error)),
        HttpError::Place(_) | HttpError::Url(_) => TokenSourceError::Misconfigured {
            what: format!("the service account's openid provider cannot be asked: {error}"),
        },
    }
}

fn unreadable() -> TokenSourceError {
    TokenSourceError::Refused { code: RefusalCode::INVALID_RESPONSE }
}
