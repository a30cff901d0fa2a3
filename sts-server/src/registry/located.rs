//! Entries with the place where they were written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Agent, Delegation, Issuer};
use crate::fault::{Fault, Severity};
use crate::storage::{EntryKind, EntryRow};

/// The file that the faults of stored entries name.
const DATABASE: &str = "database";

/// An entry and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// The entry.
    pub entry: T,
    /// Where it stands.
    pub place: Place,
}

/// Where an entry stands: in a file, or in the database alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: PathBuf,
    line: Option<usize>,
    /// The line of each key, by its path: `auth.workload[0].issuer`.
    lines: BTreeMap<String, usize>,
    unread: BTreeSet<&'static str>,
}

/// Registry entries that are to hold together, from a file, from the database or from both.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entries {
    /// The issuers.
    pub issuers: Vec<Located<Issuer>>,
    /// The agents.
    pub agents: Vec<Located<Agent>>,
    /// The delegations.
    pub delegations: Vec<Located<Delegation>>,
    /// The names of issuers and agents that were written but could not be read, so that nobody reports them as missing.
    pub(super) unread: BTreeSet<String>,
}

impl Place {
    /// A place in a file, with the line of each key by its path.
    pub(super) fn in_file(
        file: &Path,
        line: usize,
        lines: BTreeMap<String, usize>,
        unread: BTreeSet<&'static str>,
    ) -> Self {
        Self { file: file.to_owned(), line: Some(line), lines, unread }
    }

    /// The place of an entry that stands in no file.
    #[must_use]
    pub fn in_database() -> Self {
        Self { file: PathBuf::from(DATABASE), line: None, lines: BTreeMap::new(), unread: BTreeSet::new() }
    }

    /// Whether everything that was written of the entry could be read; if not, a default in it may stand for what was meant.
    pub(super) fn is_whole(&self) -> bool {
        self.unread.is_empty()
    }

    /// Whether what these keys say is what was written; if not, a default stands for what was meant.
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

    /// The line of a key, or of the nearest thing around it.
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

    /// An error at a key; the empty path is the entry itself.
    pub(super) fn error(&self, path: &str, message: String) -> Fault {
        Fault::new(&self.file, Severity::Error, message).at(self.line_of(path))
    }

    /// A warning at a key; the empty path is the entry itself.
    pub(super) fn warning(&self, path: &str, message: String) -> Fault {
        Fault::new(&self.file, Severity::Warning, message).at(self.line_of(path))
    }

    /// How a fault of another entry refers to this one.
    pub(super) fn reference(&self) -> String {
        match self.line {
            Some(line) => format!("at line {line}"),
            None => "in the database".to_owned(),
        }
    }
}

impl Entries {
    /// The entries of stored rows, those that an administrator has disabled included. A row that does not read is disabled, and stands in
    /// the way of no other.
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

    /// These entries and, after them, the others.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.issuers.extend(others.issuers.iter().cloned());
        self.agents.extend(others.agents.iter().cloned());
        self.delegations.extend(others.delegations.iter().cloned());
        self.unread.extend(others.unread.iter().cloned());
        self
    }
}
