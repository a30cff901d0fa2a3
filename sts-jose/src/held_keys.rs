//! The keys of one source as they were last read, and how far they can be relied on.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::fetch::FetchError;
use crate::key_set::{KeySet, MAX_KEYS};
use crate::key_source::{KeyLookupError, KeySetHealth};

/// Keys that could not be confirmed for this long are used no more: the issuer may have withdrawn them meanwhile.
pub const MAX_KEY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The keys that were last read, and the outcome of the latest attempt. A well-formed set replaces the former one, also when it is
/// empty; a failure leaves the former one in use for [`MAX_KEY_AGE`].
#[derive(Debug, Default)]
pub(crate) struct HeldKeys {
    keys: Option<KeySet>,
    error: Option<Arc<FetchError>>,
    confirmed_at: Option<Timestamp>,
}

/// A change that the log should report, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// The first failure after a success, or of all.
    Failed,
    /// The set holds no key that can be used.
    Unusable,
    /// The set has more than [`MAX_KEYS`] entries.
    Cut,
    /// The keys can be read and used again.
    Recovered,
}

impl HeldKeys {
    /// The keys, if they were ever read and confirmed within [`MAX_KEY_AGE`].
    pub(crate) fn usable(&self, now: Timestamp) -> Option<&KeySet> {
        let age = now.duration_since(self.confirmed_at?);
        let max_age = SignedDuration::try_from(MAX_KEY_AGE).unwrap_or(SignedDuration::MAX);
        self.keys.as_ref().filter(|_| age < max_age)
    }

    /// The answer from memory.
    pub(crate) fn answer<K>(&self, now: Timestamp, pick: impl Fn(&KeySet) -> Option<K>) -> Result<K, KeyLookupError> {
        let unavailable = |error: &Arc<FetchError>| KeyLookupError::Unavailable(Arc::clone(error));
        let Some(keys) = self.usable(now) else {
            return Err(self.error.as_ref().map_or_else(never_read, unavailable));
        };
        pick(keys).ok_or_else(|| self.error.as_ref().map_or_else(|| missing(keys), unavailable))
    }

    /// Takes over a set that was read at `now`.
    pub(crate) fn replace(&mut self, keys: KeySet, now: Timestamp) -> Change {
        let (was, is) = (self.keys.as_ref().map(condition), condition(&keys));
        let recovered = self.error.is_some() || was == Some(Change::Unusable);
        self.keys = Some(keys);
        self.error = None;
        self.confirmed_at = Some(now);
        match is {
            Change::None if recovered => Change::Recovered,
            _ if was == Some(is) => Change::None,
            _ => is,
        }
    }

    /// Notes that the source still says at `now` what it said before.
    pub(crate) fn confirm(&mut self, now: Timestamp) {
        if self.error.is_none() {
            self.confirmed_at = Some(now);
        }
    }

    /// Notes that an attempt failed.
    pub(crate) fn fail(&mut self, error: Arc<FetchError>) -> Change {
        if self.error.replace(error).is_none() { Change::Failed } else { Change::None }
    }

    /// When the source last said what is held.
    pub(crate) fn confirmed_at(&self) -> Option<Timestamp> {
        self.confirmed_at
    }

    /// The error of the latest attempt, if it failed.
    pub(crate) fn error(&self) -> Option<&Arc<FetchError>> {
        self.error.as_ref()
    }

    /// `counts` with the part of it that is known here.
    pub(crate) fn health(&self, counts: KeySetHealth) -> KeySetHealth {
        let unusable = self.keys.as_ref().is_some_and(KeySet::is_empty);
        KeySetHealth { fetched_at: self.confirmed_at, failing: self.error.is_some() || unusable, ..counts }
    }
}

/// The reason for which a known set lacks a key.
pub(crate) fn missing(keys: &KeySet) -> KeyLookupError {
    if keys.is_empty() { KeyLookupError::Unusable } else { KeyLookupError::Unknown }
}

fn never_read() -> KeyLookupError {
    KeyLookupError::Unavailable(Arc::new(FetchError::NeverRead))
}

fn condition(keys: &KeySet) -> Change {
    match (keys.is_empty(), keys.entries()) {
        (true, _) => Change::Unusable,
        (false, entries) if entries > MAX_KEYS => Change::Cut,
        (false, _) => Change::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set of `entries` entries, of which the first can be used if `usable` says so.
    fn set(entries: usize, usable: &str) -> KeySet {
        let rest = vec!["{}"; entries.saturating_sub(1)].join(",");
        let comma = if rest.is_empty() { "" } else { "," };
        KeySet::parse(format!("{{\"keys\":[{usable}{comma}{rest}]}}").as_bytes()).unwrap()
    }

    #[test]
    fn each_change_is_reported_once() {
        let key = crate::SigningKey::generate(crate::Algorithm::Es256).unwrap().public_jwk().to_string();
        let (good, cut, empty) = (set(1, &key), set(MAX_KEYS + 1, &key), set(1, "{}"));
        let (mut held, now) = (HeldKeys::default(), Timestamp::UNIX_EPOCH);
        let failed = || Arc::new(FetchError::TimedOut);
        assert_eq!(held.replace(good.clone(), now), Change::None);
        for (first, second) in [
            (held.replace(cut.clone(), now), held.replace(cut, now)),
            (held.replace(empty.clone(), now), held.replace(empty, now)),
            (held.replace(good.clone(), now), held.replace(good.clone(), now)),
            (held.fail(failed()), held.fail(failed())),
            (held.replace(good.clone(), now), held.replace(good, now)),
        ] {
            assert_ne!(first, Change::None);
            assert_eq!(second, Change::None);
        }
    }
}
