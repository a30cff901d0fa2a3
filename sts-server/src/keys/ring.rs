//! The signing keys of this service as requests read them: immutable, replaced as a whole.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_jose::{Algorithm, SignatureMemo, SigningKey, SigningKeyError, UnverifiedToken, VerifiedToken};
use thiserror::Error;

use super::{MasterKey, SealError};
use crate::storage::{CodedRow, KeyRow, KeyState, Stored, TableFault, Version};

/// The maximum number of published keys. Verifiers read a bounded number of keys; the verifiers of
/// this project read 200.
pub const MAX_PUBLISHED_KEYS: usize = 50;

/// All keys that sign, have signed or will sign.
#[derive(Debug, Default)]
pub struct KeyRing {
    version: Version,
    keys: HashMap<String, RingKey>,
    active: HashMap<Algorithm, Arc<SigningKey>>,
    jwks: Value,
    lives: Vec<KeyLife>,
    memo: Arc<SignatureMemo>,
}

/// An opened key, and its row with its lifecycle state. `Debug` of the key shows no secret.
#[derive(Debug, Clone)]
struct RingKey {
    key: Arc<SigningKey>,
    row: KeyRow,
}

/// The keys of a single algorithm in a single state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLife {
    /// The algorithm of these keys.
    pub algorithm: Algorithm,
    /// The lifecycle state of these keys.
    pub state: KeyState,
    /// The number of these keys.
    pub keys: usize,
    /// The time at which the oldest of them entered this state.
    pub oldest_since: Timestamp,
}

/// A stored key that cannot be used: the operator must act.
#[derive(Debug, Error)]
pub enum KeyRingError {
    /// A key does not open under the master key.
    #[error("the signing key {kid} cannot be decrypted")]
    Sealed {
        /// The `kid` of the key.
        kid: String,
        /// The cause of the failure.
        #[source]
        source: SealError,
    },
    /// The opened bytes are not a key of the algorithm.
    #[error("the signing key {kid} is not a key of its algorithm")]
    Malformed {
        /// The `kid` of the key.
        kid: String,
        /// The cause of the failure.
        #[source]
        source: SigningKeyError,
    },
    /// The key has an algorithm that this service does not sign with.
    #[error("the signing key {0} is of an unknown algorithm")]
    Algorithm(String),
}

impl KeyRing {
    /// Opens the stored keys, except those that `known` already holds open. Returns the ring and
    /// the faults.
    ///
    /// A row that was written or altered directly in the database, or that does not open, is left
    /// out; the others are not affected.
    ///
    /// If rows were removed or restored directly in the database, or are sealed under another
    /// master key, the ring adds no key. It keeps the keys that `known` holds, unchanged. A key
    /// whose row is gone is dropped even then.
    #[must_use]
    pub fn of(stored: &Stored<KeyRow>, master: &MasterKey, known: &Self) -> (Self, Vec<TableFault>) {
        let mut faults = stored.faults.clone();
        let mut keys = Vec::new();
        for CodedRow { row, is_vouched, .. } in &stored.rows {
            match known.keys.get(&row.kid) {
                Some(open) if !stored.is_whole => keys.push(open.clone()),
                Some(open) if *is_vouched => keys.push(RingKey { key: Arc::clone(&open.key), row: row.clone() }),
                None if stored.is_whole && *is_vouched => match open(row, master) {
                    Ok(key) => keys.push(RingKey { key: Arc::new(key), row: row.clone() }),
                    Err(error) => {
                        let reason = error.to_string();
                        faults.push(TableFault::Malformed { table: stored.table, row: row.kid.clone(), reason });
                    }
                },
                Some(_) | None => {}
            }
        }
        (Self::from_keys(stored.version, keys, known), faults)
    }

    fn from_keys(version: Version, keys: Vec<RingKey>, known: &Self) -> Self {
        let mut ring = Self { version, memo: Arc::clone(&known.memo), ..Self::default() };
        let mut published = Vec::new();
        for open in keys {
            published.push((publication_rank(open.row.state), Reverse(open.row.state_since), open.key.public_jwk()));
            ring.count(open.key.algorithm(), &open.row);
            if open.row.state == KeyState::Active {
                ring.active.insert(open.key.algorithm(), Arc::clone(&open.key));
            }
            ring.keys.insert(open.row.kid.clone(), open);
        }
        // A verifier that reads only some of the keys must get the active keys and the next keys.
        published.sort_by_key(|(rank, since, _)| (*rank, *since));
        let published: Vec<Value> = published.into_iter().take(MAX_PUBLISHED_KEYS).map(|(.., jwk)| jwk).collect();
        ring.jwks = json!({ "keys": published });
        ring
    }

    /// Returns the version of the keys.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the active key of this algorithm.
    #[must_use]
    pub fn active(&self, algorithm: Algorithm) -> Option<&Arc<SigningKey>> {
        self.active.get(&algorithm)
    }

    /// Returns the numbers of keys by algorithm and state.
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

    /// Returns true if there is an active key.
    #[must_use]
    pub fn is_able(&self) -> bool {
        !self.active.is_empty()
    }

    /// Returns the public keys (RFC 7517 §5), at most [`MAX_PUBLISHED_KEYS`]: first the active
    /// keys, then the next keys, then the retired keys, newest first.
    #[must_use]
    pub fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// Checks that a key of this service signed the token. Returns `None` if none did.
    #[must_use]
    pub fn verify(&self, token: UnverifiedToken<'_>) -> Option<VerifiedToken> {
        let key = self.keys.get(token.header().kid.as_deref()?)?.key.verification_key();
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
