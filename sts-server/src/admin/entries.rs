//! The registry's entries, one by one: read, put, deleted.
//!
//! The API changes what the API made. Of what a file made it only sets and lifts the disablement by an administrator.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::entry_body::{self, DISABLED};
use super::{Administration, By, Denied};
use crate::config::Role;
use crate::fault::Fault;
use crate::record::EventKind;
use crate::registry::{Entries, JsonEntry, rules};
use crate::storage::{Changed, EntryChange, EntryKind, EntryRow, Origin, Version};

/// How often a change is tried again when others change other entries meanwhile.
const MAX_ATTEMPTS: usize = 8;

/// An entry, as an operator sees it: without the hashes of secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenEntry {
    /// Its name among its kind.
    pub id: String,
    /// Who made it.
    pub origin: Origin,
    /// Whether an administrator has disabled it, which no registry file lifts.
    pub disabled_by_admin: bool,
    /// Changes whenever the entry does.
    pub etag: String,
    /// The entry as the registry file would say it, `disabled` also where an administrator has done it.
    pub entry: Map<String, Value>,
}

/// What a request takes the entry for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// It does not say.
    None,
    /// It does not exist (`If-None-Match: *`).
    Absent,
    /// It exists (`If-Match: *`).
    Present,
    /// It is one of these (`If-Match`).
    Is(Vec<String>),
}

/// What became of a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The entry is new.
    Created,
    /// It has changed, or was so already.
    Changed,
}

/// What is to be put, and by whom.
#[derive(Debug)]
pub struct PutEntry<'a> {
    /// The kind of the entry.
    pub kind: EntryKind,
    /// Its name.
    pub id: &'a str,
    /// What it shall say.
    pub body: &'a Map<String, Value>,
    /// What it is taken for.
    pub precondition: &'a Precondition,
    /// What its author may do.
    pub role: Role,
}

impl Administration {
    /// All entries of a kind, by their names.
    ///
    /// # Errors
    /// [`Denied`]: the database.
    pub async fn entries(&self, kind: EntryKind) -> Result<Vec<SeenEntry>, Denied> {
        let rows = self.store.entries().await?.entries();
        Ok(rows.iter().filter(|row| row.kind == kind).map(seen).collect())
    }

    /// One entry.
    ///
    /// # Errors
    /// [`Denied::NotFound`], or the database.
    pub async fn entry(&self, kind: EntryKind, id: &str) -> Result<SeenEntry, Denied> {
        let rows = self.store.entries().await?.entries();
        Ok(seen(find(&rows, kind, id).ok_or(Denied::NotFound)?))
    }

    /// Makes an entry say what it shall say.
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

    /// All entries, and their version. One that was written past the servers may not be changed: what is left of it would be sealed.
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

    /// The row as it would be, and the keys that differ, for audit.
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

    /// Refuses an entry that breaks a rule, alone or with the others, or makes one of the others break one.
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

    /// The errors that there were not before: what is wrong already does not stand in anybody's way.
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

/// A name of the row's content: of what is shown and of what is withheld.
fn etag(row: &EntryRow) -> String {
    let content = format!("{} {} {}", row.origin.as_str(), row.disabled_by_admin, row.body);
    let digest = digest(&SHA256, content.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..16).unwrap_or_default())
}
