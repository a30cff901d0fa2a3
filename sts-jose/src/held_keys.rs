//! The last known keys of one source, and their reliability.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::fetch_error::FetchError;
use crate::key_lookup::{KeyLookupError, KeySetFaults, KeySetHealth};
use crate::key_set::{KeySet, LostKey, MAX_KEYS};

/// The maximum time that unconfirmed keys stay in use. The issuer may have withdrawn them in the
/// meantime.
pub const MAX_KEY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The maximum number of lost keys of one set that the log names.
pub(crate) const MAX_TOLD: usize = 20;

/// The keys of the last successful read, and the outcome of the latest attempt. A well-formed set
/// replaces the former set, even if it is empty. After a failure, the former set stays in use for
/// [`MAX_KEY_AGE`].
#[derive(Debug, Default)]
pub(crate) struct HeldKeys {
    keys: Option<KeySet>,
    error: Option<Arc<FetchError>>,
    confirmed_at: Option<Timestamp>,
    gone: Vec<(String, Timestamp)>,
}

/// A change that the log reports once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    /// The first attempt failed, or the first after a success.
    Failed,
    /// The set holds no usable key.
    Unusable,
    /// The keys are readable and usable again.
    Recovered,
}

impl HeldKeys {
    /// Returns the keys, if they were ever read and were confirmed within [`MAX_KEY_AGE`].
    pub(crate) fn usable(&self, now: Timestamp) -> Option<&KeySet> {
        let age = now.duration_since(self.confirmed_at?);
        let max_age = SignedDuration::try_from(MAX_KEY_AGE).unwrap_or(SignedDuration::MAX);
        self.keys.as_ref().filter(|_| age < max_age)
    }

    /// Returns the keys of the last successful read, regardless of their age.
    pub(crate) fn keys(&self) -> KeySet {
        self.keys.clone().unwrap_or_default()
    }

    /// Returns the answer from memory.
    pub(crate) fn answer<K>(&self, now: Timestamp, pick: impl Fn(&KeySet) -> Option<K>) -> Result<K, KeyLookupError> {
        let unavailable = |error: &Arc<FetchError>| KeyLookupError::Unavailable(Arc::clone(error));
        let Some(keys) = self.usable(now) else {
            return Err(self.error.as_ref().map_or_else(never_read, unavailable));
        };
        pick(keys).ok_or_else(|| self.error.as_ref().map_or_else(|| missing(keys), unavailable))
    }

    /// Stores a set that was read at `now`.
    pub(crate) fn replace(&mut self, keys: KeySet, now: Timestamp) -> Change {
        let (was, is) = (self.keys.as_ref().map(condition), condition(&keys));
        let recovered = self.error.is_some() || was == Some(Change::Unusable);
        self.note_gone(&keys, now);
        self.keys = Some(keys);
        self.error = None;
        self.confirmed_at = Some(now);
        match is {
            Change::None if recovered => Change::Recovered,
            _ if was == Some(is) => Change::None,
            _ => is,
        }
    }

    /// Notes the named keys of the former set that `keys` lacks.
    fn note_gone(&mut self, keys: &KeySet, now: Timestamp) {
        let has = |kid: &str| keys.keys().iter().any(|key| key.kid() == Some(kid));
        let former = self.keys.iter().flat_map(KeySet::keys).filter_map(|key| key.kid());
        let gone: Vec<_> = former.filter(|kid| !has(kid)).map(|kid| (kid.to_owned(), now)).collect();
        self.gone.retain(|(kid, _)| !has(kid));
        self.gone.extend(gone);
        self.gone.drain(..self.gone.len().saturating_sub(MAX_TOLD));
    }

    /// Returns the faults of the source.
    pub(crate) fn faults(&self) -> KeySetFaults {
        let lost = self.keys.iter().flat_map(KeySet::lost).take(MAX_TOLD).cloned();
        KeySetFaults { error: self.error.clone(), lost: lost.collect(), gone: self.gone.clone() }
    }

    /// Returns the lost keys of `keys` that the former set had not lost.
    pub(crate) fn newly_lost<'a>(&self, keys: &'a KeySet) -> NewlyLost<'a> {
        let known = self.keys.as_ref();
        let is_new = |key: &&LostKey| !known.is_some_and(|known| known.lost().iter().any(|lost| lost.is_same(key)));
        let was_cut = known.is_some_and(|known| known.entries() > MAX_KEYS);
        NewlyLost { keys: keys.lost().iter().filter(is_new).collect(), is_cut: keys.entries() > MAX_KEYS && !was_cut }
    }

    /// Records that the source is unchanged at `now`.
    pub(crate) fn confirm(&mut self, now: Timestamp) {
        if self.error.is_none() {
            self.confirmed_at = Some(now);
        }
    }

    /// Records that an attempt failed.
    pub(crate) fn fail(&mut self, error: Arc<FetchError>) -> Change {
        if self.error.replace(error).is_none() { Change::Failed } else { Change::None }
    }

    /// Returns the time of the last confirmation by the source.
    pub(crate) fn confirmed_at(&self) -> Option<Timestamp> {
        self.confirmed_at
    }

    /// Returns the error of the latest attempt, if it failed.
    pub(crate) fn error(&self) -> Option<&Arc<FetchError>> {
        self.error.as_ref()
    }

    /// Returns `counts` with the values that are known here.
    pub(crate) fn health(&self, counts: KeySetHealth) -> KeySetHealth {
        let unusable = self.keys.as_ref().is_some_and(KeySet::is_empty);
        let lost_keys = self.keys.as_ref().map_or(0, lost_keys);
        KeySetHealth { fetched_at: self.confirmed_at, failing: self.error.is_some() || unusable, lost_keys, ..counts }
    }
}

