//! Keys from a file that another process may replace at any time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::algorithm::Algorithm;
use crate::bounded_file::{BoundedFile, FileContent, FileVersion, MAX_FILE_BYTES};
use crate::candidates::Candidates;
use crate::certificate_authorities::CertificateAuthorities;
use crate::clock::{Clock, has_passed};
use crate::encryption_key::EncryptionKey;
use crate::fetch_error::FetchError;
use crate::flight::Flight;
use crate::held_keys::{Change, HeldKeys, Origin, tell_lost_keys};
use crate::key_lookup::{KeyLookupError, KeySetFaults, KeySetHealth};
use crate::key_set::KeySet;

/// The minimum interval between two checks of the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The keys of a file. It is read again when its modification time or its length changes. A
/// well-formed set replaces the former set, even if it is empty. While the file cannot be read, the
/// last keys stay in use for up to [`MAX_KEY_AGE`](crate::MAX_KEY_AGE). Cloning is cheap and shares
/// the keys. Must be used within a tokio runtime.
#[derive(Debug, Clone)]
pub struct FileKeySet {
    inner: Arc<FileInner>,
}

#[derive(Debug)]
struct FileInner {
    file: BoundedFile,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: HeldKeys,
    version: Option<FileVersion>,
    checked_at: Option<Timestamp>,
    in_flight: Option<Flight<()>>,
    counts: KeySetHealth,
}

impl FileKeySet {
    /// Reads nothing yet: the first [`Self::candidates`] or [`Self::refresh`] does.
    pub fn new(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        let file = BoundedFile::new(path, MAX_FILE_BYTES);
        Self { inner: Arc::new(FileInner { file, clock, state: Mutex::default() }) }
    }

    /// Returns the keys to try for a token's header, as [`KeySet::candidates`] defines them. Checks
    /// the file at most once a second of the clock, and reads it if it has changed. It must be a
    /// regular file of at most [`MAX_FILE_BYTES`]. The wait for the file is at most 2 seconds.
    ///
    /// # Errors
    /// [`KeyLookupError::Unknown`] or [`KeyLookupError::Unusable`]. [`KeyLookupError::Unavailable`]
    /// if the last read of the file failed, and no earlier key fits.
    pub async fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Candidates, KeyLookupError> {
        self.pick(|keys| keys.candidates(kid, algorithm)).await
    }

    /// Returns the key for encrypting a payload to the owner of the file. Checks the file as
    /// [`Self::candidates`] does.
    ///
    /// # Errors
    /// As for [`Self::candidates`].
    pub async fn encryption_key(&self) -> Result<EncryptionKey, KeyLookupError> {
        self.pick(|keys| keys.encryption_key().cloned()).await
    }

    /// Returns the authorities of X.509-SVIDs, as [`KeySet::authorities`] defines them, unless they are
    /// those of `tried`, which have not signed the certificate in question. Checks the file
    /// as [`Self::candidates`] does.
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
        let now = self.inner.clock.now();
        let look = {
            let mut state = self.inner.lock();
            let due = has_passed(state.checked_at, now, CHECK_INTERVAL);
            state.running().or_else(|| due.then(|| self.start(&mut state, now)))
        };
        if let Some(look) = look {
            look.outcome().await;
        }
        self.inner.lock().held.answer(now, pick)
    }

    /// Checks the file now, regardless of the last check.
    ///
    /// # Errors
    /// The error of reading or using the file. Earlier keys stay in use.
    pub async fn refresh(&self) -> Result<(), Arc<FetchError>> {
        let now = self.inner.clock.now();
        let look = {
            let mut state = self.inner.lock();
            state.running().unwrap_or_else(|| self.start(&mut state, now))
        };
        look.outcome().await;
        self.inner.lock().held.error().cloned().map_or(Ok(()), Err)
    }

    /// Returns the keys of the last successful read. Empty if there was none.
    pub fn held(&self) -> KeySet {
        self.inner.lock().held.keys()
    }

    /// Returns the faults of the file.
    pub fn faults(&self) -> KeySetFaults {
        self.inner.lock().held.faults()
    }

    /// Returns the health of the file.
    pub fn health(&self) -> KeySetHealth {
        let state = self.inner.lock();
        state.held.health(state.counts)
    }

    /// Starts a check of the file. The caller holds the lock, so the check cannot end before
    /// `state` records it.
    fn start(&self, state: &mut State, now: Timestamp) -> Flight<()> {
        state.checked_at = Some(now);
        let (inner, known) = (Arc::clone(&self.inner), state.version);
        let look = async move {
            let content = inner.file.read_if_changed(known).await;
            inner.finish(content, now);
        };
        // If the runtime shuts down, the answer uses the keys that were read before.
        let flight = Flight::start(look, |_aborted| ());
        state.in_flight = Some(flight.clone());
        flight
    }
}

impl FileInner {
    fn finish(&self, content: std::io::Result<FileContent>, now: Timestamp) {
        let mut state = self.lock();
        state.in_flight = None;
        let read = match content {
            Ok(FileContent::Unchanged) => return state.held.confirm(now),
            Ok(FileContent::Changed(version, bytes)) => {
                state.version = Some(version);
                state.counts.fetches += 1;
                KeySet::parse(&bytes).map_err(FetchError::KeySet)
            }
            Err(error) => {
                state.version = None;
                Err(FetchError::File(error))
            }
        };
        let change = match read {
            Ok(keys) => {
                tell_lost_keys(Origin::File(self.file.path()), &state.held.newly_lost(&keys), &keys);
                state.held.replace(keys, now)
            }
            Err(error) => state.held.fail(Arc::new(error)),
        };
        let error = state.held.error().map(|error| error.as_ref() as &(dyn std::error::Error + 'static));
        let path = tracing::field::display(self.file.path().display());
        match change {
            Change::None => {}
            Change::Failed => {
                tracing::warn!(path, error, "a key set file cannot be used; keys read before stay in use")
            }
            Change::Unusable => {
                tracing::warn!(path, "a key set file contains no usable key: its tokens are refused")
            }
            Change::Recovered => tracing::info!(path, "a key set file can be used again"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the running check of the file.
    fn running(&self) -> Option<Flight<()>> {
        self.in_flight.as_ref().filter(|look| look.is_running()).cloned()
    }
}
