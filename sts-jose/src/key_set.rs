//! The public keys of one issuer (RFC 7517 §5).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::candidates::Candidates;
use crate::certificate_authorities::CertificateAuthorities;
use crate::encryption_key::EncryptionKey;
use crate::json::{self, JsonError};
use crate::verification_key::is_sound_key_id;
use crate::verification_key::{JwkError, VerificationKey};

/// The maximum number of entries that are read. Further entries are ignored.
pub const MAX_KEYS: usize = 200;

/// The reason bytes are not a key set. A single bad key is no such reason: only that key is lost.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// The bytes are not an accepted JSON object.
    #[error("the key set is not an accepted json object")]
    Json(#[from] JsonError),
    /// `keys` is absent, or is not an array.
    #[error("keys is missing or not an array")]
    KeysNotAnArray,
}

/// A set of usable public keys, which may be empty. It holds the keys that verify signatures, the keys
/// that payloads are encrypted to, and the authorities of X.509-SVIDs. Cloning is cheap.
///
/// ```
/// use sts_jose::{Algorithm, KeySet, SigningKey};
///
/// let key = SigningKey::generate(Algorithm::Es256)?;
/// let jwks = format!(r#"{{"keys": [{}]}}"#, key.public_jwk());
/// let keys = KeySet::parse(jwks.as_bytes())?;
/// assert!(keys.find(Some(key.kid()), Algorithm::Es256).is_some());
/// assert!(keys.find(Some(key.kid()), Algorithm::Rs256).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    inner: Arc<KeySetInner>,
}

#[derive(Debug, Default)]
struct KeySetInner {
    keys: Vec<VerificationKey>,
    /// Keys by their `kid`, in the order of the set.
    by_kid: HashMap<String, Vec<VerificationKey>>,
    nameless: Vec<VerificationKey>,
    encryption_keys: Vec<EncryptionKey>,
    authorities: Option<CertificateAuthorities>,
    lost: Vec<LostKey>,
    entries: usize,
}

/// An entry of a key set that seems meant for verifying signatures, but cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LostKey {
    /// The `kid`, if it has one that can be shown.
    pub kid: Option<String>,
    /// The index of the entry in `keys`.
    pub index: usize,
    /// The reason it cannot be used.
    pub reason: JwkError,
}

impl LostKey {
    /// Returns true if `other` is lost for the same reason under the same `kid`. Without a `kid`,
    /// the index must be the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_place = self.kid.is_some() || self.index == other.index;
        (&self.kid, self.reason) == (&other.kid, other.reason) && is_place
    }
}

impl KeySet {
    /// Returns a set without keys.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Parses a JWK set. Of the first [`MAX_KEYS`] entries, keeps those that
    /// [`VerificationKey::from_jwk`] or [`EncryptionKey::from_jwk`] accepts; [`Self::lost`] names
    /// the others. Several keys may share a `kid`. Skips a byte order mark. A key with a repeated
    /// member is lost alone; a repeated member of the set itself is an error. The caller bounds the
    /// length of `bytes`.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let entries = json::elements(bytes, "keys")?.ok_or(KeySetError::KeysNotAnArray)?;
        let mut inner = KeySetInner { entries: entries.len(), ..KeySetInner::default() };
        let mut authorities = Vec::new();
        for (index, entry) in entries.iter().enumerate().take(MAX_KEYS) {
            let entry = json::parse_object(entry.get().as_bytes());
            let jwk = entry.as_ref().map_err(JwkError::of_json);
            let added = jwk.and_then(|jwk| match CertificateAuthorities::is_one(jwk) {
                true => CertificateAuthorities::certificate(jwk).map(|authority| authorities.push(authority)),
                false => inner.add_entry(jwk),
            });
            if let Err(reason) = added
                && reason.is_loss()
                && !jwk.is_ok_and(EncryptionKey::is_one)
            {
                let kid = jwk.ok().and_then(|jwk| jwk.get("kid")?.as_str()).filter(|kid| is_sound_key_id(kid));
                inner.lost.push(LostKey { kid: kid.map(str::to_owned), index, reason });
            }
        }
        inner.drop_ambiguous_encryption_keys();
        inner.authorities = (!authorities.is_empty()).then(|| authorities.into_iter().collect());
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the number of keys that can be used to verify.
    pub fn len(&self) -> usize {
        self.inner.keys.len()
    }

