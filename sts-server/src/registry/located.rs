//! Entries with the place where they were written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Agent, Delegation, Issuer};
use crate::fault::{Fault, Severity};
use crate::storage::{EntryKind, EntryRow};

/// The file name in faults of stored entries.
const DATABASE: &str = "database";

/// An entry and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// The entry, as it was read.
    pub entry: T,
    /// The place where the entry was written.
    pub place: Place,
}

/// The place of an entry: a line of a file, or the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: PathBuf,
    line: Option<usize>,
    /// The line of each key, by its path: `auth.workload[0].issuer`.
    lines: BTreeMap<String, usize>,
    unread: BTreeSet<&'static str>,
}

/// Registry entries that are checked together: from a file, from the database or from both.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entries {
    /// The issuers, in the order of reading.
    pub issuers: Vec<Located<Issuer>>,
    /// The agents, in the order of reading.
    pub agents: Vec<Located<Agent>>,
    /// The delegations, in the order of reading.
    pub delegations: Vec<Located<Delegation>>,
    /// The names of issuers and agents that could not be read. References to them are not reported
    /// as unknown.
    pub(super) unread: BTreeSet<String>,
}

impl Place {
    /// Returns the place of an entry in a file. `lines` holds the line of each key by its path.
    pub(super) fn in_file(
        file: &Path,
        line: usize,
        lines: BTreeMap<String, usize>,
        unread: BTreeSet<&'static str>,
    ) -> Self {
        Self { file: file.to_owned(), line: Some(line), lines, unread }
    }

    /// Returns the place of an entry that is in the database only.
    #[must_use]
    pub fn in_database() -> Self {
        Self { file: PathBuf::from(DATABASE), line: None, lines: BTreeMap::new(), unread: BTreeSet::new() }
    }

    /// Returns true if the entire entry could be read. Otherwise, a default may have replaced a
    /// written value.
    pub(super) fn is_whole(&self) -> bool {
        self.unread.is_empty()
    }

    /// Returns true if the values of these keys are as written. Otherwise, a default has replaced a
    /// written value.
    pub(super) fn reads(&self, keys: &[&str]) -> bool {
        !keys.iter().any(|key| self.unread.contains(key))
    }

    /// True if the entry has this key.
    pub(super) fn says(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// The line of the entry.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// Returns the line of a key, or of the nearest table or array around it.
    #[must_use]
    pub fn line_of(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            match path.rfind(['.', '[']).and_then(|end| path.get(..end)) {
                Some(around) => path = around,
                None => return self.line,
            }
        }
    }

    /// Returns an error at a key. The empty path is the entry itself.
    pub(super) fn error(&self, path: &str, message: String) -> Fault {
        Fault::new(&self.file, Severity::Error, message).at(self.line_of(path))
    }

    /// Returns a warning at a key. The empty path is the entry itself.
    pub(super) fn warning(&self, path: &str, message: String) -> Fault {
        Fault::new(&self.file, Severity::Warning, message).at(self.line_of(path))
    }

    /// Returns the text with which a fault of another entry refers to this entry.
    pub(super) fn reference(&self) -> String {
        match self.line {
            Some(line) => format!("at line {line}"),
            None => "in the database".to_owned(),
        }
    }
}

impl Entries {
    /// Reads the entries of stored rows, including those that an administrator has disabled. An
    /// unreadable row is disabled. Only its name is kept, so that it does not block other entries.
    #[must_use]
    pub fn from_rows<'a>(rows: impl IntoIterator<Item = &'a EntryRow>) -> Self {
        let mut entries = Self::default();
        for row in rows {
            if entries.add(row).is_err() {
                entries.unread.insert(row.id.clone());
            }
        }
        entries
    }

    fn add(&mut self, row: &EntryRow) -> Result<(), serde_json::Error> {
        let place = Place::in_database();
        match row.kind {
            EntryKind::Issuer => {
                let mut entry: Issuer = serde_json::from_str(&row.body)?;
                entry.disabled |= row.disabled_by_admin;
                self.issuers.push(Located { entry, place });
            }
            EntryKind::Agent => {
                let mut entry: Agent = serde_json::from_str(&row.body)?;
                entry.disabled |= row.disabled_by_admin;
                self.agents.push(Located { entry, place });
            }
            EntryKind::Delegation => {
                let mut entry: Delegation = serde_json::from_str(&row.body)?;
                entry.disabled |= row.disabled_by_admin;
                self.delegations.push(Located { entry, place });
            }
        }
        Ok(())
    }

    /// Appends the other entries to these entries.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.issuers.extend(others.issuers.iter().cloned());
        self.agents.extend(others.agents.iter().cloned());
        self.delegations.extend(others.delegations.iter().cloned());
        self.unread.extend(others.unread.iter().cloned());
        self
    }
}
