//! A slot for the agent's own token, and the source that refills it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use sts_jose::{Clock, has_passed};
use sts_protocol::Tenant;
use tokio::sync::Notify;

use crate::call::{CorrelationId, RefusalCode, Route};
use crate::credentials::{self, SourcedToken, TokenSource, TokenSourceError};
use crate::error::Error;
use crate::exchange::{ExchangeError, IssuedToken, Outage, ServiceAccountRequest, Sts};
use crate::net::Flights;
use crate::net::bearer::REPLACEMENT_PAUSE;
use crate::possession::TokenHeader;

/// The source of a slot's token.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The STS, for the target of a single route.
    Sts { sts: Sts, route: Arc<Route> },
    /// Another source, for all routes.
    Source(Arc<dyn TokenSource>),
}

/// A token of the agent itself, ready to be sent.
pub(crate) struct OwnToken {
    header: TokenHeader,
    /// The expiry; `None` if the source does not report it. Such a token is requested again for
    /// each call.
    expires_at: Option<Timestamp>,
    tenants: Tenants,
    renew_at: Timestamp,
    /// The thumbprint of the client certificate to which it is bound.
    certificate: Option<Arc<str>>,
}

/// The tenants for which the token may be sent.
enum Tenants {
    /// Only these tenants, from `tenant_ids` in a token of the STS.
    These(Vec<Tenant>),
    /// Unknown, because the token is from another issuer. The target decides.
    NotSaid,
}

/// The current token of a source. At most a single request for the next token is in progress.
#[derive(Debug)]
pub(crate) struct Slot {
    origin: Origin,
    /// The routes that the slot serves, as a label for metrics.
    name: String,
    kept: Mutex<Option<Arc<OwnToken>>>,
    /// The time at which a token was last dropped because a target refused it.
    refused_at: Mutex<Option<Timestamp>>,
    dropped: Notify,
    flights: Flights<(), Result<Arc<OwnToken>, Error>>,
    clock: Arc<dyn Clock>,
    margin: Duration,
}

impl Slot {
    /// Returns an empty slot. A token is sent until `margin` before its expiry.
    pub(crate) fn new(origin: Origin, margin: Duration, clock: Arc<dyn Clock>) -> Self {
        let name = match &origin {
            Origin::Sts { route, .. } => route.url.to_string(),
            Origin::Source(_) => "all".to_owned(),
        };
        let (kept, refused_at) = (Mutex::new(None), Mutex::new(None));
        Self { origin, name, kept, refused_at, dropped: Notify::new(), flights: Flights::new(), clock, margin }
    }

    /// Drops the token. If the slot is kept warm, the next token is requested at once, otherwise
    /// for the next call.
    pub(crate) fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Origin::Source(source) = &self.origin {
            source.forget();
        }
        self.dropped.notify_one();
    }

    /// Drops the token if a target has refused this token. Returns true if another token may be
    /// available. A refused token is replaced at most once per [`REPLACEMENT_PAUSE`].
    pub(crate) fn refuse(&self, refused: &HeaderValue) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if kept.as_ref().is_some_and(|kept| kept.header.authorization() != refused) {
            return true;
        }
        if self.may_replace() {
            self.forget();
            return true;
        }
        // No token is stored while another call replaces it, or if the source does not report an
        // expiry.
        kept.is_none()
    }

    fn may_replace(&self) -> bool {
        let now = self.clock.now();
        let mut refused_at = self.refused_at.lock().unwrap_or_else(PoisonError::into_inner);
        let may = has_passed(*refused_at, now, REPLACEMENT_PAUSE);
        if may {
            *refused_at = Some(now);
        }
        may
    }

    /// Waits until the token is dropped.
    pub(crate) async fn dropped(&self) {
        self.dropped.notified().await;
    }

    /// Returns the token for a call on the agent's own behalf. A token of the STS is reused until
    /// shortly before its expiry. Another source may have rotated its token, so every call requests
    /// it. During an outage of that source, the earlier token is used.
    pub(crate) async fn current(self: &Arc<Self>, correlation_id: &CorrelationId) -> Result<Arc<OwnToken>, Error> {
        match (&self.origin, self.provable().await) {
            (Origin::Sts { .. }, Some(token)) => Ok(token),
            (Origin::Sts { .. }, None) => self.ask(correlation_id).await,
            (Origin::Source(_), kept) => match (self.ask(correlation_id).await, kept) {
                (Err(Error::Unavailable { .. }), Some(token)) => Ok(token),
                (answer, _) => answer,
            },
        }
    }

    /// Returns the stored token in place of an STS that has just failed. If no token is stored,
    /// requests a token from another source. Never sends a request to the failed STS; returns
    /// `outage` instead.
    pub(crate) async fn stand_in(
        self: &Arc<Self>,
        correlation_id: &CorrelationId,
        outage: ExchangeError,
    ) -> Result<Arc<OwnToken>, Error> {
        match (self.provable().await, &self.origin) {
            (Some(token), _) => Ok(token),
            (None, Origin::Sts { .. }) => Err(outage.into()),
            (None, Origin::Source(_)) => self.ask(correlation_id).await,
        }
    }

    /// Requests a new token from the source, even if a token is stored.
    pub(crate) async fn ask(self: &Arc<Self>, correlation_id: &CorrelationId) -> Result<Arc<OwnToken>, Error> {
        let flight = self.flights.join(&(), || {
            let (slot, correlation_id) = (Arc::clone(self), correlation_id.clone());
            async move {
                let answer = slot.ask_origin(&correlation_id).await.map(Arc::new);
                slot.remember(&answer);
                answer
            }
        });
        flight.await
    }

    /// Publishes the remaining lifetime of the stored token as a metric.
    pub(crate) fn report(&self) {
        let expires_at = self.kept().and_then(|token| token.expires_at);
        let left = expires_at.map_or(0.0, |death| self.clock.now().duration_until(death).as_secs_f64());
        metrics::gauge!("sts_client_stand_in_seconds_left", "route" => self.name.clone()).set(left);
    }

    /// Returns the time until the next token should be requested; `None` if the slot is empty.
    pub(crate) fn renewal_in(&self) -> Option<Duration> {
        let kept = self.kept()?;
        Some(Duration::try_from(self.clock.now().duration_until(kept.renew_at)).unwrap_or(Duration::ZERO))
    }

    /// Returns the stored token, unless it is bound to a client certificate that has been replaced.
    async fn provable(&self) -> Option<Arc<OwnToken>> {
        let kept = self.kept()?;
        match &self.origin {
            Origin::Sts { sts, .. } if !sts.still_holds(kept.certificate.as_deref()).await => None,
            Origin::Sts { .. } | Origin::Source(_) => Some(kept),
        }
    }

    /// Returns the stored token if it is not close to its expiry.
    fn kept(&self) -> Option<Arc<OwnToken>> {
        let last_moment = self.clock.now().checked_add(self.margin).unwrap_or(Timestamp::MAX);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clone().filter(|token| token.expires_at.is_some_and(|death| last_moment < death))
    }

    async fn ask_origin(&self, correlation_id: &CorrelationId) -> Result<OwnToken, Error> {
        match &self.origin {
            Origin::Sts { sts, route } => {
                let issued = sts.service_account_token(ServiceAccountRequest { route, correlation_id }).await?;
                Ok(OwnToken::issued(&issued, self.clock.now()))
            }
            Origin::Source(source) => OwnToken::sourced(&credentials::ask(&**source).await?, self.clock.now()),
        }
    }

    fn remember(&self, answer: &Result<Arc<OwnToken>, Error>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(token) => *kept = token.expires_at.map(|_| Arc::clone(token)),
            Err(Error::Unavailable { .. }) => {}
            Err(
                Error::Refused { .. }
                | Error::ApprovalRequired(_)
                | Error::Misconfigured { .. }
                | Error::WrongAudience { .. }
                | Error::NoRoute { .. },
            ) => *kept = None,
        }
    }
}

