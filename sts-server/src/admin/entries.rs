//! Single entries of the registry: read, put, delete.
//!
//! The API changes entries that the API made. For an entry from a registry file, it can only set
//! and clear the disablement by an administrator.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::entry_body::{self, DISABLED};
use super::{Administration, By, Denied, Records};
use crate::config::Role;
use crate::fault::Fault;
use crate::record::EventKind;
use crate::registry::{Entries, JsonEntry, rules};
use crate::storage::{Changed, EntryChange, EntryKind, EntryRow, Origin, Version};

/// The number of attempts of a change while concurrent changes interfere.
const MAX_ATTEMPTS: usize = 8;

/// An entry as operators see it, without the hashes of secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenEntry {
    /// The id of the entry within its kind.
    pub id: String,
    /// The origin of the entry: the API or a registry file.
    pub origin: Origin,
    /// True if an administrator has disabled the entry. No registry file can enable it again.
    pub disabled_by_admin: bool,
    /// The entity tag, which changes with every change of the entry.
    pub etag: String,
    /// The entry in the form of the registry file. `disabled` is also true if an administrator has
    /// disabled the entry.
    pub entry: Map<String, Value>,
}

/// The state that a request expects of the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The request names no state.
    None,
    /// The entry does not exist (`If-None-Match: *`).
    Absent,
    /// The entry exists (`If-Match: *`).
    Present,
    /// The entry has one of these entity tags (`If-Match`).
    Is(Vec<String>),
}

/// The outcome of a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The entry is new.
    Created,
    /// The entry existed, and now has the requested content.
    Changed,
}

/// An entry to store, with its precondition and the role of the operator.
#[derive(Debug)]
pub struct PutEntry<'a> {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// The id of the entry, from the path.
    pub id: &'a str,
    /// The requested content of the entry.
    pub body: &'a Map<String, Value>,
    /// The expected state of the stored entry.
    pub precondition: &'a Precondition,
    /// The role of the operator, which limits the permitted changes.
    pub role: Role,
}

impl Records {
    /// Returns all entries of a kind, ordered by id.
    ///
    /// # Errors
    /// [`Denied`] if the database cannot be read.
    pub async fn entries(&self, kind: EntryKind) -> Result<Vec<SeenEntry>, Denied> {
        let rows = self.store.entries().await?.entries();
        Ok(rows.iter().filter(|row| row.kind == kind).map(seen).collect())
    }

    /// Returns one entry.
    ///
    /// # Errors
    /// [`Denied::NotFound`], or an error of the database.
    pub async fn entry(&self, kind: EntryKind, id: &str) -> Result<SeenEntry, Denied> {
        let rows = self.store.entries().await?.entries();
        Ok(seen(find(&rows, kind, id).ok_or(Denied::NotFound)?))
    }
}

impl Administration {
    /// Stores an entry with the requested content.
    ///
    /// # Errors
    /// [`Denied`]; nothing is stored then.
    pub async fn put_entry(&self, put: &PutEntry<'_>, by: &By) -> Result<(Put, SeenEntry), Denied> {
        for _ in 0..MAX_ATTEMPTS {
            let (version, rows) = self.unaltered(put.kind, put.id).await?;
            let stored = find(&rows, put.kind, put.id);
            put.precondition.check(stored)?;
            let (row, keys) = self.changed_row(put, stored, &rows)?;
            let outcome = if stored.is_some() { Put::Changed } else { Put::Created };
            if stored == Some(&row) {
                return Ok((outcome, seen(&row)));
            }
            let word = if stored.is_some() { "change" } else { "add" };
            let detail = format!("{word} {} {}{keys}", put.kind.as_str(), put.id);
            let change = EntryChange::Put(row.clone());
            if self.change_entry(version, change, by, detail).await? == Changed::Conflict {
                continue;
            }
            return Ok((outcome, seen(&row)));
        }
        Err(Denied::Contended)
    }

    /// Deletes an entry that the API made.
    ///
    /// # Errors
    /// [`Denied`]; nothing is deleted then.
    pub async fn delete_entry(
        &self,
        kind: EntryKind,
        id: &str,
        precondition: &Precondition,
        by: &By,
    ) -> Result<(), Denied> {
        for _ in 0..MAX_ATTEMPTS {
            let (version, rows) = self.unaltered(kind, id).await?;
            let stored = find(&rows, kind, id).ok_or(Denied::NotFound)?;
            precondition.check(Some(stored))?;
            if stored.origin == Origin::File {
                return Err(entry_body::made_by_file("leave it out of the file to delete it"));
            }
            let before = Entries::from_rows(&rows);
            let after = Entries::from_rows(rows.iter().filter(|row| *row != stored));
            let faults = self.new_faults(&before, &after);
            if !faults.is_empty() {
                let faults = faults.into_iter().map(entry_body::unplaced).collect();
                return Err(Denied::Conflict(faults));
            }
            let detail = format!("remove {} {id}", kind.as_str());
            let change = EntryChange::Delete(kind, id.to_owned());
            if self.change_entry(version, change, by, detail).await? == Changed::Conflict {
                continue;
            }
            return Ok(());
        }
        Err(Denied::Contended)
    }

