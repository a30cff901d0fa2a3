//! The registry file: three arrays of tables, `issuers`, `agents` and `delegations`.
//!
//! Relative paths (`jwks_file`, `bundle_file`, `ca_file`, `jwks_bearer_token_file`) are relative to
//! the file's directory. Entries hold absolute paths. [`schema`](super::schema) lists the keys of
//! each table.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::located::{Entries, Located, Place};
use super::schema::{AGENT, DELEGATION, ISSUER, TOP_LEVEL};
use super::{Agent, Delegation, Issuer};
use crate::document::{self, Member, NodeTable, ReadTable, Reader};
use crate::fault::{Fault, Severity};
use crate::storage::EntryKind;

/// A registry file after reading: the readable entries, and the faults of everything else.
#[derive(Debug, Clone)]
pub struct RegistryFile {
    path: PathBuf,
    entries: Entries,
    faults: Vec<Fault>,
}

impl RegistryFile {
    /// Reads the file at `path`. An unreadable file is reported as a fault.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        match document::read_text(path) {
            Ok(text) => Self::parse(path, &text),
            Err(fault) => Self { path: path.to_owned(), entries: Entries::default(), faults: vec![fault] },
        }
    }

    /// Reads `text` as the content of the file at `path`, which need not exist.
    #[must_use]
    pub fn parse(path: &Path, text: &str) -> Self {
        let (reader, table) = Reader::parse(path, text);
        let mut parser = Parser { path, reader, entries: Entries::default() };
        if let Some(table) = table {
            parser.top_level(&table);
        }
        parser.finish()
    }

    /// Reads `table` as the one entry of the file at `path`, which need not exist.
    pub(super) fn of_entry(path: &Path, kind: EntryKind, table: &NodeTable<'_>) -> Self {
        let mut parser = Parser { path, reader: Reader::new(path), entries: Entries::default() };
        parser.table(kind, 1, table);
        parser.finish()
    }

    /// Returns the path that the file was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the readable entries, in file order.
    #[must_use]
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Returns the faults of reading, in line order. [`check()`](super::check()) applies the rules
    /// between entries.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

struct Parser<'a> {
    path: &'a Path,
    reader: Reader<'a>,
    entries: Entries,
}

impl Parser<'_> {
    fn top_level(&mut self, table: &NodeTable<'_>) {
        for Member { line, name, node } in &table.0 {
            let kind = match &**name {
                "issuers" => EntryKind::Issuer,
                "agents" => EntryKind::Agent,
                "delegations" => EntryKind::Delegation,
                unknown => {
                    self.reader.unknown_key(*line, unknown, "the registry", TOP_LEVEL.into_iter());
                    continue;
                }
            };
            for (line, table) in document::tables(&mut self.reader, name, node) {
                self.table(kind, line, table);
            }
        }
    }

    fn table(&mut self, kind: EntryKind, line: usize, table: &NodeTable<'_>) {
        match kind {
            EntryKind::Issuer => {
                let read = self.reader.entry(&ISSUER, line, table);
                let names = texts(read.values.get("issuer"));
                match self.entry::<Issuer>(line, read) {
                    Some(issuer) => self.entries.issuers.push(issuer),
                    None => self.entries.unread.extend(names),
                }
            }
            EntryKind::Agent => {
                let read = self.reader.entry(&AGENT, line, table);
                let names = [texts(read.values.get("id")), texts(read.values.get("audience"))].concat();
                match self.entry::<Agent>(line, read) {
                    Some(agent) => self.entries.agents.push(agent),
                    None => self.entries.unread.extend(names),
                }
            }
            EntryKind::Delegation => {
                let read = self.reader.entry(&DELEGATION, line, table);
                let delegation = self.entry::<Delegation>(line, read);
                self.entries.delegations.extend(delegation);
            }
        }
    }

    fn finish(mut self) -> RegistryFile {
        self.make_paths_absolute();
        RegistryFile { path: self.path.to_owned(), entries: self.entries, faults: self.reader.into_faults() }
    }

    /// Returns the entry of a table, or `None` if the readable values do not form one.
    fn entry<T: DeserializeOwned>(&mut self, line: usize, read: ReadTable) -> Option<Located<T>> {
        let ReadTable { values, lines, unread, whole } = read;
        match serde_json::from_value(Value::Object(values)) {
            Ok(entry) => Some(Located { entry, place: Place::in_file(self.path, line, lines, unread) }),
            Err(error) => {
                if whole {
                    self.reader.fault(Some(line), error.to_string());
                }
                None
            }
        }
    }

    fn make_paths_absolute(&mut self) {
        let relative: Vec<&mut PathBuf> = self
            .entries
            .issuers
            .iter_mut()
            .map(|issuer| &mut issuer.entry)
            .flat_map(|issuer| {
                let Issuer { jwks_file, bundle_file, ca_file, jwks_bearer_token_file, .. } = issuer;
                [jwks_file, bundle_file, ca_file, jwks_bearer_token_file]
            })
            .chain(self.entries.agents.iter_mut().filter_map(|agent| Some(&mut agent.entry.auth.as_mut()?.ca_file)))
            .flatten()
            .filter(|path| path.is_relative())
            .collect();
        if relative.is_empty() {
            return;
        }
        match std::path::absolute(self.path) {
            Ok(file) => {
                let directory = file.parent().unwrap_or(&file);
                relative.into_iter().for_each(|path| *path = directory.join(&*path));
            }
            Err(error) => {
                let message = format!("its relative paths lead nowhere: {error}");
                self.reader.push(Fault::new(self.path, Severity::Error, message));
            }
        }
    }
}

/// Returns the strings in a string or an array.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Registry, plan};
    use crate::storage::EntryChange;

    /// A complete registry, with every kind of entry.
    const SAMPLE: &str = r#"
[[issuers]]
issuer = "https://login.example.com"
jwks_file = "keys/login.json"
tenant_claim = "org_id"

[[agents]]
id = "coordinator"
accepts = ["web-app"]
default_target = "inventory"
[agents.auth]
client_secret_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
workload = [{ issuer = "https://login.example.com", subject = "system:serviceaccount:shop:coordinator" }]

[[agents]]
id = "inventory"
audience = ["inventory-agent", "https://inventory.shop.example/"]

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock:read", { scope = "bin:read", from = ["stock:read"] }]
issuers = ["https://login.example.com"]
"#;

    #[test]
    fn a_file_becomes_rows_and_rows_become_the_same_entries() {
        let file = RegistryFile::parse(Path::new("/etc/sts/registry.toml"), SAMPLE);
        assert_eq!(file.faults(), []);
        let plan = plan(&[], &file, None).unwrap();
        let lines: Vec<String> = plan.lines.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "add issuer https://login.example.com",
                "add agent coordinator",
                "add agent inventory",
                "add delegation coordinator->inventory"
            ]
        );
        let rows: Vec<_> = plan
            .changes
            .into_iter()
            .map(|change| match change {
                EntryChange::Put(row) => row,
                EntryChange::Delete(..) => panic!("nothing to delete"),
            })
            .collect();
        let registry = Registry::from_rows(crate::storage::Version::default(), &rows).unwrap();
        let issuer = registry.issuer("https://login.example.com").unwrap();
        assert_eq!(issuer.jwks_file.as_deref(), Some(Path::new("/etc/sts/keys/login.json")));
        assert_eq!(**issuer, file.entries().issuers[0].entry);
        assert_eq!(registry.delegations("coordinator", "inventory").len(), 1);
        assert!(super::super::plan(&rows, &file, None).unwrap().is_empty());
    }
}
