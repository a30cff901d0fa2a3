//! The keys of an outside issuer, fetched over HTTP. They are cached, refreshed in the background,
//! and kept through an outage of up to a day. One task fetches at a time, regardless of the number
//! of waiting callers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::algorithm::Algorithm;
use crate::bounded_file::BoundedFile;
use crate::candidates::Candidates;
use crate::certificate_authorities::CertificateAuthorities;
use crate::clock::has_passed;
use crate::encryption_key::EncryptionKey;
use crate::fetch::{self, MAX_BEARER_TOKEN_BYTES, RemoteConfig};
use crate::fetch_error::FetchError;
use crate::flight::Flight;
use crate::held_keys::{Change, HeldKeys, Origin, missing, tell_lost_keys};
use crate::key_lookup::{KeyLookupError, KeySetFaults, KeySetHealth};
use crate::key_set::KeySet;

/// The age at which keys are refreshed in the background. They stay in use during the refresh and,
/// if it fails, for up to [`MAX_KEY_AGE`](crate::MAX_KEY_AGE).
const FRESH_FOR: Duration = Duration::from_secs(5 * 60);

/// The minimum interval between two refetches that an unknown `kid` forces, for any `kid`. A
/// failing background refresh is not repeated sooner either. Otherwise an attacker with forged
/// tokens could make us flood an issuer.
const FORCED_INTERVAL: Duration = Duration::from_secs(30);

/// The minimum interval between two fetches while no keys were ever loaded.
const FIRST_LOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The time limit of one whole refresh.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// The keys of an outside issuer. Cloning is cheap and shares the keys. Must be used within a tokio
/// runtime.
///
/// A known key is always served from memory. See [`RemoteKeySet::candidates`] for the cost of an
/// unknown key.
#[derive(Debug, Clone)]
pub struct RemoteKeySet {
    inner: Arc<RemoteInner>,
}

#[derive(Debug)]
struct RemoteInner {
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

/// The next step of a lookup.
enum Step<K> {
    Answer(Result<K, KeyLookupError>),
    /// Wait for a fetch that this lookup has started.
    Await(Flight<Outcome>),
    /// Wait for a fetch that was already running. It may have started before the key was published.
    Join(Flight<Outcome>),
}

impl RemoteKeySet {
    /// Fetches nothing yet: the first [`Self::candidates`] or [`Self::refresh`] does.
    pub fn new(config: RemoteConfig) -> Self {
        Self::with_timeout(config, REFRESH_TIMEOUT)
    }

    /// Like [`Self::new`], with a different time limit than 5 seconds for one whole refresh.
    pub fn with_timeout(config: RemoteConfig, timeout: Duration) -> Self {
        let bearer_token = config.bearer_token_file.as_ref();
        let bearer_token = bearer_token.map(|path| BoundedFile::new(path, MAX_BEARER_TOKEN_BYTES));
        Self { inner: Arc::new(RemoteInner { config, bearer_token, timeout, state: Mutex::default() }) }
    }

    /// Returns the keys to try for a token's header, as [`KeySet::candidates`] defines them. A
    /// known key costs no I/O. For an unknown key, it waits for a fetch of at most 5 seconds, but
    /// forces one at most once in 30 seconds. While no keys were ever loaded, or none were
    /// confirmed for [`MAX_KEY_AGE`](crate::MAX_KEY_AGE), it fetches at most once a second.
    ///
    /// # Errors
    /// [`KeyLookupError::Unknown`] if the issuer's keys are known and no key fits.
    /// [`KeyLookupError::Unusable`] if the issuer publishes no usable key.
    /// [`KeyLookupError::Unavailable`] if the keys are not known, or if no key fits and the latest
    /// fetch failed.
    pub async fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Candidates, KeyLookupError> {
        self.pick(|keys| keys.candidates(kid, algorithm)).await
    }

    /// Returns the keys to try after no key in `tried` has signed a token with this header. Forces
    /// a refetch as an unknown `kid` does, and no more often. Returns `None` if the issuer
    /// publishes no other keys. If this is not known, returns `None` if the tried keys are those
    /// that the token names.
    ///
    /// # Errors
    /// As for [`Self::candidates`], if the tried keys have no `kid` but the token has one.
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

    /// Returns the key for encrypting a payload to the owner of these keys, as
    /// [`KeySet::encryption_key`] defines it. Costs as much as [`Self::candidates`].
    ///
    /// # Errors
    /// As for [`Self::candidates`].
    pub async fn encryption_key(&self) -> Result<EncryptionKey, KeyLookupError> {
        self.pick(|keys| keys.encryption_key().cloned()).await
    }

    /// Returns the authorities of X.509-SVIDs, as [`KeySet::authorities`] defines them, unless they are
    /// those of `tried`, which have not signed the certificate in question. Costs as much as
    /// [`Self::candidates`].
    ///
    /// # Errors
    /// As for [`Self::candidates`].
    pub async fn authorities(
        &self,
        tried: Option<&CertificateAuthorities>,
    ) -> Result<CertificateAuthorities, KeyLookupError> {
        self.pick(|keys| keys.authorities().filter(|found| Some(*found) != tried).cloned()).await
    }

    async fn pick<K>(&self, pick: impl Fn(&KeySet) -> Option<K>) -> Result<K, KeyLookupError> {
        match self.next_step(&pick) {
            Step::Answer(answer) => return answer,
            Step::Await(flight) => return look_up(flight.outcome().await, &pick),
            Step::Join(flight) => flight.outcome().await.ok(),
        };
        // Try once more, because the joined fetch may have been too early for this key. Do not try
        // a third time.
        match self.next_step(&pick) {
            Step::Answer(answer) => answer,
            Step::Await(flight) | Step::Join(flight) => look_up(flight.outcome().await, &pick),
        }
    }

    /// Fetches the keys now, or waits for the running fetch.
    ///
    /// # Errors
    /// The error of the fetch. Earlier keys stay in use.
    pub async fn refresh(&self) -> Result<(), Arc<FetchError>> {
        let flight = {
            let mut state = self.inner.lock();
            state.running().unwrap_or_else(|| self.start(&mut state, Cause::Due))
        };
        flight.outcome().await.map(|_keys| ())
    }

    /// Returns the keys of the last successful read. Empty if there was none.
    pub fn held(&self) -> KeySet {
        self.inner.lock().held.keys()
    }

    /// Returns the faults of the key set.
    pub fn faults(&self) -> KeySetFaults {
        self.inner.lock().held.faults()
    }

    /// Returns the health of the key set.
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

    /// Starts a fetch. The caller holds the lock, so the fetch cannot end before `state` records
    /// it.
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

impl RemoteInner {
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
                tracing::warn!(issuer, "the issuer publishes no usable key: its tokens are refused")
            }
            Change::Recovered => tracing::info!(issuer, "the keys of an issuer can be fetched again"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the running fetch.
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
