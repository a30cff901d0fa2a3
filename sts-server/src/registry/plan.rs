//! The changes that applying a registry file makes: a pure comparison of stored rows and a file.
//!
//! The plan touches only rows that a file made. A row that an administrator has disabled stays
//! disabled, regardless of the file. If the file no longer names such a row, the row stays, and its
//! body is disabled too. Otherwise a later file or a lifted disablement could enable it again
//! unnoticed.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::RegistryFile;
use super::check::rules;
use super::delegation_ids::{self, NamedDelegation};
use super::located::{Entries, Place};
use crate::config::Config;
use crate::fault::{Fault, Severity};
use crate::storage::{EntryChange, EntryKind, EntryRow, Origin};

/// The changes that applying a file makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes for [`Store::change_entries`](crate::storage::Store::change_entries). Empty when
    /// the database matches the file.
    pub changes: Vec<EntryChange>,
    /// The same changes as readable text, one line each.
    pub lines: Vec<PlanLine>,
    /// The faults that do not prevent applying, including warnings about the file itself.
    pub warnings: Vec<Fault>,
}

/// One change of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanLine {
    /// The kind of change.
    pub action: PlanAction,
    /// The kind of the entry: `issuer`, `agent` or `delegation`; or `generation`.
    pub kind: &'static str,
    /// The name of the entry, unique within its kind.
    pub id: String,
    /// The keys that differ, if the entry changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// True if an administrator has disabled the entry. The change does not lift this.
    pub disabled_by_admin: bool,
}

/// The effect of a plan on an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanAction {
    /// The entry is new.
    Add,
    /// The entry differs from the file.
    Change,
    /// The file has the entry as the admin API made it, and owns it from now on.
    Adopt,
    /// The file no longer names the entry.
    Remove,
    /// The file no longer names the entry, but an administrator had disabled it. It stays,
    /// disabled.
    Keep,
}

/// The reason there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file is invalid, alone or together with entries made through the API.
    #[error("the registry file has faults")]
    Faults(Vec<Fault>),
}

/// Compares the stored rows with a file. A configuration adds further rules; see
/// [`check()`](super::check()).
///
/// # Errors
/// [`PlanError::Faults`] with all errors. They may be in the file, in the rules between its entries
/// and the remaining rows, or in names that the API already uses.
pub fn plan(rows: &[EntryRow], file: &RegistryFile, config: Option<&Config>) -> Result<Plan, PlanError> {
    let delegations = delegation_ids::assign(rows, &file.entries().delegations);
    let (wanted, mut faults) = wanted(file.entries(), &delegations);
    let names: HashSet<(EntryKind, &str)> = wanted.iter().map(|wanted| (wanted.kind, wanted.id)).collect();

    faults.extend(file.faults().iter().cloned());
    faults.extend(conflicts(rows, &wanted));
    let staying = rows.iter().filter(|row| {
        let made_elsewhere = row.origin == Origin::Api || row.disabled_by_admin;
        made_elsewhere && !names.contains(&(row.kind, row.id.as_str()))
    });
    let together = Entries::from_rows(staying).and(file.entries());
    faults.extend(rules(&together, config).into_iter().map(|fault| lenient_about_the_database(fault, file)));
    faults.sort();
    if faults.iter().any(Fault::is_error) {
        return Err(PlanError::Faults(faults.into_iter().filter(Fault::is_error).collect()));
    }

    let mut plan = Plan { warnings: faults, ..Plan::default() };
    for row in rows.iter().filter(|row| row.origin == Origin::File && !names.contains(&(row.kind, row.id.as_str()))) {
        plan.drop_row(row);
    }
    let stored: HashMap<(EntryKind, &str), &EntryRow> =
        rows.iter().map(|row| ((row.kind, row.id.as_str()), row)).collect();
    for wanted in &wanted {
        plan.put(stored.get(&(wanted.kind, wanted.id)).copied(), wanted);
    }
    Ok(plan)
}

impl Plan {
    /// Returns true if the database already matches the file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds the change of the generation, for a file that is newer than the last applied one.
    pub(super) fn raise_generation(&mut self, generation: i64) {
        self.changes.push(EntryChange::Generation(generation));
        self.lines.push(PlanLine {
            action: PlanAction::Change,
            kind: "generation",
            id: generation.to_string(),
            keys: Vec::new(),
            disabled_by_admin: false,
        });
    }

    fn drop_row(&mut self, row: &EntryRow) {
        if !row.disabled_by_admin {
            self.changes.push(EntryChange::Delete(row.kind, row.id.clone()));
            self.lines.push(PlanLine::new(PlanAction::Remove, row.kind, &row.id));
            return;
        }
        let mut body = body_of(row);
        if body.insert(DISABLED.to_owned(), Value::Bool(true)) != Some(Value::Bool(true)) {
            self.changes.push(EntryChange::Put(EntryRow { body: Value::Object(body).to_string(), ..row.clone() }));
            self.lines.push(PlanLine { disabled_by_admin: true, ..PlanLine::new(PlanAction::Keep, row.kind, &row.id) });
        }
    }

