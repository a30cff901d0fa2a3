//! The signing keys: list, create, rotate, revoke, reseal.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_jose::Algorithm;
use utoipa::ToSchema;

use super::{Administration, By, Records};
use crate::keys::{self, KeyLifeError, KeyPolicy, MasterKey, Rotation};
use crate::record::EventKind;
use crate::storage::{AuditRow, KeyChanges, KeyState, StorageError};

/// A signing key as operators see it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ListedKey {
    /// The key's identifier.
    pub kid: String,
    /// The JOSE name of the algorithm.
    pub algorithm: String,
    /// The state of the key: `next`, `active` or `retired`.
    pub state: Cow<'static, str>,
    /// The time at which the key entered its state.
    #[schema(value_type = String, format = DateTime)]
    pub state_since: Timestamp,
    /// The time at which the key was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// The selection of keys to rotate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RotateRequest {
    /// The algorithm of the keys to rotate: ES256, `EdDSA` or RS256. All algorithms if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub algorithm: Option<Algorithm>,
    /// Rotates even if the next key was published too recently for every verifier to know it.
    pub now: bool,
}

impl RotateRequest {
    /// Returns the treatment of a next key that verifiers may not know yet.
    #[must_use]
    pub fn rotation(self) -> Rotation {
        if self.now { Rotation::Now } else { Rotation::WhenPublished }
    }
}

impl Records {
    /// Returns all signing keys, by algorithm and state.
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
                KeyState::Next => "next".into(),
                KeyState::Active => "active".into(),
                KeyState::Retired => "retired".into(),
            },
            state_since: row.state_since,
            created_at: row.created_at,
        });
        Ok(listed.collect())
    }
}

impl Administration {
    /// Creates the keys that are missing.
    ///
    /// # Errors
    /// [`KeyLifeError`].
    pub async fn ensure_keys(&self) -> Result<(), KeyLifeError> {
        keys::ensure(&self.key_policy(), &mut |changes| self.audit_keys(changes, &By::default())).await
    }

    /// Rotates the keys that are due, and deletes those without a living token.
    ///
    /// # Errors
    /// [`KeyLifeError`].
    pub async fn maintain_keys(&self) -> Result<(), KeyLifeError> {
        let audit = &mut |changes: &KeyChanges| self.audit_keys(changes, &By::default());
        keys::maintain(&self.key_policy(), self.config.keys.rotate_every, audit).await
    }

    /// Activates the next key of the algorithm, or of every algorithm.
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

    /// Seals all keys under another master key, and returns their number.
    ///
    /// # Errors
    /// [`KeyLifeError`]; see [`keys::reseal`].
    pub async fn reseal_keys(&self, new: &MasterKey, by: &By) -> Result<usize, KeyLifeError> {
        let event = self.audit_row(EventKind::KeysChanged, by, |event| {
            event.detail = Some("all signing keys are sealed under another master key".to_owned());
        });
        keys::reseal(&self.key_policy(), new, &[event]).await
    }

    /// Checks that the configured master key opens every stored key.
    ///
    /// # Errors
    /// [`KeyLifeError::Foreign`].
    pub(super) async fn check_keys_open(&self) -> Result<(), KeyLifeError> {
        let rows = self.store.keys().await?.all();
        rows.iter().try_for_each(|row| self.key_policy().check(row))
    }

    /// Returns the inputs of a key change.
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
        let put = changes.put.iter().map(|row| format!("{} {} is {}", row.algorithm, row.kid, row.state.as_str()));
        let deleted = changes.delete.iter().map(|kid| format!("{kid} is deleted"));
        self.audit_lines(EventKind::KeysChanged, by, put.chain(deleted))
    }
}
