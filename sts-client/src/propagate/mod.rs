//! The credential and the headers of an outbound call.
//!
//! What lives here: the code that asks [`mod@decide`] for the decision and carries it out. No other
//! module decides, and no code here may weaken a decision. `builder` and `hop` prepare the routes
//! and find contradictions before the first call.
//!
//! What must never: a request to the STS, which is in `exchange`, or a cached token, which is in
//! `cache` and `service_account`. Add another rule of a route as a field of [`crate::Route`], a
//! field of [`decide::Rules`], a row of the table, and a key in `sts-client/README.md`.

#[cfg(any(feature = "a2a", feature = "reqwest", feature = "rmcp", feature = "tower"))]
pub(crate) mod again;
mod builder;
mod credential;
pub mod decide;
mod hop;
mod operation;
mod proof;
mod start_error;
#[cfg(feature = "rmcp")]
mod tool_call;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use sts_jose::{Clock, HttpClientError};
use tokio::task::JoinSet;
use tracing::Instrument as _;
use url::Url;

pub use builder::PropagatorBuilder;
pub use credential::Credential;
pub use operation::OutboundOperation;
pub use start_error::StartError;

use crate::cache::ExchangeCache;
use crate::call::{
    CallContext, Caller, Kind, Possession, RefusalCode, Route, Routes, X_DELEGATION_FALLBACK, X_TENANT_ID, headers,
    without_secrets,
};
use crate::error::Error;
use crate::exchange::{ExchangeError, ExchangeRequest, IssuedToken, Outage, Sts};
#[cfg(feature = "reqwest")]
use crate::net::ClientSource;
use crate::net::{HttpClient, HttpOptions};
use crate::possession::{Nonces, TokenHeader};
use crate::service_account::Slot;
use decide::{Answer, Decision, InboundToken, Plan, after, before};
use hop::{Exchange, Hop};
pub(crate) use proof::{Applied, Destination};
use proof::{Proven, prove};

/// The value of `X-Delegation-Fallback`.
const SERVICE_ACCOUNT: HeaderValue = HeaderValue::from_static("service-account");

/// The maximum number of tokens that [`Propagator::prefetch`] gets at the same time.
const PREFETCHES: usize = 8;

/// Sets the credential and the headers that the route of an outbound call allows, and no others. A
/// clone is cheap and shares the cache and the connections. Dropping the last clone stops the
/// background tasks.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sts_client::test_util::MockSts;
/// use sts_client::{CallContext, Caller, Propagator, Route, http::HeaderMap};
///
/// let url: sts_client::url::Url = "https://inventory.shop.example/stock".parse()?;
/// let route = Route::to("https://inventory.shop.example/".parse()?).audience("inventory");
/// let propagator = Propagator::builder().sts(MockSts::new().sts("coordinator")).route(route).build().await?;
///
/// let alice = CallContext::from(Caller::for_test().subject("alice").build());
/// let mut headers = HeaderMap::new();
/// propagator.apply(&alice, &url, &mut headers).await?;
/// assert!(headers["authorization"].to_str()?.starts_with("Bearer "));
/// # Ok(()) }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone)]
pub struct Propagator(Arc<PropagatorInner>);

#[derive(Debug)]
struct PropagatorInner {
    routes: Routes,
    /// A hop for each route, in the order of `routes`.
    hops: Vec<Hop>,
    sts: Option<Sts>,
    /// The nonces of the targets.
    nonces: Nonces,
    http: HttpOptions,
    cache: ExchangeCache,
    clock: Arc<dyn Clock>,
    /// The renewal of the stand-in tokens. Dropping the set aborts it.
    _renewals: JoinSet<()>,
}

