//! The builder of a propagator. It finds contradictions in the configuration before the first call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sts_jose::{Clock, Entropy, SystemClock, SystemEntropy};
use tokio::task::JoinSet;

use super::hop::Hop;
use super::start_error::StartError;
use super::{Propagator, PropagatorInner};
use crate::build_error::BuildError;
use crate::cache::ExchangeCache;
use crate::call::{CorrelationId, Route, Routes};
use crate::exchange::{Sts, StsBuilder};
use crate::net::HttpOptions;
use crate::possession::Nonces;
use crate::service_account::{Origin, ServiceAccount, Slot, keep_warm};

/// The default maximum number of cached tokens.
const CACHE_CAPACITY: u64 = 10_000;
/// The default time before its expiry at which a token is no longer sent.
const MARGIN: Duration = Duration::from_secs(10);

/// The builder of a [`Propagator`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use sts_client::{Credentials, HttpOptions, Propagator, Route, Sts};
///
/// let own = Credentials::ClientSecret("from a vault".into());
/// let propagator = Propagator::builder()
///     .sts(Sts::builder("https://sts.example.com", "coordinator", own).build()?)
///     .route(Route::to("https://inventory.shop.example/".parse()?).audience("inventory").scope("stock:read".parse()?))
///     .route(Route::to("https://payments.shop.example/".parse()?).audience("payments"))
///     .http(HttpOptions::default().read_timeout(Duration::from_secs(120)))
///     .build()
///     .await?;
/// # Ok(()) }
/// ```
pub struct PropagatorBuilder {
    sts: Option<Exchanger>,
    routes: Vec<Route>,
    service_account: Option<ServiceAccount>,
    http: HttpOptions,
    cache_capacity: u64,
    margin: Duration,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// An STS, or the builder of an STS that will share the propagator's clock and entropy.
enum Exchanger {
    Ready(Sts),
    ToBeBuilt(Box<StsBuilder>),
}

impl PropagatorBuilder {
    pub(super) fn new() -> Self {
        Self {
            sts: None,
            routes: Vec::new(),
            service_account: None,
            http: HttpOptions::default(),
            cache_capacity: CACHE_CAPACITY,
            margin: MARGIN,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
        }
    }

    /// Sets the STS that exchanges tokens.
    #[must_use]
    pub fn sts(mut self, sts: Sts) -> Self {
        self.sts = Some(Exchanger::Ready(sts));
        self
    }

    pub(crate) fn sts_to_be_built(mut self, sts: StsBuilder) -> Self {
        self.sts = Some(Exchanger::ToBeBuilt(Box::new(sts)));
        self
    }

    /// Adds a route. Calls to a URL without a route fail.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sts_client::{BuildError, Propagator, Route, RouteError, StartError};
    ///
    /// let route = || Route::to("https://login.example.com/userinfo".parse().unwrap()).pass_through();
    /// assert!(Propagator::builder().route(route()).build().await.is_ok());
    /// let twice = Propagator::builder().route(route()).route(route()).build().await.unwrap_err();
    /// assert!(matches!(twice, StartError::Build(BuildError::Route(RouteError::Twice(_)))));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Sets the source of the agent's own tokens.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use sts_client::{Propagator, Route, ServiceAccount, TokenFile, WithoutUser};
    ///
    /// let reports = Route::to("https://reports.shop.example/".parse()?).without_user(WithoutUser::ServiceAccount);
    /// let own = ServiceAccount::Source(Arc::new(TokenFile::new("/var/run/secrets/tokens/reports")));
    /// let propagator = Propagator::builder().route(reports).service_account(own).build().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn service_account(mut self, service_account: ServiceAccount) -> Self {
        self.service_account = Some(service_account);
        self
    }

    /// Sets the options of the HTTP client for the agent's own calls. See
    /// [`Propagator::http_client`].
    ///
    /// ```
    /// use sts_client::{HttpOptions, Propagator};
    ///
    /// let through_the_proxy = HttpOptions::default().proxy("http://proxy.shop.example:3128".parse()?);
    /// let builder = Propagator::builder().http(through_the_proxy);
    /// # Ok::<(), sts_client::url::ParseError>(())
    /// ```
    #[must_use]
    pub fn http(mut self, http: HttpOptions) -> Self {
        self.http = http;
        self
    }

    /// Sets the maximum number of cached tokens. The default is 10,000.
    #[must_use]
    pub fn cache_capacity(mut self, tokens: u64) -> Self {
        self.cache_capacity = tokens;
        self
    }

