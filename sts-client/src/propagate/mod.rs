//! What goes out with a call.
//!
//! [`mod@decide`] alone decides; here the question is put to it, and its answer carried out. Nothing here may weaken a decision. `builder` and
//! `hop` make the routes ready, and find what contradicts itself before the first call. What must never
//! live here: a request to the STS (`exchange`), or a token that is kept (`cache`, `service_account`). Another rule of a route is a field
//! of [`crate::Route`], a line of [`decide::Rules`], its row in the table, and its key in `sts-client/README.md`.

#[cfg(any(feature = "reqwest", feature = "rmcp", feature = "tower"))]
pub(crate) mod again;
mod builder;
pub mod decide;
mod hop;
mod operation;
mod start_error;

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
pub use operation::OutboundOperation;
pub use start_error::StartError;

use crate::cache::ExchangeCache;
use crate::call::{
    CallContext, Caller, Kind, RefusalCode, Route, Routes, X_DELEGATION_FALLBACK, X_TENANT_ID, headers, without_secrets,
};
use crate::error::Error;
use crate::exchange::{ExchangeError, ExchangeRequest, IssuedToken, Outage, Sts};
use crate::net::{HttpClient, HttpOptions, bearer};
use crate::service_account::Slot;
use decide::{Answer, Decision, InboundToken, Plan, after, before};
use hop::{Exchange, Hop};

/// The value of `X-Delegation-Fallback`.
const SERVICE_ACCOUNT: HeaderValue = HeaderValue::from_static("service-account");

/// The number of tokens that [`Propagator::prefetch`] gets at the same time.
const PREFETCHES: usize = 8;

/// Puts on every outbound call what its route says, and nothing else. Cloning is cheap and shares cache and connections; with the last
/// clone its work in the background ends.
#[derive(Debug, Clone)]
pub struct Propagator(Arc<PropagatorInner>);

#[derive(Debug)]
struct PropagatorInner {
    routes: Routes,
    /// One for each route, in the order of `routes`.
    hops: Vec<Hop>,
    sts: Option<Sts>,
    http: HttpOptions,
    cache: ExchangeCache,
    clock: Arc<dyn Clock>,
    /// The renewal of tokens that may have to stand in; aborted when this is dropped.
    _renewals: JoinSet<()>,
}

/// Which credential a call carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A token that the STS issued for this hop, naming user and actor.
    Exchanged,
    /// The agent's own token.
    ServiceAccount,
    /// The agent's own token, standing in for an STS out of reach.
    Fallback,
    /// The user's own token.
    PassThrough,
}

impl Propagator {
    /// Starts without routes, STS or service account.
    #[must_use]
    pub fn builder() -> PropagatorBuilder {
        PropagatorBuilder::new()
    }

    /// The STS at which tokens are exchanged.
    #[must_use]
    pub fn sts(&self) -> Option<&Sts> {
        self.0.sts.as_ref()
    }

    /// Makes an HTTP client for the agent's own calls, by the options of `[http]` in its file or of [`PropagatorBuilder::http`]. It sends what
    /// it is given; [`integrations::reqwest::client`](crate::integrations) is one that propagates.
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

    /// Makes `headers` those of a call to `url` on behalf of `context`: takes off whatever could speak for somebody, and puts on one
    /// credential, the tenant, the correlation id, and what else the route forwards. On an error nothing that speaks for anybody is left,
    /// and neither when the future is dropped halfway. (A [`HeaderMap`] knows no case, so that no second `authorization` hides in it.)
    /// A cached token costs microseconds; otherwise it is an exchange.
    ///
    /// Where the context has an idempotency key, the call gets a child of it by URL, and by how often this was applied for that URL under
    /// the same request; [`Self::apply_as`] takes more into account. An `Idempotency-Key` that is there already stays: put it there for a
    /// call that you try again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn apply(&self, context: &CallContext, url: &Url, headers: &mut HeaderMap) -> Result<Credential, Error> {
        self.apply_as(context, url, headers, OutboundOperation::Unknown).await
    }

    /// As [`Self::apply`], with an idempotency key that depends on more than the URL.
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
        headers.insert(AUTHORIZATION, outbound.authorization);
        if let Some(tenant) = outbound.tenant {
            headers.insert(X_TENANT_ID, tenant);
        }
        if outbound.credential == Credential::Fallback {
            headers.insert(X_DELEGATION_FALLBACK, SERVICE_ACCOUNT);
        }
        context.headers().apply(headers, &hop.route.forward_headers);
        // Counted only here: a call that did not go out does not change the keys of those after it.
        operation.put_key(url, hop.route.idempotency, context.headers(), headers);
        Ok(outbound.credential)
    }

    /// Gets the tokens for calls to `urls` on behalf of `context`, some at the same time, so that the calls themselves need no exchange.
    /// The tokens are kept as those of calls are: an exchanged one lives for minutes, and no longer than the user's own.
    ///
    /// ```no_run
    /// # async fn call(propagator: sts_client::Propagator, context: sts_client::CallContext) -> Result<(), Box<dyn std::error::Error>> {
    /// let urls = ["https://inventory.shop.example/".parse()?, "https://payments.shop.example/".parse()?];
    /// propagator.prefetch(&context, &urls).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The [`Error`] of the first URL, in their order, for which there is no token. The others are tried all the same.
    pub async fn prefetch(&self, context: &CallContext, urls: &[Url]) -> Result<(), Error> {
        let fetches: Vec<_> = urls.iter().map(|url| self.0.outbound(context, url)).collect();
        let outcomes: Vec<_> = stream::iter(fetches).buffered(PREFETCHES).collect().await;
        outcomes.into_iter().try_for_each(|outcome| outcome.map(drop))
    }

    /// Drops the token that is kept for calls to `url` on behalf of `context`: the exchanged one, or without a user the agent's own. The
    /// next call gets another. For targets that say in their own way that a token is no longer good; the integrations of `reqwest`, `tower`
    /// and `rmcp` see a 401 with `error="invalid_token"` themselves.
    ///
    /// ```no_run
    /// # async fn call(propagator: sts_client::Propagator, context: sts_client::CallContext) -> Result<(), Box<dyn std::error::Error>> {
    /// propagator.forget(&context, &"https://inventory.shop.example/stock".parse()?).await;
    /// # Ok(()) }
    /// ```
    pub async fn forget(&self, context: &CallContext, url: &Url) {
        let Some(hop) = self.0.hop(url) else { return };
        match (context.user(), hop.exchange(), hop.own()) {
            (Some(user), Some(exchange), _) => self.0.cache.forget(&exchange.key.of(user)),
            (_, _, Some(own)) => own.forget(),
            (_, _, None) => {}
        }
    }

    /// Drops the token that a target has refused. Returns whether another may be had.
    #[cfg_attr(
        not(any(feature = "reqwest", feature = "rmcp", feature = "tower")),
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
                (Some(user), Some(exchange)) => self.0.cache.refuse(&exchange.key.of(user), refused),
                (None, _) | (Some(_), None) => false,
            },
            Credential::ServiceAccount | Credential::Fallback => hop.own().is_some_and(|own| own.refuse(refused)),
            // The user's own token: there is no other.
            Credential::PassThrough => false,
        }
    }
}

