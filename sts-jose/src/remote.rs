//! The keys of an outside issuer, over HTTP: cached, refreshed behind the scenes, kept through an outage, and fetched by
//! one task at a time however many callers wait.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use tokio::task::AbortHandle;
use url::Url;

use crate::algorithm::Algorithm;
use crate::clock::{Clock, has_passed};
use crate::encryption_key::EncryptionKey;
use crate::fetch::{self, FetchError};
use crate::key_set::KeySet;
use crate::key_source::{KeyLookupError, KeySetHealth};
use crate::verification_key::VerificationKey;

/// Keys older than this are refreshed in the background; they stay in use meanwhile, and for as long as that fails.
const FRESH_FOR: Duration = Duration::from_secs(5 * 60);

/// An unknown `kid` forces no more than one refetch in this time, whatever the kids are; nor is a failing background
/// refresh repeated sooner. Otherwise anybody with made-up tokens could have us flood an issuer.
const FORCED_INTERVAL: Duration = Duration::from_secs(30);

/// While no keys were ever loaded, a fetch is tried no more often than this.
const FIRST_LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The time that one whole refresh may take.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub enum Location {
    /// Here.
    JwksUri(Url),
    /// Where the issuer's discovery document says.
    Discovery,
}

/// What must be known to fetch an issuer's keys.
#[derive(Debug, Clone)]
pub struct RemoteConfig {
    /// The issuer, byte for byte as in `iss`. With [`Location::Discovery`] it must be a URL.
    pub issuer: String,
    /// Where its keys are.
    pub location: Location,
    /// Made by [`crate::http_client`]; one per CA.
    pub http: reqwest::Client,
    /// A file whose content is sent as a bearer token to the `jwks_uri` and to the discovery URL, and nowhere else. Read
    /// for every fetch.
    pub bearer_token_file: Option<PathBuf>,
    /// Whether plain http is allowed for other hosts than loopback.
    pub allow_http: bool,
    /// What the intervals are measured with.
    pub clock: Arc<dyn Clock>,
}

/// The keys of an outside issuer. Cloning is cheap and shares the keys. Must be used within a tokio runtime.
///
/// A known key is always served from memory. See [`RemoteKeySet::find`] for what an unknown one costs.
#[derive(Debug, Clone)]
pub struct RemoteKeySet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RemoteConfig,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<KeySet>,
    in_flight: Option<Flight>,
    attempted_at: Option<Timestamp>,
    forced_at: Option<Timestamp>,
    /// Why the latest attempt failed, if it did.
    error: Option<Arc<FetchError>>,
    health: KeySetHealth,
}

type Outcome = Result<KeySet, Arc<FetchError>>;

/// A running fetch that many can wait for. It is a task of its own, so that it goes on when its callers go away.
#[derive(Debug, Clone)]
struct Flight {
    outcome: Shared<BoxFuture<'static, Outcome>>,
    task: AbortHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    FirstLoad,
    Refresh,
    UnknownKey,
}

/// What a lookup has to do next.
enum Step<K> {
    Answer(Result<K, KeyLookupError>),
    /// Wait for a fetch that this lookup has started.
    Await(Flight),
    /// Wait for a fetch that was under way already; it may have begun before the key was published.
    Join(Flight),
}

impl RemoteKeySet {
    /// Fetches nothing yet: the first [`Self::find`] or [`Self::refresh`] does.
    pub fn new(config: RemoteConfig) -> Self {
        Self::with_timeout(config, REFRESH_TIMEOUT)
    }

    /// Like [`Self::new`], with another limit than 5 seconds for one whole refresh.
    pub fn with_timeout(config: RemoteConfig, timeout: Duration) -> Self {
        Self { inner: Arc::new(Inner { config, timeout, state: Mutex::default() }) }
    }

    /// The key for a token's header, as [`KeySet::find`] defines it. A known key costs no I/O. An unknown one waits for a
    /// fetch of at most 5 seconds, but forces one no more than once in 30 seconds; while no keys were ever loaded, once
    /// a second.
    ///
    /// # Errors
    /// [`KeyLookupError::Unknown`] if the issuer's keys are known and this is none of them;
    /// [`KeyLookupError::Unavailable`] if keys were never loaded, or to whoever waited for a refetch that failed; until the next one
    /// is due, an unknown key is a refusal.
    pub async fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<VerificationKey, KeyLookupError> {
        self.pick(|keys| keys.find(kid, algorithm).cloned()).await
    }