    /// Sets the time before its expiry at which a token is no longer sent. The default is 10 s.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sts_client::Propagator;
    ///
    /// // The calls take up to half a minute, and the token must outlive them.
    /// let builder = Propagator::builder().margin(Duration::from_secs(30));
    /// ```
    #[must_use]
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Sets the clock. The default is the system clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of randomness. The default is the operating system's.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Checks the routes and builds the propagator. Fetches the service account's tokens that stand
    /// in for an unreachable STS, and renews them in the background.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sts_client::{BuildError, Propagator, Route, StartError};
    ///
    /// // The route asks for an exchange, and there is no STS.
    /// let route = Route::to("https://inventory.shop.example/".parse()?).audience("inventory");
    /// let refused = Propagator::builder().route(route).build().await.unwrap_err();
    /// assert!(matches!(refused, StartError::Build(BuildError::Contradiction(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StartError::Build`] with [`BuildError::Route`] or [`BuildError::Contradiction`] if a route
    /// cannot be honoured, or with an error of [`StsBuilder::build`]. [`StartError::Fallback`] if a
    /// stand-in token cannot be fetched.
    pub async fn build(self) -> Result<Propagator, StartError> {
        let routes = Routes::new(self.routes).map_err(BuildError::from)?;
        let sts = match self.sts {
            None => None,
            Some(Exchanger::Ready(sts)) => Some(sts),
            Some(Exchanger::ToBeBuilt(builder)) => {
                Some(builder.clock(Arc::clone(&self.clock)).entropy(Arc::clone(&self.entropy)).build()?)
            }
        };
        let (margin, clock, entropy) = (self.margin, self.clock, self.entropy);
        let slot = |origin| Arc::new(Slot::new(origin, margin, Arc::clone(&clock)));
        let account = match (self.service_account, &sts) {
            (None, _) => Account::None,
            (Some(ServiceAccount::Source(source)), _) => Account::Shared(slot(Origin::Source(source))),
            (Some(ServiceAccount::Sts), Some(sts)) => Account::PerRoute(sts),
            (Some(ServiceAccount::Sts), None) => {
                return Err(BuildError::contradiction(
                    "the service account's tokens are to come from the sts, and there is none",
                )
                .into());
            }
        };
        let mut hops = Vec::new();
        for route in routes.iter().cloned().map(Arc::new) {
            let own = match &account {
                Account::Shared(slot) => Some(Arc::clone(slot)),
                // Without a target the STS would issue a token for its default target, which may
                // differ from the destination of the route.
                Account::PerRoute(sts) if route.has_target() => {
                    Some(slot(Origin::Sts { sts: Sts::clone(sts), route: Arc::clone(&route) }))
                }
                Account::PerRoute(_) | Account::None => None,
            };
            hops.push(Hop::new(route, sts.as_ref(), own)?);
        }
        let renewals = fill(&hops, &entropy).await?;
        let cache = ExchangeCache::new(self.cache_capacity, margin, Arc::clone(&clock));
        Ok(Propagator(Arc::new(PropagatorInner {
            routes,
            hops,
            sts,
            nonces: Nonces::new(),
            http: self.http,
            cache,
            clock,
            _renewals: renewals,
        })))
    }
}

/// The source of the token slots of the routes.
enum Account<'a> {
    None,
    Shared(Arc<Slot>),
    PerRoute(&'a Sts),
}

/// Fetches the stand-in tokens and starts their renewal. Fetches a slot that several routes share
/// only once.
async fn fill(hops: &[Hop], entropy: &Arc<dyn Entropy>) -> Result<JoinSet<()>, StartError> {
    let mut renewals = JoinSet::new();
    let mut filled: Vec<&Arc<Slot>> = Vec::new();
    for hop in hops {
        let Some(slot) = hop.stand_in() else { continue };
        if filled.iter().any(|other| Arc::ptr_eq(other, slot)) {
            continue;
        }
        slot.ask(&CorrelationId::random(entropy.as_ref()))
            .await
            .map_err(|source| StartError::Fallback { route: Box::new(hop.route.url.clone()), source })?;
        renewals.spawn(keep_warm(Arc::clone(slot), Arc::clone(entropy)));
        filled.push(slot);
    }
    Ok(renewals)
}

impl fmt::Debug for PropagatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PropagatorBuilder")
            .field("routes", &self.routes)
            .field("service_account", &self.service_account)
            .finish_non_exhaustive()
    }
}