impl Propagator {
    /// Returns a builder without routes, STS or service account.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sts_client::{Propagator, Route};
    ///
    /// let userinfo = Route::to("https://login.example.com/userinfo".parse()?).pass_through();
    /// let propagator = Propagator::builder().route(userinfo).build().await?;
    /// assert!(propagator.sts().is_none());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn builder() -> PropagatorBuilder {
        PropagatorBuilder::new()
    }

    /// Returns the STS that exchanges tokens.
    #[must_use]
    pub fn sts(&self) -> Option<&Sts> {
        self.0.sts.as_ref()
    }

    /// Returns a new HTTP client for the agent's own calls, with the options of `[http]` in the
    /// agent's file or of [`PropagatorBuilder::http`]. The client adds no credential; the client of
    /// [`integrations::reqwest::client`](crate::integrations) does.
    ///
    /// ```no_run
    /// # async fn call(propagator: sts_client::Propagator) -> Result<(), Box<dyn std::error::Error>> {
    /// let http = propagator.http_client()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`HttpOptions::build`].
    pub fn http_client(&self) -> Result<HttpClient, HttpClientError> {
        self.0.http.build()
    }

    /// Returns such a client, which follows the files of its client certificate.
    #[cfg(feature = "reqwest")]
    pub(crate) fn http_source(&self) -> Result<ClientSource, HttpClientError> {
        let leader = self.0.sts.as_ref().and_then(Sts::followed_client);
        self.0.http.source(leader, Arc::clone(&self.0.clock))
    }

    /// Sets the `headers` of a call to `url` on behalf of `context`. First removes every
    /// credential, and every header that could claim an identity. Then adds a single credential,
    /// the tenant, the correlation id, and the headers that the route forwards.
    ///
    /// On an error, and if the future is dropped early, no such header remains. A [`HeaderMap`]
    /// ignores case, so it cannot hide a second `authorization`. A cached token costs microseconds;
    /// any other token costs an exchange.
    ///
    /// If the context has an idempotency key, the call gets a child of that key. The child depends
    /// on the URL, and on the number of earlier calls to that URL under the same request.
    /// [`Self::apply_as`] takes more into account. An existing `Idempotency-Key` stays: set it for
    /// a call that you retry.
    ///
    /// A token that is bound to the key of the agent
    /// ([`StsBuilder::dpop`](crate::exchange::StsBuilder::dpop)) needs a proof that names the method of
    /// the call, so such a call needs [`Self::apply_as`].
    ///
    /// ```
    /// # #[cfg(feature = "test-util")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sts_client::test_util::MockSts;
    /// use sts_client::propagate::Credential;
    /// use sts_client::{CallContext, Caller, Error, Propagator, Route, http::HeaderMap};
    ///
    /// let url: sts_client::url::Url = "https://inventory.shop.example/stock".parse()?;
    /// let route = Route::to("https://inventory.shop.example/".parse()?).audience("inventory");
    /// let propagator = Propagator::builder().sts(MockSts::new().sts("coordinator")).route(route).build().await?;
    ///
    /// let alice = CallContext::from(Caller::for_test().subject("alice").tenant("acme").build());
    /// let mut headers = HeaderMap::new();
    /// headers.insert("authorization", "Bearer of another".parse()?);
    /// assert_eq!(propagator.apply(&alice, &url, &mut headers).await?, Credential::Exchanged);
    /// assert_eq!(headers["x-tenant-id"], "acme");
    ///
    /// // No route leads there, and no credential is left in the headers.
    /// let refused = propagator.apply(&alice, &"https://payroll.shop.example/".parse()?, &mut headers).await;
    /// assert!(matches!(refused, Err(Error::NoRoute { .. })));
    /// assert!(!headers.contains_key("authorization"));
    /// # Ok(()) }
    /// # #[cfg(not(feature = "test-util"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn apply(&self, context: &CallContext, url: &Url, headers: &mut HeaderMap) -> Result<Credential, Error> {
        self.apply_as(context, url, headers, OutboundOperation::Unknown).await
    }

    /// Does the same as [`Self::apply`], with an idempotency key that depends on more than the URL. A
    /// bound token gets the proof of the call in the header `DPoP`: a new one for each attempt, so
    /// call this for each attempt. Pass the headers of every answer to [`Self::learn_nonce`].
    ///
    /// ```no_run
    /// # use http::{HeaderMap, Method};
    /// # use sts_client::propagate::OutboundOperation;
    /// # async fn call(propagator: sts_client::Propagator, context: sts_client::CallContext) -> Result<(), Box<dyn std::error::Error>> {
    /// let (url, mut headers) = ("https://inventory.shop.example/orders".parse()?, HeaderMap::new());
    /// let operation = OutboundOperation::Request { method: &Method::POST, body: Some(b"{}") };
    /// propagator.apply_as(&context, &url, &mut headers, operation).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn apply_as(
        &self,
        context: &CallContext,
        url: &Url,
        headers: &mut HeaderMap,
        operation: OutboundOperation<'_>,
    ) -> Result<Credential, Error> {
        let method = operation.method();
        let applied = self.set(context, Destination { method, url, nonce: None }, headers, operation).await?;
        Ok(applied.credential)
    }

    /// Does the same as [`Self::apply_as`], for a call whose method the operation does not name.
    pub(crate) async fn set(
        &self,
        context: &CallContext,
        Destination { method, url, nonce }: Destination<'_>,
        headers: &mut HeaderMap,
        operation: OutboundOperation<'_>,
    ) -> Result<Applied, Error> {
        headers::strip(headers);
        headers::lead_to(url, headers);
        let span =
            tracing::info_span!("sts_client.apply", correlation_id = context.headers().correlation_id().as_str());
        let outbound = self.0.outbound(context, url).instrument(span).await;
        let decision = match &outbound {
            Ok((outbound, _)) => outbound.credential.as_str(),
            Err(error) => decision_name(error),
        };
        metrics::counter!("sts_client_decisions_total", "decision" => decision).increment(1);
        let (outbound, hop) = outbound?;
        let nonce = nonce.cloned().or_else(|| self.0.nonces.newest(url));
        let nonce = prove(&outbound.token, (method, url), nonce, headers)?;
        headers.insert(AUTHORIZATION, outbound.token.authorization().clone());
        if let Some(tenant) = outbound.tenant {
            headers.insert(X_TENANT_ID, tenant);
        }
        if outbound.credential == Credential::Fallback {
            headers.insert(X_DELEGATION_FALLBACK, SERVICE_ACCOUNT);
        }
        context.headers().apply(headers, &hop.route.forward_headers);
        // The count changes only here, so a call that failed does not change the keys of later
        // calls.
        operation.put_key(url, hop.route.idempotency, context.headers(), headers);
        Ok(Applied { credential: outbound.credential, proven: Proven { token: outbound.token, nonce } })
    }

    /// Gets the tokens for calls to `urls` on behalf of `context`, several at the same time, so
    /// that the calls themselves need no exchange. The tokens are cached like those of calls. An
    /// exchanged token is valid for minutes, and never longer than the user's own token.
    ///
    /// ```no_run
    /// # async fn call(propagator: sts_client::Propagator, context: sts_client::CallContext) -> Result<(), Box<dyn std::error::Error>> {
    /// let urls = ["https://inventory.shop.example/".parse()?, "https://payments.shop.example/".parse()?];
    /// propagator.prefetch(&context, &urls).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns the [`Error`] of the first URL in order for which there is no token. A failure does
    /// not stop the requests for the other URLs.
    pub async fn prefetch(&self, context: &CallContext, urls: &[Url]) -> Result<(), Error> {
        let fetches: Vec<_> = urls.iter().map(|url| self.0.outbound(context, url)).collect();
        let outcomes: Vec<_> = stream::iter(fetches).buffered(PREFETCHES).collect().await;
        outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
    }

    /// Drops the cached token for calls to `url` on behalf of `context`: the exchanged token, or
    /// without a user the agent's own token. The next call gets another token. Use it for a target
    /// with its own signal for an invalid token. The integrations with `reqwest`, `tower` and
    /// `rmcp` handle a 401 with `error="invalid_token"` themselves.
    ///
    /// ```no_run
    /// # async fn call(propagator: sts_client::Propagator, context: sts_client::CallContext) -> Result<(), Box<dyn std::error::Error>> {
    /// propagator.forget(&context, &"https://inventory.shop.example/stock".parse()?).await;
    /// # Ok(()) }
    /// ```
    pub async fn forget(&self, context: &CallContext, url: &Url) {
        let Some(hop) = self.0.hop(url) else { return };
        match (context.user(), hop.exchange(), hop.own()) {
            (Some(user), Some(exchange), _) => {
                self.0.cache.forget(&exchange.key.of(user, context));
            }
            (_, _, Some(own)) => own.forget(),
            (_, _, None) => {}
        }
    }

    /// Drops the token that a target rejected. Returns true if another token may be available.
    #[cfg_attr(
        not(any(feature = "a2a", feature = "reqwest", feature = "rmcp", feature = "tower")),
        expect(dead_code, reason = "only integrations that see answers call it")
    )]
    async fn drop_refused(
        &self,
        context: &CallContext,
        url: &Url,
        refused: &HeaderValue,
        credential: Credential,
    ) -> bool {
        let Some(hop) = self.0.hop(url) else { return false };
        match credential {
            Credential::Exchanged => match (context.user(), hop.exchange()) {
                (Some(user), Some(exchange)) => self.0.cache.refuse(&exchange.key.of(user, context), refused),
                (None, _) | (Some(_), None) => false,
            },
            Credential::ServiceAccount | Credential::Fallback => hop.own().is_some_and(|own| own.refuse(refused)),
            // The call carried the user's own token, and there is no other.
            Credential::PassThrough => false,
        }
    }
}

