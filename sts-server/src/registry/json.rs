//! An entry that was written as JSON: read by the reader of files, so that the same keys, grammars and rules hold.

use std::path::Path;

use serde_json::{Map, Value};

use super::RegistryFile;
use super::located::Entries;
use crate::document::{BODY, FieldFault, JsonText};
use crate::fault::Fault;
use crate::storage::EntryKind;

/// One entry of a request's body.
#[derive(Debug, Clone)]
pub struct JsonEntry {
    written: JsonText,
    file: RegistryFile,
}

impl JsonEntry {
    /// Reads an entry.
    #[must_use]
    pub fn read(kind: EntryKind, entry: &Map<String, Value>) -> Self {
        let head = match kind {
            EntryKind::Issuer => "[[issuers]]",
            EntryKind::Agent => "[[agents]]",
            EntryKind::Delegation => "[[delegations]]",
        };
        let written = JsonText::write(head, entry);
        let file = RegistryFile::parse(Path::new(BODY), &written.text);
        Self { written, file }
    }

    /// The entry, if it could be read: one at most.
    #[must_use]
    pub fn entries(&self) -> &Entries {
        self.file.entries()
    }

    /// What could not be read.
    #[must_use]
    pub fn faults(&self) -> Vec<FieldFault> {
        let of_reader = self.file.faults().iter().map(|fault| self.written.fault(fault));
        self.written.faults.iter().cloned().chain(of_reader).collect()
    }

    /// A fault of [`rules`](super::rules), with the place in the body.
    #[must_use]
    pub fn placed(&self, fault: &Fault) -> FieldFault {
        self.written.fault(fault)
    }

    /// Whether a fault is about the entry, and not about others.
    #[must_use]
    pub fn concerns(&self, fault: &Fault) -> bool {
        fault.file == Path::new(BODY)
    }
}