impl Credential {
    fn as_str(self) -> &'static str {
        match self {
            Self::Exchanged => "exchanged",
            Self::ServiceAccount => "service_account",
            Self::Fallback => "fallback",
            Self::PassThrough => "pass_through",
        }
    }
}

fn decision_name(error: &Error) -> &'static str {
    match error {
        Error::Refused { .. } | Error::WrongAudience { .. } => "refused",
        Error::Unavailable { .. } => "unavailable",
        Error::Misconfigured { .. } => "misconfigured",
        Error::NoRoute { .. } => "no_route",
    }
}

/// The credential of one call, and its tenant.
struct Outbound {
    credential: Credential,
    authorization: HeaderValue,
    tenant: Option<HeaderValue>,
}

impl Outbound {
    fn new(credential: Credential, authorization: HeaderValue, context: &CallContext) -> Result<Self, Error> {
        let tenant = match context.tenant().map(|tenant| HeaderValue::from_str(tenant.as_str())) {
            None => None,
            Some(Ok(tenant)) => Some(tenant),
            // No tenant holds such characters; without its tenant a call must not go out.
            Some(Err(_)) => return Err(Error::Refused { code: RefusalCode::INVALID_TENANT }),
        };
        Ok(Self { credential, authorization, tenant })
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
                    Decision::Exchanged(token) => Outbound::new(Credential::Exchanged, token.authorization(), context),
                    Decision::Fallback { stand_in, outage } => fall_back(stand_in, &hop.route, context, outage).await,
                    Decision::InvalidToken => Err(Error::Refused { code: RefusalCode::INVALID_TOKEN }),
                    Decision::Refused(error) | Decision::Unavailable(error) => Err(error.into()),
                }
            }
            Plan::ServiceAccount(own) => {
                let token = own.current(context.headers().correlation_id()).await?;
                Outbound::new(Credential::ServiceAccount, token.authorization_for(context.tenant())?, context)
            }
            Plan::PassThrough(user) => {
                let authorization = bearer::authorization(user.verified().token.expose_secret())
                    .ok_or_else(|| Error::misconfigured("the user's token cannot stand in a header"))?;
                Outbound::new(Credential::PassThrough, authorization, context)
            }
            Plan::InvalidToken => Err(Error::Refused { code: RefusalCode::INVALID_TOKEN }),
            Plan::LoginRequired => Err(Error::Refused { code: RefusalCode::LOGIN_REQUIRED }),
        };
        Ok((outbound?, hop))
    }

    /// The state of the caller's token at this moment.
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

    /// Asks the STS, unless the cache has its answer.
    async fn answer(
        &self,
        route: &Arc<Route>,
        context: &CallContext,
        user: &Caller,
        exchange: &Exchange,
    ) -> Result<Answer<Arc<IssuedToken>, ExchangeError>, ExchangeError> {
        let exchanged = self.cache.get(exchange.key.of(user), user, || {
            let (sts, route) = (exchange.sts.clone(), Arc::clone(route));
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
                ExchangeError::Outage(outage) if matches!(**outage, Outage::TokenSource(_)) => {
                    Answer::NoCredential(error)
                }
                ExchangeError::Outage(_) => Answer::Outage(error),
                ExchangeError::Refused { .. }
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
    let authorization = token.authorization_for(context.tenant())?;
    tracing::warn!(
        %correlation_id,
        tenant_id = context.tenant().map(tracing::field::display),
        route = %route.url,
        audience = route.audience.as_deref(),
        "the service account stands in for the sts, which is out of reach"
    );
    Outbound::new(Credential::Fallback, authorization, context)
}
