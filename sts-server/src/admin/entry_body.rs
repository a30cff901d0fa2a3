//! The body of an entry: as stored, as shown, and as received.

use serde_json::{Map, Value};

use super::Denied;
use crate::document::FieldFault;
use crate::fault::Fault;
use crate::registry::{Delegation, FILE_KEYS, JsonEntry, differing_keys as differing};
use crate::storage::{EntryKind, EntryRow};

/// The key that disables an entry of any kind.
pub(super) const DISABLED: &str = "disabled";
/// The placeholder for the hash of a secret. A PUT of the placeholder keeps the stored hash.
pub const WITHHELD: &str = "withheld";
/// The key of an agent that contains the hashes of secrets.
const AUTH: &str = "auth";
const SECRETS: [&str; 2] = ["client_secret_hash", "client_secret_sha256"];

/// Returns the stored entry, without the disablement by an administrator. Empty if the row cannot
/// be parsed.
pub(super) fn stored(row: &EntryRow) -> Map<String, Value> {
    serde_json::from_str(&row.body).unwrap_or_default()
}

/// Returns the entry as operators see it.
pub(super) fn shown(row: &EntryRow) -> Map<String, Value> {
    let mut entry = stored(row);
    if row.disabled_by_admin {
        entry.insert(DISABLED.to_owned(), Value::Bool(true));
    }
    if let Some(Value::Object(auth)) = entry.get_mut(AUTH) {
        for secret in SECRETS {
            if let Some(hash) = auth.get_mut(secret) {
                *hash = WITHHELD.into();
            }
        }
    }
    entry
}

/// Returns the body with the stored hashes in place of the placeholders.
pub(super) fn with_withheld(
    body: &Map<String, Value>,
    stored: Option<&Map<String, Value>>,
) -> Result<Map<String, Value>, FieldFault> {
    let mut body = body.clone();
    let Some(Value::Object(auth)) = body.get_mut(AUTH) else { return Ok(body) };
    for secret in SECRETS {
        let Some(hash) = auth.get_mut(secret).filter(|hash| **hash == WITHHELD) else { continue };
        let known = stored.and_then(|stored| stored.get(AUTH)?.get(secret));
        let fault = || FieldFault::at(format!("/{AUTH}/{secret}"), "there is no stored hash to keep");
        *hash = known.cloned().ok_or_else(fault)?;
    }
    Ok(body)
}

/// Returns the entry to be stored. Refuses a body with faults, or with an id that differs from the
/// path.
pub(super) fn written(kind: EntryKind, id: &str, read: &JsonEntry) -> Result<Map<String, Value>, Vec<FieldFault>> {
    let faults = read.faults();
    if !faults.is_empty() {
        return Err(faults);
    }
    let entries = read.entries();
    let (written, faults) = match kind {
        EntryKind::Issuer => entries.issuers.first().map(|issuer| {
            let issuer = &issuer.entry;
            (serde_json::to_value(issuer), other_name("/issuer", id, &issuer.issuer).into_iter().collect::<Vec<_>>())
        }),
        EntryKind::Agent => entries.agents.first().map(|agent| {
            let agent = &agent.entry;
            (serde_json::to_value(agent), other_name("/id", id, &agent.id).into_iter().collect())
        }),
        EntryKind::Delegation => entries.delegations.first().map(|delegation| {
            let delegation = &delegation.entry;
            (serde_json::to_value(delegation), other_pair(id, delegation).into_iter().collect())
        }),
    }
    .ok_or_else(|| vec![FieldFault::at("", "no entry")])?;
    match written {
        Ok(Value::Object(written)) if faults.is_empty() => Ok(written),
        Ok(_) => Err(faults),
        Err(error) => Err(vec![FieldFault::at("", format!("it cannot be stored: {error}"))]),
    }
}

fn other_name(pointer: &str, id: &str, name: &str) -> Option<FieldFault> {
    (id != name).then(|| FieldFault::at(pointer, format!("the path names {id:?}, and the body {name:?}")))
}

