//! Signing in at the issuer of operators: an authorization code (RFC 6749 §4.1) with PKCE
//! (RFC 7636).
//!
//! The result is an access token, with which the operator signs in as with one that is pasted. No
//! ID token is read: PKCE and `state` bind the code to the browser that began (RFC 9700 §2.1.1).

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use oauth2::basic::{BasicClient, BasicErrorResponseType};
use oauth2::{
    AsyncHttpClient, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, StandardErrorResponse,
    TokenResponse as _, TokenUrl,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sts_jose::{
    BoundedFile, Clock, Entropy, FetchError, FileContent, Flight, HttpClientError, KeySetClient, MAX_FILE_BYTES,
    Sender, check_url, http_client_via,
};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use url::Url;

use crate::config;
use crate::keys::KeyAccess;
use crate::postgres_url::secret_line;

/// The path to which the issuer sends browsers back, below `admin.url`.
pub const CALLBACK: &str = "/console/sign-in/callback";

/// The time that a discovery document is used for, as that of an issuer of tokens.
const FRESH_FOR: SignedDuration = SignedDuration::from_mins(5);
/// The number of random bytes in `state` and in the verifier of PKCE (RFC 7636 §7.1).
const RANDOM_BYTES: usize = 32;

/// The sign-in to the console at the issuer of operators.
#[derive(Debug)]
pub struct SignIn {
    issuer: String,
    client_id: ClientId,
    secret: Option<BoundedFile>,
    scopes: Vec<Scope>,
    /// The audience, where it is a URL that can be a `resource` (RFC 8707 §2).
    resource: Option<String>,
    redirect: RedirectUrl,
    http: Http,
    clock: Arc<dyn Clock>,
    lookup: Mutex<Option<Lookup>>,
}

/// A lookup of the discovery document, running or ended, and the time of its beginning.
#[derive(Debug, Clone)]
struct Lookup {
    begun_at: Timestamp,
    flight: Flight<Discovered>,
}

/// The discovery document, or the reason why there is none.
type Discovered = Result<Arc<Map<String, Value>>, Arc<FetchError>>;

/// The part of a sign-in that its browser keeps until it returns.
#[derive(Serialize, Deserialize)]
pub struct PendingSignIn {
    state: String,
    verifier: String,
}

/// The answer of the issuer, in the query of the browser's return (RFC 6749 §4.1.2, RFC 9207).
#[derive(Debug, Clone)]
pub struct Returned {
    /// The authorization code.
    pub code: Option<String>,
    /// The `state` that the sign-in began with.
    pub state: Option<String>,
    /// The error code.
    pub error: Option<String>,
    /// The issuer that answers.
    pub iss: Option<String>,
}

/// A sign-in at the issuer has failed.
#[derive(Debug, Error)]
pub enum SignInError {
    /// The issuer cannot be reached, or its answer cannot be read.
    #[error("the issuer cannot be asked")]
    Issuer(#[source] Arc<FetchError>),
    /// The discovery document lacks an endpoint.
    #[error("the discovery document of the issuer has no usable {0}")]
    Endpoint(&'static str),
    /// The client secret cannot be read.
    #[error("the client secret cannot be read")]
    Secret(#[source] std::io::Error),
    /// The browser has begun no sign-in, or another one.
    #[error("the sign-in was not begun in this browser, or too long ago")]
    State,
    /// The answer is from another issuer.
    #[error("the answer is from another issuer")]
    OtherIssuer,
    /// The issuer refused.
    #[error("the issuer refused: {0}")]
    Refused(String),
    /// The answer is neither a code nor an error.
    #[error("the answer of the issuer cannot be read")]
    Answer,
}

impl SignIn {
    /// Creates the sign-in of a configuration that names a client at the issuer.
    ///
    /// # Errors
    /// [`HttpClientError`] if the machine has no trust store.
    pub fn new(config: &config::Admin, access: &KeyAccess) -> Result<Option<Self>, HttpClientError> {
        let oidc = &config.oidc;
        let (Some(issuer), Some(client_id), Some(url)) = (&oidc.issuer, &oidc.client_id, &config.url) else {
            return Ok(None);
        };
        let mut redirect = url.clone();
        redirect.set_path(CALLBACK);
        // A proxy reads plain HTTP, and the client secret must reach only the issuer.
        let egress = access.egress.clone().for_https_alone();
        let client = match &oidc.ca_file {
            Some(ca_file) => KeySetClient::with_ca_file(ca_file, &egress),
            None => http_client_via(&egress, None)?.into(),
        };
        Ok(Some(Self {
            issuer: issuer.clone(),
            client_id: ClientId::new(client_id.clone()),
            secret: oidc.client_secret_file.as_ref().map(|path| BoundedFile::new(path, MAX_FILE_BYTES)),
            scopes: oidc.scopes.iter().cloned().map(Scope::new).collect(),
            resource: oidc.audience.clone().filter(|audience| audience.starts_with("https://")),
            redirect: RedirectUrl::from_url(redirect),
            http: Http(Arc::new(client.into())),
            clock: Arc::clone(&access.clock),
            lookup: Mutex::default(),
        }))
    }

    /// Returns the issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Begins a sign-in. Returns the URL at the issuer for the browser, and the part that the browser
    /// keeps.
    ///
    /// # Errors
    /// [`SignInError::Issuer`] and [`SignInError::Endpoint`].
    pub async fn begin(&self, entropy: &dyn Entropy) -> Result<(Url, PendingSignIn), SignInError> {
        let document = self.document().await?;
        let endpoint = AuthUrl::from_url(self.endpoint(&document, "authorization_endpoint")?);
        let client =
            BasicClient::new(self.client_id.clone()).set_auth_uri(endpoint).set_redirect_uri(self.redirect.clone());
        let verifier = PkceCodeVerifier::new(random(entropy));
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let request = client.authorize_url(|| CsrfToken::new(random(entropy)));
        let request = request.add_scopes(self.scopes.iter().cloned()).set_pkce_challenge(challenge);
        let request = match &self.resource {
            Some(resource) => request.add_extra_param("resource", resource),
            None => request,
        };
        let (url, state) = request.url();
        Ok((url, PendingSignIn { state: state.into_secret(), verifier: verifier.into_secret() }))
    }

    /// Ends a sign-in: exchanges the code that the browser brings. Returns the access token.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn finish(&self, pending: PendingSignIn, returned: Returned) -> Result<SecretString, SignInError> {
        let state = returned.state.as_deref().unwrap_or_default();
        if !bool::from(pending.state.as_bytes().ct_eq(state.as_bytes())) {
            return Err(SignInError::State);
        }
        if returned.iss.is_some_and(|iss| iss != self.issuer) {
            return Err(SignInError::OtherIssuer);
        }
        let code = match (returned.error, returned.code) {
            (Some(error), _) => return Err(SignInError::Refused(error_code(&error))),
            (None, Some(code)) => AuthorizationCode::new(code),
            (None, None) => return Err(SignInError::Answer),
        };
        let document = self.document().await?;
        let endpoint = TokenUrl::from_url(self.endpoint(&document, "token_endpoint")?);
        let client =
            BasicClient::new(self.client_id.clone()).set_token_uri(endpoint).set_redirect_uri(self.redirect.clone());
        let client = match &self.secret {
            Some(file) => client.set_client_secret(secret(file).await?),
            None => client,
        };
        let request = client.exchange_code(code).set_pkce_verifier(PkceCodeVerifier::new(pending.verifier));
        let request = match &self.resource {
            Some(resource) => request.add_extra_param("resource", resource),
            None => request,
        };
        let answer = request.request_async(&self.http).await.map_err(not_issued)?;
        Ok(answer.access_token().secret().as_str().into())
    }

    /// Returns the discovery document. Fetches it once for all callers, and again when it is old.
    async fn document(&self) -> Result<Arc<Map<String, Value>>, SignInError> {
        let lookup = self.lookup();
        let begun_at = lookup.begun_at;
        lookup.flight.outcome().await.map_err(|error| {
            let mut held = self.held();
            if held.as_ref().is_some_and(|held| held.begun_at == begun_at) {
                *held = None;
            }
            SignInError::Issuer(error)
        })
    }

    /// Returns the lookup that runs or is fresh, or begins one.
    fn lookup(&self) -> Lookup {
        let now = self.clock.now();
        let mut held = self.held();
        let fresh = held.as_ref().filter(|held| now.duration_since(held.begun_at).abs() < FRESH_FOR);
        if let Some(fresh) = fresh {
            return fresh.clone();
        }
        let (http, issuer) = (Arc::clone(&self.http.0), self.issuer.clone());
        let work = async move {
            let document = http.discovery_document(&issuer).await;
            document.map(Arc::new).map_err(Arc::new)
        };
        let lookup =
            Lookup { begun_at: now, flight: Flight::start(work, |error| Err(Arc::new(FetchError::Aborted(error)))) };
        *held = Some(lookup.clone());
        lookup
    }

    fn held(&self) -> MutexGuard<'_, Option<Lookup>> {
        self.lookup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an endpoint of the issuer. Plain HTTP is for an issuer on this machine alone.
    fn endpoint(&self, document: &Map<String, Value>, name: &'static str) -> Result<Url, SignInError> {
        let url = document.get(name).and_then(Value::as_str).and_then(|url| url.parse::<Url>().ok());
        let url = url.filter(|url| check_url(url, false).is_ok());
        let url = url.filter(|url| url.scheme() == "https" || self.issuer.starts_with("http://"));
        url.ok_or(SignInError::Endpoint(name))
    }
}

/// The HTTP client for `oauth2`. It tells an overloaded issuer from one that refuses.
#[derive(Debug)]
struct Http(Arc<Sender>);

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let response = self.0.send(request.map(Into::into)).await?;
            match response.status().as_u16() {
                status @ (429 | 500..=599) => Err(FetchError::Status { status, location: None }),
                _ => Ok(response.map(|body| body.to_vec())),
            }
        })
    }
}

