//! The keys of an outside issuer, over HTTP: cached, refreshed behind the scenes, kept through an outage of a day, and fetched by
//! one task at a time however many callers wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::algorithm::Algorithm;
use crate::bounded_file::BoundedFile;
use crate::candidates::Candidates;
use crate::clock::has_passed;
use crate::encryption_key::EncryptionKey;
use crate::fetch::{self, MAX_BEARER_TOKEN_BYTES, RemoteConfig};
use crate::fetch_error::FetchError;
use crate::flight::Flight;
use crate::held_keys::{Change, HeldKeys, Origin, missing, tell_lost_keys};
use crate::key_lookup::{KeyLookupError, KeySetHealth};
use crate::key_set::KeySet;

/// Keys older than this are refreshed in the background. They stay in use meanwhile, and while that fails, for up to
/// [`MAX_KEY_AGE`](crate::MAX_KEY_AGE).
const FRESH_FOR: Duration = Duration::from_secs(5 * 60);

/// An unknown `kid` forces no more than one refetch in this time, whatever the kids are; nor is a failing background
/// refresh repeated sooner. Otherwise anybody with made-up tokens could have us flood an issuer.
const FORCED_INTERVAL: Duration = Duration::from_secs(30);

/// While no keys were ever loaded, a fetch is tried no more often than this.
const FIRST_LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The time that one whole refresh may take.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// The keys of an outside issuer. Cloning is cheap and shares the keys. Must be used within a tokio runtime.
///
/// A known key is always served from memory. See [`RemoteKeySet::candidates`] for what an unknown one costs.
#[derive(Debug, Clone)]
pub struct RemoteKeySet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: RemoteConfig,
    bearer_token: Option<BoundedFile>,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: HeldKeys,
    in_flight: Option<Flight<Outcome>>,
    attempted_at: Option<Timestamp>,
    forced_at: Option<Timestamp>,
    counts: KeySetHealth,
}

type Outcome = Result<KeySet, Arc<FetchError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Due,
    UnknownKey,
}

/// What a lookup has to do next.
enum Step<K> {
    Answer(Result<K, KeyLookupError>),
    /// Wait for a fetch that this lookup has started.
    Await(Flight<Outcome>),
    /// Wait for a fetch that was under way already; it may have begun before the key was published.
    Join(Flight<Outcome>),
}

impl RemoteKeySet {
    /// Fetches nothing yet: the first [`Self::candidates`] or [`Self::refresh`] does.
    pub fn new(config: RemoteConfig) -> Self {
        Self::with_timeout(config, REFRESH_TIMEOUT)
    }

    /// Like [`Self::new`], with another limit than 5 seconds for one whole refresh.
    pub fn with_timeout(config: RemoteConfig, timeout: Duration) -> Self {
        let bearer_token = config.bearer_token_file.as_ref();
        let bearer_token = bearer_token.map(|path| BoundedFile::new(path, MAX_BEARER_TOKEN_BYTES));
        Self { inner: Arc::new(Inner { config, bearer_token, timeout, state: Mutex::default() }) }
    }

    /// The keys to try for a token's header, as [`KeySet::candidates`] defines them. A known key costs no I/O. An unknown one waits for a
    /// fetch of at most 5 seconds, but forces one no more than once in 30 seconds; while no keys were ever loaded, or none
    /// confirmed for [`MAX_KEY_AGE`](crate::MAX_KEY_AGE), once a second.
    ///
    /// # Errors
    /// [`KeyLookupError::Unknown`] if the issuer's keys are known and this is none of them, [`KeyLookupError::Unusable`] if the issuer
    /// publishes none that can be used; [`KeyLookupError::Unavailable`] if the keys are not known, or if this is none of them and the
    /// latest fetch failed.
    pub async fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Candidates, KeyLookupError> {
        self.pick(|keys| keys.candidates(kid, algorithm)).await
    }