    /// The key that a payload for the owner of these keys is encrypted to, as [`KeySet::encryption_key`] defines it. Costs what
    /// [`Self::find`] costs.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub async fn encryption_key(&self) -> Result<EncryptionKey, KeyLookupError> {
        self.pick(|keys| keys.encryption_key().cloned()).await
    }

    async fn pick<K>(&self, pick: impl Fn(&KeySet) -> Option<K>) -> Result<K, KeyLookupError> {
        match self.next_step(&pick) {
            Step::Answer(answer) => return answer,
            Step::Await(flight) => return look_up(flight.outcome.await, &pick),
            Step::Join(flight) => flight.outcome.await.ok(),
        };
        // Once more, for the fetch that was joined may have been too early for this key; and then no more.
        match self.next_step(&pick) {
            Step::Answer(answer) => answer,
            Step::Await(flight) | Step::Join(flight) => look_up(flight.outcome.await, &pick),
        }
    }

    /// Fetches the keys now, or waits for the fetch that is under way.
    ///
    /// # Errors
    /// Why the fetch failed; keys that were known before stay in use.
    pub async fn refresh(&self) -> Result<(), Arc<FetchError>> {
        let flight = {
            let mut state = self.inner.lock();
            let cause = if state.keys.is_none() { Cause::FirstLoad } else { Cause::Refresh };
            state.running().unwrap_or_else(|| self.start(&mut state, cause))
        };
        flight.outcome.await.map(|_keys| ())
    }

    /// How the key set fares.
    pub fn health(&self) -> KeySetHealth {
        self.inner.lock().health
    }

    fn next_step<K>(&self, pick: impl Fn(&KeySet) -> Option<K>) -> Step<K> {
        let now = self.inner.config.clock.now();
        let mut state = self.inner.lock();
        let loaded = state.keys.is_some();
        if let Some(key) = state.keys.as_ref().and_then(&pick) {
            if state.refresh_is_due(now) {
                self.start(&mut state, Cause::Refresh);
            }
            return Step::Answer(Ok(key));
        }
        if let Some(flight) = state.running() {
            return Step::Join(flight);
        }
        if loaded && has_passed(state.forced_at, now, FORCED_INTERVAL) {
            return Step::Await(self.start(&mut state, Cause::UnknownKey));
        }
        if !loaded && has_passed(state.attempted_at, now, FIRST_LOAD_INTERVAL) {
            return Step::Await(self.start(&mut state, Cause::FirstLoad));
        }
        Step::Answer(Err(if loaded {
            KeyLookupError::Unknown
        } else {
            KeyLookupError::Unavailable(state.error.clone().unwrap_or_else(never_read))
        }))
    }

    /// Starts a fetch. Called with the lock held, so that the fetch cannot end before it stands in `state`.
    fn start(&self, state: &mut State, cause: Cause) -> Flight {
        let now = self.inner.config.clock.now();
        state.attempted_at = Some(now);
        state.health.fetches += 1;
        if cause == Cause::UnknownKey {
            state.forced_at = Some(now);
            state.health.forced_refetches += 1;
        }
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move {
            let outcome = fetch::fetch_key_set(&inner.config, inner.timeout).await.map_err(Arc::new);
            inner.finish(&outcome);
            outcome
        });
        let abort_handle = task.abort_handle();
        let outcome = async { task.await.unwrap_or_else(|error| Err(Arc::new(FetchError::Aborted(error)))) };
        let flight = Flight { outcome: outcome.boxed().shared(), task: abort_handle };
        state.in_flight = Some(flight.clone());
        flight
    }
}

impl Inner {
    fn finish(&self, outcome: &Outcome) {
        let now = self.config.clock.now();
        let mut state = self.lock();
        state.in_flight = None;
        state.attempted_at = Some(now);
        match outcome {
            Ok(keys) => {
                state.keys = Some(keys.clone());
                state.error = None;
                state.health.fetched_at = Some(now);
            }
            Err(error) => {
                let source: &(dyn std::error::Error + 'static) = error.as_ref();
                tracing::warn!(
                    issuer = self.config.issuer,
                    error = source,
                    "the keys of an issuer could not be fetched"
                );
                state.error = Some(Arc::clone(error));
            }
        }
        state.health.failing = state.error.is_some();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The fetch under way. One whose task died without an outcome is none.
    fn running(&self) -> Option<Flight> {
        self.in_flight.as_ref().filter(|flight| !flight.task.is_finished()).cloned()
    }

    fn refresh_is_due(&self, now: Timestamp) -> bool {
        self.running().is_none()
            && has_passed(self.health.fetched_at, now, FRESH_FOR)
            && has_passed(self.attempted_at, now, FORCED_INTERVAL)
    }
}

fn never_read() -> Arc<FetchError> {
    Arc::new(FetchError::NeverRead)
}

fn look_up<K>(outcome: Outcome, pick: impl Fn(&KeySet) -> Option<K>) -> Result<K, KeyLookupError> {
    match outcome {
        Ok(keys) => pick(&keys).ok_or(KeyLookupError::Unknown),
        Err(error) => Err(KeyLookupError::Unavailable(error)),
    }
}