fn decision_name(error: &Error) -> &'static str {
    match error {
        Error::Refused { .. } | Error::WrongAudience { .. } => "refused",
        Error::ApprovalRequired(_) => "approval_required",
        Error::Unavailable { .. } => "unavailable",
        Error::Misconfigured { .. } => "misconfigured",
        Error::NoRoute { .. } => "no_route",
    }
}

/// The credential of one call, and its tenant.
struct Outbound {
    credential: Credential,
    token: TokenHeader,
    tenant: Option<HeaderValue>,
}

impl Outbound {
    fn new(credential: Credential, token: TokenHeader, context: &CallContext) -> Result<Self, Error> {
        let tenant = match context.tenant().map(|tenant| HeaderValue::from_str(tenant.as_str())) {
            None => None,
            Some(Ok(tenant)) => Some(tenant),
            // A valid tenant has no such characters, and a call must not leave without its tenant.
            Some(Err(_)) => return Err(Error::Refused { code: RefusalCode::INVALID_TENANT }),
        };
        Ok(Self { credential, token, tenant })
    }
}

impl PropagatorInner {
    fn hop(&self, url: &Url) -> Option<&Hop> {
        self.routes.find(url).and_then(|(index, _)| self.hops.get(index))
    }

    async fn outbound(&self, context: &CallContext, url: &Url) -> Result<(Outbound, &Hop), Error> {
        let Some(hop) = self.hop(url) else {
            let routes = self.routes.iter().map(|route| route.url.clone()).collect();
            return Err(Error::NoRoute { url: Box::new(without_secrets(url)), routes });
        };
        let outbound = match before(self.inbound(context), &hop.rules) {
            Plan::Exchange { user, exchange, stand_in } => {
                let answer = self.answer(&hop.route, context, user, exchange).await?;
                match after(stand_in, answer) {
                    Decision::Exchanged(token) => Outbound::new(Credential::Exchanged, token.header().clone(), context),
                    Decision::Fallback { stand_in, outage } => fall_back(stand_in, &hop.route, context, outage).await,
                    Decision::InvalidToken => Err(Error::Refused { code: RefusalCode::INVALID_TOKEN }),
                    Decision::Refused(error) | Decision::Unavailable(error) => Err(error.into()),
                }
            }
            Plan::ServiceAccount(own) => {
                let token = own.current(context.headers().correlation_id()).await?;
                Outbound::new(Credential::ServiceAccount, token.header_for(context.tenant())?, context)
            }
            Plan::PassThrough(user) if *user.possession() != Possession::Bearer => Err(Error::misconfigured(
                "the user's token is bound to the key of its sender, so a route with pass_through cannot send it",
            )),
            Plan::PassThrough(user) => {
                let header = TokenHeader::bearer(user.verified().token.expose_secret())
                    .ok_or_else(|| Error::misconfigured("the user's token cannot stand in a header"))?;
                Outbound::new(Credential::PassThrough, header, context)
            }
            Plan::InvalidToken => Err(Error::Refused { code: RefusalCode::INVALID_TOKEN }),
            Plan::LoginRequired => Err(Error::Refused { code: RefusalCode::LOGIN_REQUIRED }),
        };
        Ok((outbound?, hop))
    }

