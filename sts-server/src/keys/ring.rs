//! Our signing keys as requests read them: immutable, replaced whole.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_jose::{Algorithm, SignatureMemo, SigningKey, SigningKeyError, UnverifiedToken, VerifiedToken};
use thiserror::Error;

use super::{MasterKey, SealError};
use crate::storage::{KeyRow, KeyState};

/// The most keys that are published. Verifiers read a bounded number of keys; those of this project read 200.
pub const MAX_PUBLISHED_KEYS: usize = 50;

/// All keys that sign, have signed or will sign.
#[derive(Debug, Default)]
pub struct KeyRing {
    version: i64,
    keys: HashMap<String, Arc<SigningKey>>,
    active: HashMap<Algorithm, Arc<SigningKey>>,
    jwks: Value,
    lives: Vec<KeyLife>,
    memo: Arc<SignatureMemo>,
}

/// Our keys of one algorithm in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLife {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The state.
    pub state: KeyState,
    /// How many there are.
    pub keys: usize,
    /// Since when the oldest of them has been in this state.
    pub oldest_since: Timestamp,
}

/// The stored keys cannot be used: an operator must act.
#[derive(Debug, Error)]
pub enum KeyRingError {
    /// A key does not open.
    #[error("the signing key {kid} does not open")]
    Sealed {
        /// Which key.
        kid: String,
        /// Why.
        #[source]
        source: SealError,
    },
    /// A key is not one.
    #[error("the signing key {kid} is not a key of its algorithm")]
    Malformed {
        /// Which key.
        kid: String,
        /// Why.
        #[source]
        source: SigningKeyError,
    },
    /// A key is of an algorithm that is not signed with.
    #[error("the signing key {0} is of an unknown algorithm")]
    Algorithm(String),
}

impl KeyRing {
    /// Opens the stored keys, save those that `known` holds open: they may have been sealed under another master key since.
    ///
    /// # Errors
    /// [`KeyRingError`] for the first key that cannot be used.
    pub fn from_rows(version: i64, rows: &[KeyRow], master: &MasterKey, known: &Self) -> Result<Self, KeyRingError> {
        let mut ring = Self { version, memo: Arc::clone(&known.memo), ..Self::default() };
        let mut published = Vec::new();
        for row in rows {
            let key = match known.keys.get(&row.kid) {
                Some(key) => Arc::clone(key),
                None => Arc::new(open(row, master)?),
            };
            published.push((row, key.public_jwk()));
            ring.count(key.algorithm(), row);
            if row.state == KeyState::Active {
                ring.active.insert(key.algorithm(), Arc::clone(&key));
            }
            ring.keys.insert(row.kid.clone(), key);
        }
        // A verifier that reads only some of the keys must get those that sign now, and will sign next.
        published.sort_by_key(|(row, _)| (publication_rank(row.state), Reverse(row.state_since)));
        let published: Vec<Value> = published.into_iter().take(MAX_PUBLISHED_KEYS).map(|(_, jwk)| jwk).collect();
        ring.jwks = json!({ "keys": published });
        Ok(ring)
    }

    /// The change counter that the keys belong to.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The key that signs with this algorithm now.
    #[must_use]
    pub fn active(&self, algorithm: Algorithm) -> Option<&Arc<SigningKey>> {
        self.active.get(&algorithm)
    }

    /// Our keys, counted by algorithm and state.
    #[must_use]
    pub fn lives(&self) -> &[KeyLife] {
        &self.lives
    }

    fn count(&mut self, algorithm: Algorithm, row: &KeyRow) {
        let same = |life: &&mut KeyLife| life.algorithm == algorithm && life.state == row.state;
        match self.lives.iter_mut().find(same) {
            Some(life) => {
                life.keys += 1;
                life.oldest_since = life.oldest_since.min(row.state_since);
            }
            None => {
                self.lives.push(KeyLife { algorithm, state: row.state, keys: 1, oldest_since: row.state_since });
            }
        }
    }

    /// Whether there is anything to sign with.
    #[must_use]
    pub fn is_able(&self) -> bool {
        !self.active.is_empty()
    }

    /// The public halves of the keys (RFC 7517 §5): the active ones, the next ones, then the retired ones from the newest on, and of
    /// these [`MAX_PUBLISHED_KEYS`].
    #[must_use]
    pub fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// Checks that one of our keys signed the token; `None` when none did.
    #[must_use]
    pub fn verify(&self, token: UnverifiedToken<'_>) -> Option<VerifiedToken> {
        let key = self.keys.get(token.header().kid.as_deref()?)?.verification_key();
        token.verify_once(&key, &self.memo).ok()
    }
}

fn publication_rank(state: KeyState) -> u8 {
    match state {
        KeyState::Active => 0,
        KeyState::Next => 1,
        KeyState::Retired => 2,
    }
}

fn open(row: &KeyRow, master: &MasterKey) -> Result<SigningKey, KeyRingError> {
    let algorithm = row.algorithm.parse().or(Err(KeyRingError::Algorithm(row.kid.clone())))?;
    let pkcs8 =
        master.open(&row.kid, &row.sealed).map_err(|source| KeyRingError::Sealed { kid: row.kid.clone(), source })?;
    SigningKey::from_pkcs8(algorithm, &pkcs8).map_err(|source| KeyRingError::Malformed { kid: row.kid.clone(), source })
}