/// Checks the id of a delegation: `actor->target`, with `#2` and so on for further ones of the
/// pair.
fn other_pair(id: &str, delegation: &Delegation) -> Option<FieldFault> {
    let pair = format!("{}->{}", delegation.actor, delegation.target);
    let rest = id.strip_prefix(&pair);
    let is_ordinal =
        |digits: &str| digits.parse::<u32>().is_ok_and(|ordinal| ordinal > 1 && ordinal.to_string() == digits);
    if rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('#').is_some_and(is_ordinal)) {
        return None;
    }
    let message =
        format!("the path names {id:?}, and this delegation is {pair:?}, or {pair:?} with #2 and so on behind");
    Some(FieldFault::at("/actor", message))
}

/// Refuses the files that an entry of the API names, unless the stored entry names them already.
///
/// The server reads files with its own rights and sends the content of some of them out. A file
/// that cannot be read would stop the tokens of its issuer on every server.
pub(super) fn named_files(body: &Map<String, Value>, stored: Option<&Map<String, Value>>) -> Vec<FieldFault> {
    let of_auth = |entry: &Map<String, Value>| entry.get("auth").and_then(|auth| auth.get("ca_file")).cloned();
    let is_new =
        |key: &&str| body.get(*key).is_some_and(|file| stored.and_then(|stored| stored.get(*key)) != Some(file));
    let auth_file = of_auth(body).filter(|file| stored.and_then(of_auth).as_ref() != Some(file));
    let fault = |path: String| FieldFault::at(path, "names a file of the server, which only the registry file may do");
    let keys = FILE_KEYS.into_iter().filter(is_new).map(|key| format!("/{key}"));
    keys.chain(auth_file.map(|_| "/auth/ca_file".to_owned())).map(fault).collect()
}

/// Returns the keys that differ between an entry and the stored entry.
pub(super) fn differing_keys(stored: Option<&Map<String, Value>>, wanted: &Map<String, Value>) -> Vec<String> {
    differing(stored.unwrap_or(&Map::new()), wanted)
}

/// Returns the row of an entry from a file, with the requested disablement. Refuses any other
/// change.
pub(super) fn disabled(
    row: &EntryRow,
    stored: &Map<String, Value>,
    wanted: &Map<String, Value>,
) -> Result<EntryRow, Denied> {
    let others: Vec<String> = differing(stored, wanted).into_iter().filter(|key| key != DISABLED).collect();
    if !others.is_empty() {
        return Err(made_by_file(format!("this differs: {}", others.join(", "))));
    }
    let by_file = stored.get(DISABLED) == Some(&Value::Bool(true));
    let wanted = wanted.get(DISABLED) == Some(&Value::Bool(true));
    match (wanted, row.disabled_by_admin, by_file) {
        (true, _, false) => Ok(EntryRow { disabled_by_admin: true, ..row.clone() }),
        (false, true, _) => Ok(EntryRow { disabled_by_admin: false, ..row.clone() }),
        (false, false, true) => Err(made_by_file("the file disables it")),
        (true, _, true) | (false, false, false) => Ok(row.clone()),
    }
}

/// Returns a fault that concerns a stored entry, so it points at no place in the body.
pub(super) fn unplaced(fault: Fault) -> FieldFault {
    FieldFault { pointer: None, parameter: None, message: fault.message, help: fault.help }
}

/// Returns the refusal to change an entry that was written outside the server.
pub(super) fn altered() -> Denied {
    let message =
        "the entry was changed outside the servers: review it, then accept it with `sts-server registry accept`";
    Denied::Conflict(vec![FieldFault { pointer: None, parameter: None, message: message.to_owned(), help: None }])
}

pub(super) fn made_by_file(message: impl Into<String>) -> Denied {
    Denied::FileMade(FieldFault { pointer: None, parameter: None, message: message.into(), help: None })
}
