//! The lifecycle of this service's signing keys: next, active, retired, deleted.
//!
//! Every algorithm has an active key, which signs, and a next key. The next key is published before
//! it signs, so that verifiers already know it. A retired key stays published while a token that it
//! signed may be valid. That time is the longest lifetime given to tokens by any server that signed
//! with the key. The present configuration does not shorten it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sts_jose::{Algorithm, Clock, Entropy, SigningKey, SigningKeyError};
use thiserror::Error;
use zeroize::Zeroizing;

use super::ring::MAX_PUBLISHED_KEYS;
use super::{MasterKey, SealError};
use crate::storage::{AuditRow, Changed, KeyChanges, KeyRow, KeyState, StorageError, Store};
use crate::ttl::Ttl;

/// The algorithms that this service signs tokens with.
pub const SIGNING_ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];

/// The maximum difference between two clocks.
const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// The number of attempts at a change, in case another server changes the keys first.
pub(super) const ATTEMPTS: u32 = 10;

/// The inputs of a change of keys.
#[derive(Debug, Clone, Copy)]
pub struct KeyPolicy<'a> {
    /// The database that holds the keys.
    pub store: &'a dyn Store,
    /// The master key that seals the signing keys.
    pub master: &'a MasterKey,
    /// The clock for key times and ages.
    pub clock: &'a dyn Clock,
    /// The source of randomness for sealing.
    pub entropy: &'a Arc<dyn Entropy>,
    /// The longest lifetime of any token.
    pub max_ttl: Ttl,
}

/// A failure to change the keys.
#[derive(Debug, Error)]
pub enum KeyLifeError {
    /// The database failed to read or write the keys.
    #[error("the keys cannot be read or written")]
    Storage(#[from] StorageError),
    /// A signing key could not be generated.
    #[error("failed to generate a signing key")]
    Generate(#[from] SigningKeyError),
    /// A signing key could not be sealed.
    #[error("failed to seal a signing key")]
    Seal(#[from] SealError),
    /// Other servers changed the keys on every attempt.
    #[error("the keys changed during each of {ATTEMPTS} attempts")]
    Contended,
    /// The next key was published too recently for every verifier to know it.
    #[error(
        "the next {algorithm} key was published only at {published_at}; it may sign from {earliest}, or at once with --now"
    )]
    TooEarly {
        /// The algorithm of the key.
        algorithm: Algorithm,
        /// The time at which the next key was published.
        published_at: Timestamp,
        /// The time from which it may sign.
        earliest: Timestamp,
    },
    /// The rotation would publish more than [`MAX_PUBLISHED_KEYS`].
    #[error(
        "{MAX_PUBLISHED_KEYS} signing keys are the most that verifiers are sure to read: rotate after {until}, when the tokens of the \
         oldest retired key have expired"
    )]
    TooMany {
        /// The time at which the first retired key is no longer published.
        until: Timestamp,
    },
    /// A stored key is not sealed under the configured master key.
    #[error("nothing was changed: the signing key {kid} cannot be decrypted")]
    Foreign {
        /// The `kid` of the key.
        kid: String,
        /// The cause of the failure.
        #[source]
        source: SealError,
    },
    /// The new master key is the same as the present master key.
    #[error("the new master key is the one that is configured")]
    SameMasterKey,
    /// Rows were written, altered or removed directly in the database. Sealing them under another
    /// master key would accept them.
    #[error(
        "rows were written, altered or removed outside the servers: review them with `sts-server registry accept --dry-run`, and accept them first"
    )]
    Altered,
    /// No signing key has this `kid`.
    #[error("there is no signing key {0:?}: `sts-server keys list` shows the keys")]
    Unknown(String),
}

/// The treatment of a next key that verifiers may not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Waits until the next key has been published long enough.
    WhenPublished,
    /// Lets the next key sign now. Verifiers that cache the keys may reject tokens for a while.
    Now,
}

impl KeyPolicy<'_> {
    /// Opens a stored key under the master key.
    pub(super) fn open(&self, row: &KeyRow) -> Result<Zeroizing<Vec<u8>>, KeyLifeError> {
        let foreign = |source| KeyLifeError::Foreign { kid: row.kid.clone(), source };
        self.master.open(&row.kid, &row.sealed).map_err(foreign)
    }

    /// Checks that a stored key opens under the configured master key.
    ///
    /// # Errors
    /// [`KeyLifeError::Foreign`] if it does not.
    pub fn check(&self, row: &KeyRow) -> Result<(), KeyLifeError> {
        self.open(row).map(drop)
    }

    fn longest_life(&self) -> SignedDuration {
        SignedDuration::from_secs(self.max_ttl.as_seconds())
    }
}

/// Returns the time that a key is published before it signs.
#[must_use]
pub fn publish_window(max_ttl: Ttl) -> SignedDuration {
    SignedDuration::from_secs(max_ttl.as_seconds()) + SKEW
}

