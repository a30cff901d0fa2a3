//! The registry file: three arrays of tables, `issuers`, `agents` and `delegations`, and a
//! `generation`. A folder of such files is read as one.
//!
//! Relative paths (`jwks_file`, `bundle_file`, `ca_file`, `jwks_bearer_token_file`) are relative to
//! the file's directory. Entries hold absolute paths. [`schema`](super::schema) lists the keys of
//! each table.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::located::{Entries, Located, Place};
use super::schema::{AGENT, DELEGATION, GENERATION, GENERATIONS, ISSUER, TOP_LEVEL};
use super::{Agent, Delegation, Issuer};
use crate::document::{self, Member, NodeTable, ReadTable, Reader};
use crate::fault::{Fault, Severity};
use crate::storage::EntryKind;

/// A registry file after reading: the readable entries, and the faults of everything else.
#[derive(Debug, Clone)]
pub struct RegistryFile {
    path: PathBuf,
    /// The files of a folder.
    files: Vec<PathBuf>,
    generation: Option<i64>,
    entries: Entries,
    faults: Vec<Fault>,
}

impl RegistryFile {
    /// Reads the file at `path`, or every `*.toml` file of a folder, in the order of their names.
    /// An unreadable file is reported as a fault.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        if !path.is_dir() {
            return Self::read_file(path);
        }
        Self::read_folder(path, Self::read_file).unwrap_or_else(|error| {
            let fault = Fault::new(path, Severity::Error, format!("cannot be read: {error}"));
            Self { faults: vec![fault], ..Self::empty(path) }
        })
    }

    /// Reads a folder with `read`. The files of a folder without a fault are those of one moment.
    fn read_folder(path: &Path, read: impl Fn(&Path) -> Self) -> std::io::Result<Self> {
        let mut whole = Self::empty(path);
        let files = files_of(path)?;
        files.iter().for_each(|file| whole.add(read(&file.path)));
        if files.is_empty() {
            // The folder of a volume that is not mounted is empty. It must not remove every agent.
            whole.faults.push(Fault::new(path, Severity::Error, "has no *.toml file"));
        } else if files != files_of(path)? {
            let message = "has changed while it was read: try again when its files are complete";
            whole.faults.push(Fault::new(path, Severity::Error, message));
        }
        Ok(whole)
    }

    fn read_file(path: &Path) -> Self {
        match document::read_text(path) {
            Ok(text) => Self::parse(path, &text),
            Err(fault) => Self { faults: vec![fault], ..Self::empty(path) },
        }
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: Vec::new(),
            generation: None,
            entries: Entries::default(),
            faults: Vec::new(),
        }
    }

    /// Adds a file of the folder.
    fn add(&mut self, file: Self) {
        if self.generation.is_some() && file.generation.is_some() {
            let message = "another file of the folder has a generation too: leave it in a single file";
            self.faults.push(Fault::new(&file.path, Severity::Error, message));
        }
        self.generation = self.generation.max(file.generation);
        let Entries { issuers, agents, delegations, unread } = file.entries;
        self.entries.issuers.extend(issuers);
        self.entries.agents.extend(agents);
        self.entries.delegations.extend(delegations);
        self.entries.unread.extend(unread);
        self.faults.extend(file.faults);
        self.files.push(file.path);
    }

    /// Reads `text` as the content of the file at `path`, which need not exist.
    #[must_use]
    pub fn parse(path: &Path, text: &str) -> Self {
        let (reader, table) = Reader::parse(path, text);
        let mut parser = Parser { path, reader, generation: None, entries: Entries::default() };
        if let Some(table) = table {
            parser.top_level(&table);
        }
        parser.finish()
    }

    /// Reads `table` as the one entry of the file at `path`, which need not exist.
    pub(super) fn of_entry(path: &Path, kind: EntryKind, table: &NodeTable<'_>) -> Self {
        let mut parser = Parser { path, reader: Reader::new(path), generation: None, entries: Entries::default() };
        parser.table(kind, 1, table);
        parser.finish()
    }

    /// Returns the path that the file was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if a fault in this file is one of the registry file.
    pub(super) fn has_file(&self, path: &Path) -> bool {
        self.path == path || self.files.iter().any(|file| file == path)
    }

    /// Returns the generation of the file; 0 if it has none.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation.unwrap_or(0)
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
    generation: Option<i64>,
    entries: Entries,
}

impl Parser<'_> {
    fn top_level(&mut self, table: &NodeTable<'_>) {
        for Member { line, name, node } in &table.0 {
            let kind = match &**name {
                GENERATION => {
                    let read = self.reader.value(GENERATIONS, GENERATION, node);
                    self.generation = read.as_ref().and_then(Value::as_i64);
                    continue;
                }
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
        RegistryFile {
            path: self.path.to_owned(),
            files: Vec::new(),
            generation: self.generation,
            entries: self.entries,
            faults: self.reader.into_faults(),
        }
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

/// A file of a folder at one moment. Files that cannot be read have no more than their path.
#[derive(Debug, PartialEq, Eq)]
struct FolderFile {
    path: PathBuf,
    target: Option<PathBuf>,
    modified: Option<SystemTime>,
    bytes: Option<u64>,
}

/// Returns the `*.toml` files of a folder, in the order of their names. Leaves out hidden files, which
/// Kubernetes adds to a mounted folder.
fn files_of(folder: &Path) -> std::io::Result<Vec<FolderFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            let metadata = std::fs::metadata(&path).ok();
            files.push(FolderFile {
                // Kubernetes replaces the folder that a link leads to.
                target: std::fs::canonicalize(&path).ok(),
                modified: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
                bytes: metadata.map(|metadata| metadata.len()),
                path,
            });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
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
                EntryChange::Delete(..) | EntryChange::Generation(_) => panic!("nothing but entries"),
            })
            .collect();
        let registry = Registry::from_rows(crate::storage::Version::default(), &rows).unwrap();
        let issuer = registry.issuer("https://login.example.com").unwrap();
        assert_eq!(issuer.jwks_file.as_deref(), Some(Path::new("/etc/sts/keys/login.json")));
        assert_eq!(**issuer, file.entries().issuers[0].entry);
        assert_eq!(registry.delegations("coordinator", "inventory").len(), 1);
        assert!(super::super::plan(&rows, &file, None).unwrap().is_empty());
    }

    #[test]
    fn a_folder_that_changes_while_it_is_read_has_a_fault() {
        let agent = |id: &str| format!("[[agents]]\nid = \"{id}\"\n");
        for (change, name) in [("a file is added", "b.toml"), ("a file is replaced", "a.toml")] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("a.toml"), agent("a")).unwrap();
            let read_and_change = |path: &Path| {
                let read = RegistryFile::read_file(path);
                std::fs::write(folder.path().join(name), agent("another")).unwrap();
                read
            };
            let file = RegistryFile::read_folder(folder.path(), read_and_change).unwrap();
            let messages: Vec<_> = file.faults().iter().map(|fault| fault.message.as_str()).collect();
            assert_eq!(messages, ["has changed while it was read: try again when its files are complete"], "{change}");
            assert_eq!(RegistryFile::read(folder.path()).faults(), [], "{change}");
        }
    }
}