/// Returns the reason a known set lacks a key.
pub(crate) fn missing(keys: &KeySet) -> KeyLookupError {
    if keys.is_empty() { KeyLookupError::Unusable } else { KeyLookupError::Unknown }
}

fn never_read() -> KeyLookupError {
    KeyLookupError::Unavailable(Arc::new(FetchError::NeverRead))
}

fn condition(keys: &KeySet) -> Change {
    if keys.is_empty() { Change::Unusable } else { Change::None }
}

/// The keys that a set has lost since the last read.
#[derive(Debug)]
pub(crate) struct NewlyLost<'a> {
    keys: Vec<&'a LostKey>,
    is_cut: bool,
}

/// Returns the number of unusable keys of a set, plus its entries beyond [`MAX_KEYS`].
pub(crate) fn lost_keys(keys: &KeySet) -> usize {
    keys.lost().len() + keys.entries().saturating_sub(MAX_KEYS)
}

/// The origin of a key set, for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    Issuer(&'a str),
    File(&'a Path),
}

/// Logs each lost key.
pub(crate) fn tell_lost_keys(origin: Origin<'_>, lost: &NewlyLost<'_>, keys: &KeySet) {
    let (issuer, path) = match origin {
        Origin::Issuer(issuer) => (Some(issuer), None),
        Origin::File(path) => (None, Some(tracing::field::display(path.display()))),
    };
    for LostKey { kid, index, reason } in lost.keys.iter().take(MAX_TOLD) {
        tracing::warn!(issuer, path, kid, index, %reason, "a key of a key set cannot be used");
    }
    if let Some(more) = lost.keys.len().checked_sub(MAX_TOLD).filter(|more| *more > 0) {
        tracing::warn!(issuer, path, more, "further keys of a key set cannot be used");
    }
    if lost.is_cut {
        let entries = keys.entries();
        tracing::warn!(issuer, path, entries, "a key set has more than {MAX_KEYS} entries: the others are not read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a set of `entries` entries. `usable` is the first of them.
    fn set(entries: usize, usable: &str) -> KeySet {
        let rest = vec!["{}"; entries.saturating_sub(1)].join(",");
        let comma = if rest.is_empty() { "" } else { "," };
        KeySet::parse(format!("{{\"keys\":[{usable}{comma}{rest}]}}").as_bytes()).unwrap()
    }

    #[test]
    fn each_change_is_reported_once() {
        let key = crate::SigningKey::generate(crate::Algorithm::Es256).unwrap().public_jwk().to_string();
        let (good, empty) = (set(1, &key), set(1, "{}"));
        let (mut held, now) = (HeldKeys::default(), Timestamp::UNIX_EPOCH);
        let failed = || Arc::new(FetchError::TimedOut);
        assert_eq!(held.replace(good.clone(), now), Change::None);
        for (first, second) in [
            (held.replace(empty.clone(), now), held.replace(empty, now)),
            (held.replace(good.clone(), now), held.replace(good.clone(), now)),
            (held.fail(failed()), held.fail(failed())),
            (held.replace(good.clone(), now), held.replace(good, now)),
        ] {
            assert_ne!(first, Change::None);
            assert_eq!(second, Change::None);
        }
    }

    #[test]
    fn a_key_that_has_gone_is_named_until_it_is_back() {
        let key = |kid: &str| {
            let mut jwk = crate::SigningKey::generate(crate::Algorithm::Es256).unwrap().public_jwk();
            jwk["kid"] = kid.into();
            jwk.to_string()
        };
        let (one, two) = (key("one"), key("two"));
        let both = set(1, &format!("{one},{two}"));
        let mut held = HeldKeys::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        held.replace(both.clone(), at(1));
        assert_eq!(held.faults().gone, []);
        held.replace(set(1, &one), at(2));
        held.replace(set(1, &one), at(3));
        assert_eq!(held.faults().gone, [("two".to_owned(), at(2))]);
        held.fail(Arc::new(FetchError::TimedOut));
        assert!(held.faults().error.is_some());
        held.replace(both, at(4));
        assert!(held.faults().error.is_none() && held.faults().gone.is_empty());
    }

    #[test]
    fn a_lost_key_is_told_once() {
        let key = crate::SigningKey::generate(crate::Algorithm::Es256).unwrap().public_jwk().to_string();
        let (cut, longer) = (set(MAX_KEYS + 1, &key), set(MAX_KEYS + 2, &key));
        let mut held = HeldKeys::default();
        let first = held.newly_lost(&cut);
        assert_eq!((first.keys.len(), first.is_cut), (MAX_KEYS - 1, true));
        held.replace(cut, Timestamp::UNIX_EPOCH);
        let second = held.newly_lost(&longer);
        assert_eq!((second.keys.len(), second.is_cut), (0, false));
        held.replace(longer, Timestamp::UNIX_EPOCH);
        assert_eq!(held.health(KeySetHealth::default()).lost_keys, MAX_KEYS + 1);
    }
}