/// Creates any missing active or next key of every algorithm. Calls `audit` for each attempt that
/// changes keys.
///
/// # Errors
/// [`KeyLifeError`], except `TooEarly` and `Unknown`.
pub async fn ensure(
    policy: &KeyPolicy<'_>,
    audit: &mut (dyn FnMut(&KeyChanges) -> Vec<AuditRow> + Send),
) -> Result<(), KeyLifeError> {
    change(policy, audit, |rows, now| missing(policy, rows, now)).await
}

/// Activates the next key of `algorithm`, or of every algorithm. Retires the previous active key
/// and publishes a new next key.
///
/// # Errors
/// [`KeyLifeError`], including `TooMany`; with [`Rotation::WhenPublished`] also `TooEarly`.
pub async fn rotate(
    policy: &KeyPolicy<'_>,
    algorithm: Option<Algorithm>,
    rotation: Rotation,
    audit: &mut (dyn FnMut(&KeyChanges) -> Vec<AuditRow> + Send),
) -> Result<(), KeyLifeError> {
    change(policy, audit, |rows, now| {
        let mut changes = KeyChanges::default();
        for algorithm in SIGNING_ALGORITHMS.into_iter().filter(|known| algorithm.is_none_or(|named| named == *known)) {
            let promoted = promote(policy, rows, algorithm, rotation, now)?;
            changes.put.extend(promoted);
        }
        check_published(rows, &changes)?;
        Ok(changes)
    })
    .await
}

/// Deletes a key at once, on every server. Tokens that it signed are rejected from then on. If it
/// was active, the next key becomes active.
///
/// # Errors
/// [`KeyLifeError`], except `TooEarly`.
pub async fn revoke(
    policy: &KeyPolicy<'_>,
    kid: &str,
    audit: &mut (dyn FnMut(&KeyChanges) -> Vec<AuditRow> + Send),
) -> Result<(), KeyLifeError> {
    change(policy, audit, |rows, now| {
        let revoked = rows.iter().find(|row| row.kid == kid).ok_or_else(|| KeyLifeError::Unknown(kid.to_owned()))?;
        let rest: Vec<KeyRow> = rows.iter().filter(|row| row.kid != kid).cloned().collect();
        let algorithm = revoked.algorithm.parse().map_err(|_unknown| KeyLifeError::Unknown(kid.to_owned()));
        let mut put = match revoked.state {
            KeyState::Active => promote(policy, &rest, algorithm?, Rotation::Now, now)?,
            KeyState::Next | KeyState::Retired => Vec::new(),
        };
        if put.is_empty() {
            put = missing(policy, &rest, now)?.put;
        }
        Ok(KeyChanges { delete: vec![kid.to_owned()], put, ..KeyChanges::default() })
    })
    .await
}