    fn put(&mut self, row: Option<&EntryRow>, wanted: &Wanted<'_>) {
        let disabled_by_admin = wanted.disabled_by_admin || row.is_some_and(|row| row.disabled_by_admin);
        let new_row = EntryRow {
            kind: wanted.kind,
            id: wanted.id.to_owned(),
            origin: Origin::File,
            disabled_by_admin,
            body: wanted.body.clone(),
        };
        let line = match row {
            None => PlanLine::new(PlanAction::Add, wanted.kind, wanted.id),
            Some(row) => {
                let keys = differing_keys(&body_of(row), &body_of(&new_row));
                let differs = !keys.is_empty() || row.disabled_by_admin != disabled_by_admin;
                let action = match (differs, row.origin) {
                    (false, Origin::File) => return,
                    (false, Origin::Api) => PlanAction::Adopt,
                    (true, Origin::File | Origin::Api) => PlanAction::Change,
                };
                PlanLine { keys, ..PlanLine::new(action, wanted.kind, wanted.id) }
            }
        };
        self.lines.push(PlanLine { disabled_by_admin, ..line });
        self.changes.push(EntryChange::Put(new_row));
    }
}

impl PlanLine {
    fn new(action: PlanAction, kind: EntryKind, id: &str) -> Self {
        Self { action, kind: kind.as_str(), id: id.to_owned(), keys: Vec::new(), disabled_by_admin: false }
    }
}

impl fmt::Display for PlanLine {
    /// `change agent coordinator: tenants, token_ttl`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            PlanAction::Add => "add",
            PlanAction::Change => "change",
            PlanAction::Adopt => "adopt",
            PlanAction::Remove => "remove",
            PlanAction::Keep => "keep",
        };
        write!(f, "{action} {} {}", self.kind, self.id)?;
        if !self.keys.is_empty() {
            write!(f, ": {}", self.keys.join(", "))?;
        }
        if self.disabled_by_admin {
            f.write_str(" (disabled by an administrator)")?;
        }
        Ok(())
    }
}

/// The key of every kind of entry that records an administrator's disablement.
const DISABLED: &str = "disabled";

/// An entry of the file in the form of a row.
struct Wanted<'a> {
    kind: EntryKind,
    id: &'a str,
    body: String,
    place: &'a Place,
    disabled_by_admin: bool,
}

/// Returns the rows that a file asks for, and a fault for each entry that cannot be stored.
fn wanted<'a>(entries: &'a Entries, delegations: &'a [NamedDelegation<'a>]) -> (Vec<Wanted<'a>>, Vec<Fault>) {
    let mut rows = Vec::new();
    let mut faults = Vec::new();
    let mut add = |kind, id, place: &'a Place, body: serde_json::Result<String>, disabled_by_admin| match body {
        Ok(body) => rows.push(Wanted { kind, id, body, place, disabled_by_admin }),
        // Serialization fails for a path that is not UTF-8, because the directory of the file is
        // not.
        Err(error) => faults.push(place.error("", format!("{} {id:?} cannot be stored: {error}", kind.as_str()))),
    };
    for issuer in &entries.issuers {
        let body = serde_json::to_string(&issuer.entry);
        add(EntryKind::Issuer, issuer.entry.issuer.as_str(), &issuer.place, body, false);
    }
    for agent in &entries.agents {
        let body = serde_json::to_string(&agent.entry);
        add(EntryKind::Agent, agent.entry.id.as_str(), &agent.place, body, false);
    }
    for named in delegations {
        let body = serde_json::to_string(&named.delegation.entry);
        add(EntryKind::Delegation, named.id.as_str(), &named.delegation.place, body, named.disabled_by_admin);
    }
    (rows, faults)
}

/// Returns a fault for each entry that the admin API made differently.
fn conflicts<'a>(rows: &'a [EntryRow], wanted: &'a [Wanted<'a>]) -> impl Iterator<Item = Fault> + 'a {
    let held: HashMap<(EntryKind, &str), &EntryRow> =
        rows.iter().filter(|row| row.origin == Origin::Api).map(|row| ((row.kind, row.id.as_str()), row)).collect();
    let differs = move |wanted: &&Wanted<'a>| {
        let body = || serde_json::from_str(&wanted.body).unwrap_or_default();
        held.get(&(wanted.kind, wanted.id)).is_some_and(|row| !differing_keys(&body_of(row), &body()).is_empty())
    };
    wanted.iter().filter(differs).map(|wanted| {
        let message = format!("{} {:?} was made through the admin API, with other content", wanted.kind.as_str(), wanted.id);
        wanted
            .place
            .error("", message)
            .with_help("`sts-server registry export` shows it: take it over as it is, delete it there, or leave it out of the file")
    })
}

/// Turns errors of stored entries into warnings. A change of the file cannot repair them, so they
/// must not block the file.
fn lenient_about_the_database(fault: Fault, file: &RegistryFile) -> Fault {
    if file.has_file(&fault.file) { fault } else { Fault { severity: Severity::Warning, ..fault } }
}

/// Returns the body of a row. An unreadable body is empty, so it differs in every key.
fn body_of(row: &EntryRow) -> Map<String, Value> {
    serde_json::from_str(&row.body).unwrap_or_default()
}

/// Returns the keys in which two entries differ, sorted.
pub(crate) fn differing_keys(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let mut keys: Vec<String> = old
        .keys()
        .chain(new.keys().filter(|key| !old.contains_key(*key)))
        .filter(|key| old.get(*key) != new.get(*key))
        .cloned()
        .collect();
    keys.sort();
    keys
}
