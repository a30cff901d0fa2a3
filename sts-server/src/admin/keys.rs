//! The signing keys: listed, made, rotated, revoked, sealed anew.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_jose::Algorithm;
use utoipa::ToSchema;

use super::{Administration, By};
use crate::keys::{self, KeyLifeError, KeyPolicy, MasterKey, Rotation};
use crate::record::EventKind;
use crate::storage::{AuditRow, KeyChanges, KeyState, StorageError};

/// A signing key, as an operator sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ListedKey {
    /// The key's identifier.
    pub kid: String,
    /// The JOSE name of its algorithm.
    pub algorithm: String,
    /// Where it is in its life: `next`, `active` or `retired`.
    pub state: &'static str,
    /// When it entered that state.
    #[schema(value_type = String, format = DateTime)]
    pub state_since: Timestamp,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Which keys are to rotate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RotateRequest {
    /// Only keys of this algorithm: ES256, `EdDSA` or RS256.
    #[schema(value_type = Option<String>)]
    pub algorithm: Option<Algorithm>,
    /// Even if the next key was published too short a time ago for every verifier to know it.
    pub now: bool,
}

impl RotateRequest {
    /// How a next key is treated that verifiers may not know yet.
    #[must_use]
    pub fn rotation(self) -> Rotation {
        if self.now { Rotation::Now } else { Rotation::WhenPublished }
    }
}

impl Administration {
    /// All signing keys, by algorithm and state.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn keys(&self) -> Result<Vec<ListedKey>, StorageError> {
        let mut rows = self.store.keys().await?.all();
        rows.sort_by(|left, right| (&left.algorithm, left.state).cmp(&(&right.algorithm, right.state)));
        let listed = rows.into_iter().map(|row| ListedKey {
            kid: row.kid,
            algorithm: row.algorithm,
            state: match row.state {
                KeyState::Next => "next",
                KeyState::Active => "active",
                KeyState::Retired => "retired",
            },
            state_since: row.state_since,
            created_at: row.created_at,
        });
        Ok(listed.collect())
    }

    /// Makes the keys that are missing.
    ///
    /// # Errors
    /// [`KeyLifeError`].
    pub async fn ensure_keys(&self) -> Result<(), KeyLifeError> {
        keys::ensure(&self.key_policy(), &mut |changes| self.audit_keys(changes, &By::default())).await
    }

    /// Rotates the keys whose time has come, and deletes those of which nothing is alive.
    ///
    /// # Errors
    /// [`KeyLifeError`].
    pub async fn maintain_keys(&self) -> Result<(), KeyLifeError> {
        let audit = &mut |changes: &KeyChanges| self.audit_keys(changes, &By::default());
        keys::maintain(&self.key_policy(), self.config.keys.rotate_every, audit).await
    }

    /// Lets the next key of the algorithm, or of every one, sign.
    ///
    /// # Errors
    /// [`KeyLifeError`]; see [`keys::rotate`].
    pub async fn rotate_keys(&self, request: RotateRequest, by: &By) -> Result<(), KeyLifeError> {
        let audit = &mut |changes: &KeyChanges| self.audit_keys(changes, by);
        keys::rotate(&self.key_policy(), request.algorithm, request.rotation(), audit).await
    }

    /// Removes a key at once.
    ///
    /// # Errors
    /// [`KeyLifeError`]; see [`keys::revoke`].
    pub async fn revoke_key(&self, kid: &str, by: &By) -> Result<(), KeyLifeError> {
        keys::revoke(&self.key_policy(), kid, &mut |changes| self.audit_keys(changes, by)).await
    }

    /// Seals all keys under another master key; how many there are.
    ///
    /// # Errors
    /// [`KeyLifeError`]; see [`keys::reseal`].
    pub async fn reseal_keys(&self, new: &MasterKey, by: &By) -> Result<usize, KeyLifeError> {
        let event = self.audit_row(EventKind::KeysChanged, by, |event| {
            event.detail = Some("all signing keys are sealed under another master key".to_owned());
        });
        keys::reseal(&self.key_policy(), new, &[event]).await
    }

    /// True if the configured master key opens every stored key.
    ///
    /// # Errors
    /// [`KeyLifeError::Foreign`].
    pub(super) async fn check_keys_open(&self) -> Result<(), KeyLifeError> {
        let rows = self.store.keys().await?.all();
        rows.iter().try_for_each(|row| self.key_policy().check(row))
    }

    /// What changing keys takes.
    fn key_policy(&self) -> KeyPolicy<'_> {
        KeyPolicy {
            store: &*self.store,
            master: &self.master,
            clock: &*self.clock,
            entropy: &self.entropy,
            max_ttl: self.config.limits.max_ttl,
        }
    }

    fn audit_keys(&self, changes: &KeyChanges, by: &By) -> Vec<AuditRow> {
        let put = changes.put.iter().map(|row| format!("{} {} is {:?}", row.algorithm, row.kid, row.state));
        let deleted = changes.delete.iter().map(|kid| format!("{kid} is gone"));
        self.audit_lines(EventKind::KeysChanged, by, put.chain(deleted))
    }
}