    /// Returns the number of entries in the document, including unusable entries and entries beyond
    /// [`MAX_KEYS`].
    pub fn entries(&self) -> usize {
        self.inner.entries
    }

    /// Returns the entries that cannot be used. Entries for another purpose, such as `use` = `enc`,
    /// are not included, and neither are entries beyond [`MAX_KEYS`].
    pub fn lost(&self) -> &[LostKey] {
        &self.inner.lost
    }

    /// Returns the keys that can be used to verify, in the order of the set.
    pub fn keys(&self) -> &[VerificationKey] {
        &self.inner.keys
    }

    /// Returns true if no key can be used to verify, neither signatures nor certificates.
    pub fn is_empty(&self) -> bool {
        self.inner.keys.is_empty() && self.inner.authorities.is_none()
    }

    /// Returns the authorities of X.509-SVIDs: the entries with `use` = `x509-svid`. `None` if there
    /// are none.
    pub fn authorities(&self) -> Option<&CertificateAuthorities> {
        self.inner.authorities.as_ref()
    }

    /// Returns the keys to try for a token's header. With a `kid`, these are the fitting keys of
    /// that name, then the fitting keys without a name. Without a `kid`, these are all fitting
    /// keys. Returns `None` if no key fits the algorithm.
    pub fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Candidates> {
        let Some(kid) = kid else { return Candidates::of(self.inner.keys.iter(), &[], algorithm) };
        let named = self.inner.by_kid.get(kid).into_iter().flatten();
        Candidates::of(named, &self.inner.nameless, algorithm)
    }

    /// Returns the first of [`Self::candidates`].
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&VerificationKey> {
        let fits = |key: &&VerificationKey| key.fits(algorithm);
        match kid {
            Some(kid) => self.inner.by_kid.get(kid).into_iter().flatten().chain(&self.inner.nameless).find(fits),
            None => self.inner.keys.iter().find(fits),
        }
    }

    /// Returns the key for encrypting a payload to the owner of the set: the first usable key. The
    /// owner rotates by placing the new key first.
    pub fn encryption_key(&self) -> Option<&EncryptionKey> {
        self.inner.encryption_keys.first()
    }
}

impl KeySetInner {
    fn add_entry(&mut self, jwk: &Map<String, Value>) -> Result<(), JwkError> {
        if EncryptionKey::is_one(jwk) {
            let key = EncryptionKey::from_jwk(jwk)?;
            if !self.encryption_keys.contains(&key) {
                self.encryption_keys.push(key);
            }
            return Ok(());
        }
        self.add(VerificationKey::from_jwk(jwk)?);
        Ok(())
    }

    /// Adds a key, unless the set already has it.
    fn add(&mut self, key: VerificationKey) {
        let of_name = match key.kid() {
            Some(kid) => self.by_kid.entry(kid.to_owned()).or_default(),
            None => &mut self.nameless,
        };
        if of_name.iter().any(|known| known.covers(&key)) {
            return;
        }
        of_name.push(key.clone());
        self.keys.push(key);
    }

    /// Drops encryption keys that share a `kid`. The owner could not tell which of them a payload
    /// was encrypted to.
    fn drop_ambiguous_encryption_keys(&mut self) {
        let mut seen = HashSet::new();
        let repeated: HashSet<String> = self
            .encryption_keys
            .iter()
            .map(|key| key.kid().to_owned())
            .filter(|kid| !seen.insert(kid.clone()))
            .collect();
        self.encryption_keys.retain(|key| !repeated.contains(key.kid()));
    }
}

impl FromIterator<VerificationKey> for KeySet {
    fn from_iter<I: IntoIterator<Item = VerificationKey>>(keys: I) -> Self {
        let mut inner = KeySetInner::default();
        for key in keys {
            inner.entries += 1;
            inner.add(key);
        }
        Self { inner: Arc::new(inner) }
    }
}
