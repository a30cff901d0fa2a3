//! Keys from a file that somebody else may replace at any time.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::algorithm::Algorithm;
use crate::clock::{Clock, has_passed};
use crate::encryption_key::EncryptionKey;
use crate::fetch::{FetchError, MAX_KEY_SET_BYTES, parse_usable};
use crate::key_set::KeySet;
use crate::key_source::{KeyLookupError, KeySetHealth};
use crate::verification_key::VerificationKey;

/// The file is looked at no more often than this.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The keys of a file, read again when its time of change or its length changes. Keys once read stay in use while the
/// file cannot be read or holds no usable key. Cloning is cheap and shares the keys.
#[derive(Debug, Clone)]
pub struct FileKeySet {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// What tells one version of the file from another.
type Version = (Option<SystemTime>, u64);

#[derive(Debug, Default)]
struct State {
    keys: Option<KeySet>,
    version: Option<Version>,
    checked_at: Option<Timestamp>,
    error: Option<Arc<FetchError>>,
    health: KeySetHealth,
}

impl FileKeySet {
    /// Does not read yet: the first [`Self::find`] or [`Self::refresh`] does.
    pub fn new(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::new(Inner { path: path.into(), clock, state: Mutex::default() }) }
    }

    /// The key for a token's header. At most once a second of the clock this looks at the file, and reads it if it has
    /// changed: blocking, but bounded by [`MAX_KEY_SET_BYTES`] of a local file.
    ///
    /// # Errors
    /// [`KeyLookupError::Unknown`], or [`KeyLookupError::Unavailable`] if the file was never readable.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<VerificationKey, KeyLookupError> {
        self.pick(|keys| keys.find(kid, algorithm).cloned())
    }

    /// The key that a payload for the owner of the file is encrypted to. Looks at the file like [`Self::find`].
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub fn encryption_key(&self) -> Result<EncryptionKey, KeyLookupError> {
        self.pick(|keys| keys.encryption_key().cloned())
    }

    fn pick<K>(&self, pick: impl Fn(&KeySet) -> Option<K>) -> Result<K, KeyLookupError> {
        let now = self.inner.clock.now();
        let mut state = self.lock();
        if has_passed(state.checked_at, now, CHECK_INTERVAL) {
            self.check(&mut state, now);
        }
        match (&state.keys, &state.error) {
            (Some(keys), _) => pick(keys).ok_or(KeyLookupError::Unknown),
            (None, Some(error)) => Err(KeyLookupError::Unavailable(Arc::clone(error))),
            (None, None) => Err(KeyLookupError::Unavailable(Arc::new(FetchError::NeverRead))),
        }
    }

    /// Looks at the file now, whenever the last look was.
    ///
    /// # Errors
    /// Why the file cannot be read or used; keys that were known before stay in use.
    pub fn refresh(&self) -> Result<(), Arc<FetchError>> {
        let now = self.inner.clock.now();
        let mut state = self.lock();
        self.check(&mut state, now);
        state.error.clone().map_or(Ok(()), Err)
    }

    /// How the file fares.
    pub fn health(&self) -> KeySetHealth {
        self.lock().health
    }

    fn check(&self, state: &mut State, now: Timestamp) {
        state.checked_at = Some(now);
        let path = &self.inner.path;
        let outcome = match version_of(path) {
            Ok(version) if state.version == Some(version) => return,
            Ok(version) => {
                state.version = Some(version);
                state.health.fetches += 1;
                read(path)
            }
            Err(error) => {
                state.version = None;
                Err(error)
            }
        };
        match outcome {
            Ok(keys) => {
                state.keys = Some(keys);
                state.error = None;
                state.health.fetched_at = Some(now);
                state.health.failing = false;
            }
            Err(error) => {
                if !state.health.failing {
                    let cause: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(path = %path.display(), error = cause, "a key set file cannot be used; keys read before stay in use");
                }
                state.error = Some(Arc::new(error));
                state.health.failing = true;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version_of(path: &Path) -> Result<Version, FetchError> {
    let metadata = fs::metadata(path).map_err(FetchError::File)?;
    Ok((metadata.modified().ok(), metadata.len()))
}

fn read(path: &Path) -> Result<KeySet, FetchError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_KEY_SET_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(FetchError::File)?;
    if bytes.len() > MAX_KEY_SET_BYTES {
        return Err(FetchError::TooLarge);
    }
    parse_usable(&bytes)
}