    /// The keys to try after none of `tried` has signed a token with this header. Forces a refetch as an unknown `kid` does, no more often.
    /// `None` if the issuer publishes no other keys, or if it is not known whether it does and the keys that were tried are those that the
    /// token names.
    ///
    /// # Errors
    /// As for [`Self::candidates`], if the keys that were tried have no `kid` and the token has one.
    pub(crate) async fn other_candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        tried: &Candidates,
    ) -> Result<Option<Candidates>, KeyLookupError> {
        let others = |keys: &KeySet| keys.candidates(kid, algorithm).filter(|found| !found.are(tried));
        match self.pick(others).await {
            Ok(found) => Ok(Some(found)),
            Err(_) if tried.is_named() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The key that a payload for the owner of these keys is encrypted to, as [`KeySet::encryption_key`] defines it. Costs what
    /// [`Self::candidates`] costs.
    ///
    /// # Errors
    /// As for [`Self::candidates`].
    pub async fn encryption_key(&self) -> Result<EncryptionKey, KeyLookupError> {
        self.pick(|keys| keys.encryption_key().cloned()).await
    }

    async fn pick<K>(&self, pick: impl Fn(&KeySet) -> Option<K>) -> Result<K, KeyLookupError> {
        match self.next_step(&pick) {
            Step::Answer(answer) => return answer,
            Step::Await(flight) => return look_up(flight.outcome().await, &pick),
            Step::Join(flight) => flight.outcome().await.ok(),
        };
        // Once more, for the fetch that was joined may have been too early for this key; and then no more.
        match self.next_step(&pick) {
            Step::Answer(answer) => answer,
            Step::Await(flight) | Step::Join(flight) => look_up(flight.outcome().await, &pick),
        }
    }

    /// Fetches the keys now, or waits for the fetch that is under way.
    ///
    /// # Errors
    /// Why the fetch failed; keys that were known before stay in use.
    pub async fn refresh(&self) -> Result<(), Arc<FetchError>> {
        let flight = {
            let mut state = self.inner.lock();
            state.running().unwrap_or_else(|| self.start(&mut state, Cause::Due))
        };
        flight.outcome().await.map(|_keys| ())
    }

    /// The keys that were read last; none if they never were.
    pub fn held(&self) -> KeySet {
        self.inner.lock().held.keys()
    }

    /// How the key set fares.
    pub fn health(&self) -> KeySetHealth {
        let state = self.inner.lock();
        state.held.health(state.counts)
    }

    fn next_step<K>(&self, pick: impl Fn(&KeySet) -> Option<K>) -> Step<K> {
        let now = self.inner.config.clock.now();
        let mut state = self.inner.lock();
        let usable = state.held.usable(now);
        let loaded = usable.is_some();
        if let Some(key) = usable.and_then(&pick) {
            if state.refresh_is_due(now) {
                self.start(&mut state, Cause::Due);
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
            return Step::Await(self.start(&mut state, Cause::Due));
        }
        Step::Answer(state.held.answer(now, pick))
    }

    /// Starts a fetch. Called with the lock held, so that the fetch cannot end before it stands in `state`.
    fn start(&self, state: &mut State, cause: Cause) -> Flight<Outcome> {
        let now = self.inner.config.clock.now();
        state.attempted_at = Some(now);
        state.counts.fetches += 1;
        if cause == Cause::UnknownKey {
            state.forced_at = Some(now);
            state.counts.forced_refetches += 1;
        }
        let inner = Arc::clone(&self.inner);
        let fetch = async move {
            let outcome = fetch::fetch_key_set(&inner.config, inner.bearer_token.as_ref(), inner.timeout).await;
            let outcome = outcome.map_err(Arc::new);
            inner.finish(&outcome);
            outcome
        };
        let flight = Flight::start(fetch, |error| Err(Arc::new(FetchError::Aborted(error))));
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
        let change = match outcome {
            Ok(keys) => {
                tell_lost_keys(Origin::Issuer(&self.config.issuer), &state.held.newly_lost(keys), keys);
                state.held.replace(keys.clone(), now)
            }
            Err(error) => state.held.fail(Arc::clone(error)),
        };
        let error = state.held.error().map(|error| error.as_ref() as &(dyn std::error::Error + 'static));
        let issuer = self.config.issuer.as_str();
        match change {
            Change::None => tracing::debug!(issuer, error, "the keys of an issuer were fetched, or failed to be"),
            Change::Failed => {
                tracing::warn!(issuer, error, "failed to fetch the keys of an issuer; keys read before stay in use")
            }
            Change::Unusable => {
                tracing::warn!(issuer, "the issuer publishes no key that can be used: its tokens are refused")
            }
            Change::Recovered => tracing::info!(issuer, "the keys of an issuer can be fetched again"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The fetch under way.
    fn running(&self) -> Option<Flight<Outcome>> {
        self.in_flight.as_ref().filter(|flight| flight.is_running()).cloned()
    }

    fn refresh_is_due(&self, now: Timestamp) -> bool {
        self.running().is_none()
            && has_passed(self.held.confirmed_at(), now, FRESH_FOR)
            && has_passed(self.attempted_at, now, FORCED_INTERVAL)
    }
}

fn look_up<K>(outcome: Outcome, pick: impl Fn(&KeySet) -> Option<K>) -> Result<K, KeyLookupError> {
    match outcome {
        Ok(keys) => pick(&keys).ok_or_else(|| missing(&keys)),
        Err(error) => Err(KeyLookupError::Unavailable(error)),
    }
}
