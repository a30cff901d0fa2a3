//! Operations on the whole registry: apply a file, and check or accept the stored tables.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Administration, By, Records};
use crate::keys::KeyLifeError;
use crate::record::EventKind;
use crate::registry::{self, ApplyError, Plan, RegistryFile};
use crate::storage::{AuditRow, EntryKind, EntryRow, StorageError, TableFault, Version};

/// The registry, as it was at one time.
#[derive(Debug, Clone)]
pub struct ExportedRegistry {
    /// The generation of the last applied registry file; 0 without one.
    pub generation: i64,
    /// The version of the entries.
    pub version: Version,
    /// The entries that can be read.
    pub entries: Vec<ExportedEntry>,
}

/// An entry of the registry, as a registry file has it.
#[derive(Debug, Clone, Serialize)]
pub struct ExportedEntry {
    /// The kind of the entry.
    #[serde(skip)]
    pub kind: EntryKind,
    /// The id of the entry within its kind.
    #[serde(skip)]
    pub id: String,
    /// The table of the entry.
    pub entry: Value,
}

impl ExportedEntry {
    /// Reads the entry of a row, or returns `None` if its body cannot be read.
    fn of(row: EntryRow) -> Option<Self> {
        let mut body: Map<String, Value> = serde_json::from_str(&row.body).ok()?;
        if row.disabled_by_admin {
            body.insert("disabled".to_owned(), Value::Bool(true));
        }
        Some(Self { kind: row.kind, id: row.id, entry: Value::Object(body) })
    }
}

impl Administration {
    /// Makes the database match a registry file.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub async fn apply(&self, file: &RegistryFile, by: &By) -> Result<Plan, ApplyError> {
        registry::apply(&*self.store, file, Some(&*self.config), &|plan| self.audit_plan(plan, by)).await
    }
}

impl Records {
    /// Returns the changes that applying a registry file would make. Changes nothing.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub async fn plan(&self, file: &RegistryFile) -> Result<Plan, ApplyError> {
        Ok(registry::planned(&*self.store, file, Some(&*self.config)).await?.1)
    }

    /// Returns the entries of the registry, with their version and the generation.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn exported(&self) -> Result<ExportedRegistry, StorageError> {
        let stored = self.store.entries().await?;
        let generation = self.store.registry_generation().await?;
        let version = stored.version;
        let entries = stored.entries().into_iter().filter_map(ExportedEntry::of).collect();
        Ok(ExportedRegistry { generation, version, entries })
    }

    /// Returns the registry of the database in the form of a registry file.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn export(&self) -> Result<Map<String, Value>, StorageError> {
        let ExportedRegistry { generation, entries, .. } = self.exported().await?;
        let mut exported = Map::new();
        if generation > 0 {
            exported.insert("generation".to_owned(), Value::from(generation));
        }
        for (kind, name) in
            [(EntryKind::Issuer, "issuers"), (EntryKind::Agent, "agents"), (EntryKind::Delegation, "delegations")]
        {
            let of_kind = entries.iter().filter(|entry| entry.kind == kind);
            let entries: Vec<Value> = of_kind.map(|entry| entry.entry.clone()).collect();
            if !entries.is_empty() {
                exported.insert(name.to_owned(), Value::Array(entries));
            }
        }
        Ok(exported)
    }
}

impl Administration {
    /// Returns the rows of registry, keys and revocations that were written, altered or removed
    /// outside the server.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn table_faults(&self) -> Result<Vec<TableFault>, StorageError> {
        let mut faults = self.store.entries().await?.faults;
        faults.extend(self.store.keys().await?.faults);
        faults.extend(self.store.revocations().await?.faults);
        Ok(faults)
    }

    /// Seals the present content of the database, and returns the faults that it had.
    ///
    /// # Errors
    /// [`KeyLifeError::Foreign`] if a signing key does not open under the master key. The key then
    /// belongs to another database.
    pub async fn accept_tables(&self, by: &By) -> Result<Vec<TableFault>, KeyLifeError> {
        self.check_keys_open().await?;
        let faults = self.table_faults().await?;
        let audit = self.audit_row(EventKind::RegistryChanged, by, |event| {
            event.detail = Some(format!("accepted the content of the database, with {} faults", faults.len()));
        });
        self.store.accept(&[audit]).await?;
        Ok(faults)
    }

    fn audit_plan(&self, plan: &Plan, by: &By) -> Vec<AuditRow> {
        self.audit_lines(EventKind::RegistryChanged, by, plan.lines.iter().map(ToString::to_string))
    }
}