    /// Returns all entries and their version. Refuses to change an entry that was written outside
    /// the server, because the change would seal its unreviewed parts.
    async fn unaltered(&self, kind: EntryKind, id: &str) -> Result<(Version, Vec<EntryRow>), Denied> {
        let stored = self.store.entries().await?;
        if stored.is_altered(kind, id) {
            return Err(entry_body::altered());
        }
        Ok((stored.version, stored.entries()))
    }

    async fn change_entry(
        &self,
        version: Version,
        change: EntryChange,
        by: &By,
        detail: String,
    ) -> Result<Changed, Denied> {
        let audit = [self.audit_row(EventKind::RegistryChanged, by, |event| event.detail = Some(detail))];
        Ok(self.store.change_entries(version, &[change], &audit).await?)
    }

    /// Returns the changed row, and the keys that differ, for audit.
    fn changed_row(
        &self,
        put: &PutEntry<'_>,
        stored: Option<&EntryRow>,
        rows: &[EntryRow],
    ) -> Result<(EntryRow, String), Denied> {
        let stored_body = stored.map(entry_body::stored);
        let body =
            entry_body::with_withheld(put.body, stored_body.as_ref()).map_err(|fault| Denied::Faults(vec![fault]))?;
        let read = JsonEntry::read(put.kind, &body);
        let body = entry_body::written(put.kind, put.id, &read).map_err(Denied::Faults)?;
        let mut keys = entry_body::differing_keys(stored_body.as_ref(), &body);
        if put.role < Role::Admin && keys != [DISABLED] && !(keys.is_empty() && stored.is_some()) {
            return Err(Denied::Role { needs: Role::Admin });
        }
        if let (Some(stored), Some(stored_body)) = (stored, &stored_body)
            && (stored.origin == Origin::File)
        {
            let row = entry_body::disabled(stored, stored_body, &body)?;
            let word = if row.disabled_by_admin {
                "disabled by an administrator"
            } else {
                "no longer disabled by an administrator"
            };
            return Ok((row, format!(" ({word})")));
        }
        let files = entry_body::named_files(&body, stored_body.as_ref());
        if !files.is_empty() {
            return Err(Denied::Faults(files));
        }
        self.check_together(put, &read, rows)?;
        let text = Value::Object(body).to_string();
        let row = EntryRow {
            kind: put.kind,
            id: put.id.to_owned(),
            origin: Origin::Api,
            disabled_by_admin: false,
            body: text,
        };
        if stored.is_none() {
            keys.clear();
        }
        let keys = if keys.is_empty() { String::new() } else { format!(": {}", keys.join(", ")) };
        Ok((row, keys))
    }

    /// Refuses an entry that breaks a rule, alone or together with the others.
    fn check_together(&self, put: &PutEntry<'_>, read: &JsonEntry, rows: &[EntryRow]) -> Result<(), Denied> {
        let before = Entries::from_rows(rows);
        let others = rows.iter().filter(|row| (row.kind, row.id.as_str()) != (put.kind, put.id));
        let after = Entries::from_rows(others).and(read.entries());
        let faults = self.new_faults(&before, &after);
        if faults.is_empty() {
            return Ok(());
        }
        let placed =
            |fault: &Fault| if read.concerns(fault) { read.placed(fault) } else { entry_body::unplaced(fault.clone()) };
        Err(Denied::Faults(faults.iter().map(placed).collect()))
    }

    /// Returns the errors that the change would add. Existing errors do not block a change.
    fn new_faults(&self, before: &Entries, after: &Entries) -> Vec<Fault> {
        let known = rules(before, Some(&*self.config));
        let faults = rules(after, Some(&*self.config)).into_iter();
        faults.filter(|fault| fault.is_error() && !known.contains(fault)).collect()
    }
}

impl Precondition {
    fn check(&self, stored: Option<&EntryRow>) -> Result<(), Denied> {
        match (self, stored) {
            (Self::None, _) => Err(Denied::PreconditionRequired),
            (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::Is(etags), Some(stored)) if etags.contains(&etag(stored)) => Ok(()),
            (Self::Absent, Some(_)) | (Self::Present | Self::Is(_), None) | (Self::Is(_), Some(_)) => {
                Err(Denied::PreconditionFailed)
            }
        }
    }
}

fn find<'a>(rows: &'a [EntryRow], kind: EntryKind, id: &str) -> Option<&'a EntryRow> {
    rows.iter().find(|row| row.kind == kind && row.id == id)
}

fn seen(row: &EntryRow) -> SeenEntry {
    SeenEntry {
        id: row.id.clone(),
        origin: row.origin,
        disabled_by_admin: row.disabled_by_admin,
        etag: etag(row),
        entry: entry_body::shown(row),
    }
}

/// Returns a hash of the row's full content, including the withheld parts.
fn etag(row: &EntryRow) -> String {
    let content = format!("{} {} {}", row.origin.as_str(), row.disabled_by_admin, row.body);
    let digest = digest(&SHA256, content.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..16).unwrap_or_default())
}