    /// Returns the current state of the caller's token.
    fn inbound<'c>(&self, context: &'c CallContext) -> InboundToken<&'c Caller> {
        match context.caller() {
            None => InboundToken::Absent,
            Some(caller) if self.has_expired(caller.expires_at()) => InboundToken::Invalid,
            Some(caller) => match caller.kind() {
                Kind::User => InboundToken::Verified(caller),
                Kind::ServiceAccount => InboundToken::ServiceAccount,
            },
        }
    }

    fn has_expired(&self, expires_at: Timestamp) -> bool {
        expires_at <= self.clock.now()
    }

    /// Returns the cached answer of the STS, or asks the STS.
    async fn answer(
        &self,
        route: &Arc<Route>,
        context: &CallContext,
        user: &Caller,
        exchange: &Exchange,
    ) -> Result<Answer<Arc<IssuedToken>, ExchangeError>, ExchangeError> {
        let key = exchange.key.of(user, context);
        self.cache.drop_unprovable(&key, &exchange.sts).await;
        let exchanged = self.cache.get(key, user, || {
            let sts = exchange.sts.clone();
            let route = match context.details() {
                None => Arc::clone(route),
                Some(details) => Arc::new(Route::clone(route).authorization_details(details.elements().to_vec())),
            };
            let (subject, correlation_id) = (user.clone(), context.headers().correlation_id().clone());
            async move {
                let request = ExchangeRequest { subject: &subject, route: &route, correlation_id: &correlation_id };
                sts.exchange(request).await
            }
        });
        let exchanged = exchanged.await;
        if let Err(error @ ExchangeError::Misconfigured { .. }) = exchanged {
            return Err(error);
        }
        if self.has_expired(user.expires_at()) {
            return Ok(Answer::Expired);
        }
        Ok(match exchanged {
            Ok(token) if self.has_expired(token.expires_at()) => {
                Answer::No(ExchangeError::Refused { code: RefusalCode::INVALID_RESPONSE })
            }
            Ok(token) => Answer::Token(token),
            Err(error) => match &error {
                ExchangeError::Overloaded { .. } => Answer::Overloaded(error),
                // Every outage that may lead to the service account is named.
                ExchangeError::Outage(outage) => match **outage {
                    Outage::TokenSource(_) => Answer::NoCredential(error),
                    Outage::Undecided(_) => Answer::Overloaded(error),
                    Outage::Transport(_)
                    | Outage::Reported { .. }
                    | Outage::Status { .. }
                    | Outage::BreakerOpen
                    | Outage::Keys(_) => Answer::Outage(error),
                },
                ExchangeError::Refused { .. }
                | ExchangeError::ApprovalRequired(_)
                | ExchangeError::WrongAudience { .. }
                | ExchangeError::Misconfigured { .. } => Answer::No(error),
            },
        })
    }
}

async fn fall_back(
    stand_in: &Arc<Slot>,
    route: &Route,
    context: &CallContext,
    outage: ExchangeError,
) -> Result<Outbound, Error> {
    let correlation_id = context.headers().correlation_id();
    let token = stand_in.stand_in(correlation_id, outage).await?;
    let header = token.header_for(context.tenant())?;
    tracing::warn!(
        %correlation_id,
        tenant_id = context.tenant().map(tracing::field::display),
        route = %route.url,
        audience = route.audience.as_deref(),
        "using the service account, because the sts cannot be reached"
    );
    Outbound::new(Credential::Fallback, header, context)
}
