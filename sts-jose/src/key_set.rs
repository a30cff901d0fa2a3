//! The public keys of one issuer (RFC 7517 §5).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::encryption_key::EncryptionKey;
use crate::json::{self, JsonError};
use crate::verification_key::{JwkError, VerificationKey};

/// Entries after this many are not looked at.
pub const MAX_KEYS: usize = 200;

/// Why bytes are not a key set at all. A single bad key is no such reason: it is skipped.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Not a JSON object that we accept.
    #[error("the key set is not an accepted json object")]
    Json(#[from] JsonError),
    /// There is no `keys`, or it is not an array.
    #[error("keys is missing or not an array")]
    KeysNotAnArray,
}

/// A set of usable public keys, perhaps empty: those that verify signatures, and beside them those that payloads are encrypted to.
/// Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    keys: Vec<VerificationKey>,
    by_kid: HashMap<String, VerificationKey>,
    encryption_keys: Vec<EncryptionKey>,
    entries: usize,
}

impl KeySet {
    /// A set without keys.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a JWK set. Of the first [`MAX_KEYS`] entries those are kept that [`VerificationKey::from_jwk`] or
    /// [`EncryptionKey::from_jwk`] takes, but none of several of one kind that share a `kid`: such a name would mean one key
    /// here and another one elsewhere. The caller bounds the length of `bytes`.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let object = json::parse_object(bytes)?;
        let entries = object.get("keys").and_then(Value::as_array).ok_or(KeySetError::KeysNotAnArray)?;
        let (mut keys, mut encryption_keys) = (Vec::new(), Vec::new());
        for entry in entries.iter().take(MAX_KEYS) {
            let key = entry.as_object().ok_or(JwkError::NotAnObject).and_then(|jwk| match EncryptionKey::is_one(jwk) {
                true => EncryptionKey::from_jwk(jwk).map(|key| encryption_keys.push(key)),
                false => VerificationKey::from_jwk(jwk).map(|key| keys.push(key)),
            });
            if let Err(reason) = key {
                tracing::debug!(%reason, "an entry of a key set was skipped");
            }
        }
        Ok(Self::new(keys, encryption_keys, entries.len()))
    }

    fn new(keys: Vec<VerificationKey>, encryption_keys: Vec<EncryptionKey>, entries: usize) -> Self {
        let keys = without_shared(keys, VerificationKey::kid);
        let encryption_keys = without_shared(encryption_keys, |key| Some(key.kid()));
        let by_kid = keys.iter().filter_map(|key| Some((key.kid()?.to_owned(), key.clone()))).collect();
        Self { inner: Arc::new(Inner { keys, by_kid, encryption_keys, entries }) }
    }

    /// How many keys can be used to verify.
    pub fn len(&self) -> usize {
        self.inner.keys.len()
    }

    /// The number of entries the set had when it was read, those included that cannot be used and those beyond [`MAX_KEYS`].
    pub fn entries(&self) -> usize {
        self.inner.entries
    }

    /// Whether no key can be used to verify.
    pub fn is_empty(&self) -> bool {
        self.inner.keys.is_empty()
    }

    /// The key for a token's header. With a `kid`: the key of that name, if it fits the algorithm; a key without a name
    /// is never it. Without: the only key of the set that fits the algorithm, if there is exactly one.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&VerificationKey> {
        if let Some(kid) = kid {
            return self.inner.by_kid.get(kid).filter(|key| key.fits(algorithm));
        }
        let mut fitting = self.inner.keys.iter().filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(only),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    /// The key that a payload for the owner of the set is encrypted to: the first that can be used. Whoever rotates puts the new one
    /// first.
    pub fn encryption_key(&self) -> Option<&EncryptionKey> {
        self.inner.encryption_keys.first()
    }
}

impl FromIterator<VerificationKey> for KeySet {
    /// Keeps the keys, but none of several that share a `kid`.
    fn from_iter<I: IntoIterator<Item = VerificationKey>>(keys: I) -> Self {
        let keys: Vec<VerificationKey> = keys.into_iter().collect();
        let entries = keys.len();
        Self::new(keys, Vec::new(), entries)
    }
}

fn without_shared<K>(mut keys: Vec<K>, kid: impl Fn(&K) -> Option<&str>) -> Vec<K> {
    let (mut seen, mut shared) = (HashSet::new(), HashSet::new());
    for kid in keys.iter().filter_map(&kid) {
        if !seen.insert(kid.to_owned()) {
            tracing::debug!("keys that share a kid were skipped");
            shared.insert(kid.to_owned());
        }
    }
    keys.retain(|key| kid(key).is_none_or(|kid| !shared.contains(kid)));
    keys
}