/// Rotates keys that have signed for `rotate_every`. Deletes retired keys whose tokens have all
/// expired.
///
/// # Errors
/// [`KeyLifeError`], except `TooEarly` and `Unknown`.
pub async fn maintain(
    policy: &KeyPolicy<'_>,
    rotate_every: Ttl,
    audit: &mut (dyn FnMut(&KeyChanges) -> Vec<AuditRow> + Send),
) -> Result<(), KeyLifeError> {
    change(policy, audit, |rows, now| {
        let mut changes = missing(policy, rows, now)?;
        let gone = |row: &&KeyRow| row.state == KeyState::Retired && is_past(row, row.longest_life + SKEW, now);
        changes.delete = rows.iter().filter(gone).map(|row| row.kid.clone()).collect();
        let due = |row: &&KeyRow| {
            let signed = SignedDuration::from_secs(rotate_every.as_seconds());
            row.state == KeyState::Active && is_past(row, signed, now)
        };
        for row in rows.iter().filter(due) {
            let Ok(algorithm) = row.algorithm.parse() else { continue };
            match promote(policy, rows, algorithm, Rotation::WhenPublished, now) {
                Ok(promoted) => {
                    let wanted = KeyChanges { put: promoted, ..changes.clone() };
                    match check_published(rows, &wanted) {
                        Ok(()) => changes.put.extend(wanted.put),
                        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "a rotation must wait"),
                    }
                }
                Err(KeyLifeError::TooEarly { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    })
    .await
}

/// Reads, decides and writes. Starts over if another server changed the keys meanwhile.
async fn change(
    policy: &KeyPolicy<'_>,
    audit: &mut (dyn FnMut(&KeyChanges) -> Vec<AuditRow> + Send),
    mut decide: impl FnMut(&[KeyRow], Timestamp) -> Result<KeyChanges, KeyLifeError> + Send,
) -> Result<(), KeyLifeError> {
    for _ in 0..ATTEMPTS {
        let stored = policy.store.keys().await?;
        let version = stored.version;
        // A row that was written directly in the database counts as absent. If that is every row,
        // the configured master key may be the wrong one.
        let (vouched, all) = (stored.rows.iter().any(|coded| coded.is_vouched), stored.clone().all());
        if !vouched {
            all.iter().try_for_each(|row| policy.check(row))?;
        }
        let stored: Vec<KeyRow> = stored.vouched().collect();
        let (rows, prolonged) = prolonged(policy, &stored);
        let mut changes = decide(&rows, policy.clock.now())?;
        let kept = |row: &KeyRow| !changes.delete.contains(&row.kid);
        let prolonged: Vec<KeyRow> = prolonged.into_iter().filter(kept).collect();
        // The decided rows come later, so they take precedence.
        changes.put.splice(0..0, prolonged);
        // A server that does not have the new master key yet must not seal under the old one.
        for row in stored.iter().filter(|row| !changes.delete.contains(&row.kid)) {
            policy.open(row)?;
        }
        if changes == KeyChanges::default() {
            return Ok(());
        }
        match policy.store.change_keys(version, &changes, &audit(&changes)).await? {
            Changed::Applied(_) => return Ok(()),
            Changed::Conflict => {}
        }
    }
    Err(KeyLifeError::Contended)
}

/// Returns all keys as they must be before this server may sign with them, and the keys among them
/// that changed. Tokens of this server may live longer than tokens of earlier servers.
fn prolonged(policy: &KeyPolicy<'_>, stored: &[KeyRow]) -> (Vec<KeyRow>, Vec<KeyRow>) {
    let (mut rows, mut changed) = (stored.to_vec(), Vec::new());
    for row in rows.iter_mut().filter(|row| row.state != KeyState::Retired) {
        if row.longest_life < policy.longest_life() {
            row.longest_life = policy.longest_life();
            changed.push(row.clone());
        }
    }
    (rows, changed)
}

fn missing(policy: &KeyPolicy<'_>, rows: &[KeyRow], now: Timestamp) -> Result<KeyChanges, KeyLifeError> {
    let mut changes = KeyChanges::default();
    for algorithm in SIGNING_ALGORITHMS {
        for state in [KeyState::Active, KeyState::Next] {
            if find(rows, algorithm, state).is_none() {
                changes.put.push(make(policy, algorithm, state, now)?);
            }
        }
    }
    Ok(changes)
}

/// Returns the rows of a rotation: next becomes active, active becomes retired, and a new next key
/// is made.
fn promote(
    policy: &KeyPolicy<'_>,
    rows: &[KeyRow],
    algorithm: Algorithm,
    rotation: Rotation,
    now: Timestamp,
) -> Result<Vec<KeyRow>, KeyLifeError> {
    let Some(next) = find(rows, algorithm, KeyState::Next) else { return Ok(Vec::new()) };
    let earliest = next.state_since.checked_add(publish_window(policy.max_ttl)).unwrap_or(Timestamp::MAX);
    if rotation == Rotation::WhenPublished && now < earliest {
        return Err(KeyLifeError::TooEarly { algorithm, published_at: next.state_since, earliest });
    }
    let mut changed = vec![
        KeyRow { state: KeyState::Active, state_since: now, ..next.clone() },
        make(policy, algorithm, KeyState::Next, now)?,
    ];
    if let Some(active) = find(rows, algorithm, KeyState::Active) {
        changed.push(KeyRow { state: KeyState::Retired, state_since: now, ..active.clone() });
    }
    Ok(changed)
}

/// Rejects changes that add keys beyond [`MAX_PUBLISHED_KEYS`].
fn check_published(rows: &[KeyRow], changes: &KeyChanges) -> Result<(), KeyLifeError> {
    let is_known = |kid: &str| rows.iter().any(|row| row.kid == kid);
    let added = changes.put.iter().filter(|row| !is_known(&row.kid)).count();
    let kept = rows.iter().filter(|row| !changes.delete.contains(&row.kid)).count();
    if added == 0 || kept + added <= MAX_PUBLISHED_KEYS {
        return Ok(());
    }
    let retired = rows.iter().filter(|row| row.state == KeyState::Retired);
    let until = retired.filter_map(|row| row.state_since.checked_add(row.longest_life + SKEW).ok()).min();
    Err(KeyLifeError::TooMany { until: until.unwrap_or(Timestamp::MAX) })
}

fn find(rows: &[KeyRow], algorithm: Algorithm, state: KeyState) -> Option<&KeyRow> {
    rows.iter().find(|row| row.state == state && row.algorithm == algorithm.as_str())
}

fn is_past(row: &KeyRow, span: SignedDuration, now: Timestamp) -> bool {
    row.state_since.checked_add(span).is_ok_and(|until| until <= now)
}

fn make(policy: &KeyPolicy<'_>, algorithm: Algorithm, state: KeyState, now: Timestamp) -> Result<KeyRow, KeyLifeError> {
    let key = SigningKey::generate(algorithm)?;
    let sealed = policy.master.seal(key.kid(), &key.to_pkcs8(), &**policy.entropy)?;
    Ok(KeyRow {
        kid: key.kid().to_owned(),
        algorithm: algorithm.to_string(),
        state,
        created_at: now,
        state_since: now,
        longest_life: policy.longest_life(),
        sealed,
    })
}