impl OwnToken {
    fn issued(token: &IssuedToken, now: Timestamp) -> Self {
        Self {
            header: token.header().clone(),
            expires_at: Some(token.expires_at()),
            tenants: Tenants::These(token.tenant_ids().unwrap_or_default().to_vec()),
            renew_at: half_life(now, token.expires_at()),
            certificate: token.certificate().cloned(),
        }
    }

    fn sourced(token: &SourcedToken, now: Timestamp) -> Result<Self, Error> {
        if token.expires_at.is_some_and(|death| death <= now) {
            return Err(TokenSourceError::Unavailable(Arc::new(DeadToken)).into());
        }
        let header = TokenHeader::bearer(token.token.expose_secret()).ok_or_else(|| {
            Error::misconfigured("the token of the token source is empty or cannot stand in a header")
        })?;
        Ok(Self {
            header,
            expires_at: token.expires_at,
            tenants: Tenants::NotSaid,
            renew_at: half_life(now, token.expires_at.unwrap_or(now)),
            certificate: None,
        })
    }

    /// Returns the header of the token, for a call on behalf of this tenant.
    ///
    /// # Errors
    /// [`RefusalCode::INVALID_TENANT`] if the token may not be sent for the tenant.
    pub(crate) fn header_for(&self, tenant: Option<&Tenant>) -> Result<TokenHeader, Error> {
        match (&self.tenants, tenant) {
            (Tenants::These(allowed), Some(tenant)) if !allowed.contains(tenant) => {
                Err(Error::Refused { code: RefusalCode::INVALID_TENANT })
            }
            (Tenants::These(_) | Tenants::NotSaid, _) => Ok(self.header.clone()),
        }
    }
}

impl fmt::Debug for OwnToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// The source returned a token that has already expired, because it was not renewed in time.
#[derive(Debug, thiserror::Error)]
#[error("its token has expired")]
struct DeadToken;

impl From<TokenSourceError> for Error {
    fn from(error: TokenSourceError) -> Self {
        match error {
            TokenSourceError::Refused { code } => Self::Refused { code },
            TokenSourceError::Unavailable(source) => {
                Self::Unavailable { retry_after: None, outage: Some(Arc::new(Outage::TokenSource(source))) }
            }
            TokenSourceError::Misconfigured { what } => Self::misconfigured(what),
        }
    }
}

fn half_life(now: Timestamp, death: Timestamp) -> Timestamp {
    let life = Duration::try_from(now.duration_until(death)).unwrap_or(Duration::ZERO);
    now.checked_add(life / 2).unwrap_or(death)
}