impl SignInError {
    /// Returns true if the sign-in may succeed later without any change.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Issuer(_))
    }
}

impl std::fmt::Debug for PendingSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingSignIn").finish_non_exhaustive()
    }
}

/// Reads the client secret: one line. Every sign-in reads it again, so that it can be replaced.
async fn secret(file: &BoundedFile) -> Result<ClientSecret, SignInError> {
    let bytes = match file.read_if_changed(None).await.map_err(SignInError::Secret)? {
        FileContent::Changed(_, bytes) => bytes,
        FileContent::Unchanged => Vec::new(),
    };
    let line = std::str::from_utf8(&bytes).ok().and_then(secret_line);
    let kind = std::io::ErrorKind::InvalidData;
    let fault = || SignInError::Secret(std::io::Error::new(kind, "the file must hold one line, the secret"));
    Ok(ClientSecret::new(line.ok_or_else(fault)?.to_owned()))
}

fn not_issued(error: RequestTokenError<FetchError, StandardErrorResponse<BasicErrorResponseType>>) -> SignInError {
    match error {
        RequestTokenError::ServerResponse(response) => SignInError::Refused(error_code(response.error().as_ref())),
        RequestTokenError::Request(error) => SignInError::Issuer(Arc::new(error)),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => SignInError::Answer,
    }
}

fn random(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; RANDOM_BYTES];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns an error code of the issuer, as far as it has the form of one (RFC 6749 §4.1.2.1).
fn error_code(text: &str) -> String {
    let is_allowed = |char: &char| char.is_ascii_graphic() && !matches!(char, '"' | '\\');
    text.chars().filter(is_allowed).take(64).collect()
}
