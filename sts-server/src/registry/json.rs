//! Entries written as JSON. They pass through the file reader, so the same keys, grammars and rules
//! apply.

use std::path::Path;

use serde_json::{Map, Value};

use super::RegistryFile;
use super::located::Entries;
use crate::document::{BODY, FieldFault, Pointers, fault_at, read_json};
use crate::fault::Fault;
use crate::storage::EntryKind;

/// An entry in the body of a request.
#[derive(Debug, Clone)]
pub struct JsonEntry {
    pointers: Pointers,
    file: RegistryFile,
}

impl JsonEntry {
    /// Reads an entry of this kind.
    #[must_use]
    pub fn read(kind: EntryKind, entry: &Map<String, Value>) -> Self {
        let (table, pointers) = read_json(entry);
        Self { file: RegistryFile::of_entry(Path::new(BODY), kind, &table), pointers }
    }

    /// Returns the entry, if it could be read: at most one.
    #[must_use]
    pub fn entries(&self) -> &Entries {
        self.file.entries()
    }

    /// Returns the faults of reading.
    #[must_use]
    pub fn faults(&self) -> Vec<FieldFault> {
        self.file.faults().iter().map(|fault| self.placed(fault)).collect()
    }

    /// Converts a fault of [`rules`](super::rules) to a fault with its place in the body.
    #[must_use]
    pub fn placed(&self, fault: &Fault) -> FieldFault {
        fault_at(&self.pointers, fault)
    }

    /// Returns true if the fault concerns this entry, not another.
    #[must_use]
    pub fn concerns(&self, fault: &Fault) -> bool {
        fault.file == Path::new(BODY)
    }
}
