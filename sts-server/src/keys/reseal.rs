//! The change of the master key: all sealed data is sealed again under the new key.
//!
//! The key of the audit chains is derived from the master key, so new chains start under a new
//! master key. The key of earlier chains is kept, sealed under the new master key, to verify them.

use aws_lc_rs::{constant_time, hmac};
use jiff::Timestamp;
use sts_jose::hex;

use super::lifecycle::ATTEMPTS;
use super::{KeyLifeError, KeyPolicy, MasterKey, SealError};
use crate::storage::{AuditKeyRow, AuditRow, Changed, KeyChanges, KeyRow};

/// Seals all signing keys under a new master key, in a single transaction. Returns the number of
/// keys. The configured master key must open all of them.
///
/// # Errors
/// [`KeyLifeError`], except `TooEarly` and `Unknown`. Nothing has changed after an error.
pub async fn reseal(policy: &KeyPolicy<'_>, new: &MasterKey, audit: &[AuditRow]) -> Result<usize, KeyLifeError> {
    let secrets = [policy.master.audit_secret(), new.audit_secret()];
    if constant_time::verify_slices_are_equal(secrets[0], secrets[1]).is_ok() {
        return Err(KeyLifeError::SameMasterKey);
    }
    for _ in 0..ATTEMPTS {
        // A change of signing keys or of audit keys raises the counter.
        let stored = policy.store.keys().await?;
        let version = stored.version;
        stored.rows.iter().try_for_each(|coded| policy.check(&coded.row))?;
        if !policy.store.inspect().await?.is_empty() {
            return Err(KeyLifeError::Altered);
        }
        let rows: Vec<KeyRow> = stored.vouched().collect();
        let former = policy.store.audit_keys().await?;
        let changes = KeyChanges {
            delete: Vec::new(),
            put: rows.iter().map(|row| resealed(policy, new, row)).collect::<Result<_, _>>()?,
            audit_keys: audit_keys_under(policy, new, &former)?,
        };
        match policy.store.reseal(version, &changes, &new.row_codes(policy.entropy), audit).await? {
            Changed::Applied(_) => return Ok(rows.len()),
            Changed::Conflict => {}
        }
    }
    Err(KeyLifeError::Contended)
}

/// Returns the keys that audit chains may be written under: the master key's own first, then its
/// predecessors'.
///
/// # Errors
/// [`SealError::Open`] if the database is sealed under another master key.
pub fn audit_keys(master: &MasterKey, former: &[AuditKeyRow]) -> Result<Vec<hmac::Key>, SealError> {
    let mut keys = vec![master.audit().clone()];
    for row in former {
        keys.push(hmac::Key::new(hmac::HMAC_SHA256, &master.open(&owner(&row.name), &row.sealed)?));
    }
    Ok(keys)
}

fn resealed(policy: &KeyPolicy<'_>, new: &MasterKey, row: &KeyRow) -> Result<KeyRow, KeyLifeError> {
    let plain = policy.open(row)?;
    Ok(KeyRow { sealed: new.seal(&row.kid, &plain, &**policy.entropy)?, ..row.clone() })
}

fn audit_keys_under(
    policy: &KeyPolicy<'_>,
    new: &MasterKey,
    former: &[AuditKeyRow],
) -> Result<Vec<AuditKeyRow>, SealError> {
    let seal = |name: String, secret: &[u8], retired_at: Timestamp| {
        let sealed = new.seal(&owner(&name), secret, &**policy.entropy)?;
        Ok(AuditKeyRow { name, retired_at, sealed })
    };
    let mut rows = vec![seal(name(policy.master), policy.master.audit_secret(), policy.clock.now())?];
    for row in former {
        let secret = policy.master.open(&owner(&row.name), &row.sealed)?;
        rows.push(seal(row.name.clone(), &secret, row.retired_at)?);
    }
    Ok(rows)
}

/// Returns a name for the audit key of a master key. The name reveals nothing about the key.
fn name(master: &MasterKey) -> String {
    let tag = hmac::sign(master.audit(), b"agent-sts name of an audit key");
    hex(tag.as_ref().get(..16).unwrap_or_default())
}

/// Returns the owner that an audit key is sealed for. It contains a space, so it never equals the
/// name of a signing key.
fn owner(name: &str) -> String {
    format!("audit key {name}")
}
