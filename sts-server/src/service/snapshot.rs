//! What requests read instead of the database: one consistent view, replaced whole.

use std::sync::Arc;

use thiserror::Error;

use crate::keys::{KeyAccess, KeyRing, MasterKey, TrustedKeys};
use crate::record::Revocations;
use crate::registry::Registry;
use crate::storage::{RevocationRow, StorageError, Store, Stored, TableFault, Versions};

/// The revocations that may always be added before all are read again.
const MOST_ADDED: usize = 1024;

/// Registry, keys and revocations at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The entries.
    pub registry: Arc<Registry>,
    /// The keys of others.
    pub trusted: Arc<TrustedKeys>,
    /// Our keys.
    pub ring: Arc<KeyRing>,
    /// The standing revocations.
    pub revocations: Arc<Revocations>,
    /// The faults of each of these in the database.
    faults: Faults,
}

/// The faults of the three tables, as they were last read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Faults {
    registry: Vec<TableFault>,
    keys: Vec<TableFault>,
    revocations: Vec<TableFault>,
}

/// The database's content cannot be read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The database failed.
    #[error("the database cannot be read")]
    Storage(#[from] StorageError),
}

impl Snapshot {
    /// Reads everything.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn load(store: &dyn Store, master: &MasterKey, access: &KeyAccess) -> Result<Self, SnapshotError> {
        let mut snapshot = Self {
            registry: Arc::default(),
            trusted: Arc::default(),
            ring: Arc::default(),
            revocations: Arc::default(),
            faults: Faults::default(),
        };
        snapshot.read_registry(store, access).await?;
        snapshot.read_revocations(store).await?;
        snapshot.read_keys(store, master).await?;
        Ok(snapshot)
    }

    /// The versions that the parts belong to.
    #[must_use]
    pub fn versions(&self) -> Versions {
        Versions {
            registry: self.registry.version(),
            keys: self.ring.version(),
            revocations: self.revocations.version(),
        }
    }

    /// True if the database holds what servers wrote there, of every kind, as far as it was read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.faults().any(|fault| matches!(fault, TableFault::Incomplete { .. }))
    }

    /// The faults of the tables, as they were last read.
    pub fn faults(&self) -> impl Iterator<Item = &TableFault> {
        let Faults { registry, keys, revocations } = &self.faults;
        registry.iter().chain(keys).chain(revocations)
    }

    /// Reads what has changed since, by what the versions say; `None` when nothing has. What cannot be read stays as it was, and does
    /// not keep the rest from being followed.
    pub(super) async fn refreshed(
        &self,
        versions: &Versions,
        store: &dyn Store,
        master: &MasterKey,
        access: &KeyAccess,
    ) -> (Option<Self>, Result<(), SnapshotError>) {
        let mut newer = self.clone();
        let known = self.versions();
        let mut read = Vec::new();
        if versions.revocations != known.revocations {
            read.push(newer.follow_revocations(store).await);
        }
        if versions.registry != known.registry {
            read.push(newer.read_registry(store, access).await);
            // The names that blocks were made under may stand for other issuers now. Blocks come first all the same: they cannot wait.
            if self.registry.has_aliases() || newer.registry.has_aliases() {
                read.push(newer.read_revocations(store).await);
            }
        }
        if versions.keys != known.keys {
            read.push(newer.read_keys(store, master).await);
        }
        ((newer.versions() != known).then_some(newer), read.into_iter().collect())
    }

    /// The same, with the faults that an inspection of the tables has found; `None` where it found nothing new. An inspection compares
    /// codes alone: the faults that were found when the rows were read stay until they are read again.
    pub(super) fn inspected(&self, found: &[TableFault]) -> Option<Self> {
        let mut faults = self.faults.clone();
        for fault in found {
            let of_table = match fault.table() {
                "entries" => &mut faults.registry,
                "signing_keys" => &mut faults.keys,
                _ => &mut faults.revocations,
            };
            if !of_table.contains(fault) {
                of_table.push(fault.clone());
            }
        }
        (faults != self.faults).then(|| Self { faults, ..self.clone() })
    }

    /// Reads the revocations that were added, or all of them.
    async fn follow_revocations(&mut self, store: &dyn Store) -> Result<(), SnapshotError> {
        // Those that have expired go when all are read: often enough that they are never most of them.
        let grown = self.revocations.added() > self.revocations.count() / 2 + MOST_ADDED;
        if !grown
            && self.is_whole()
            && let Some((version, added)) = store.revocations_after(self.revocations.version()).await?
        {
            self.revocations = Arc::new(self.revocations.with(version, &self.canonical(added)));
            return Ok(());
        }
        self.read_revocations(store).await
    }

    async fn read_revocations(&mut self, store: &dyn Store) -> Result<(), SnapshotError> {
        let Stored { version, rows, faults, is_whole, .. } = store.revocations().await?;
        let rows = self.canonical(rows.into_iter().map(|coded| coded.row).collect());
        // A revocation that was removed past the servers goes on holding where it is known.
        // So does one that was altered: its name may be what was altered.
        let is_sound = is_whole && faults.is_empty();
        let read =
            if is_sound { Revocations::from_rows(version, &rows) } else { self.revocations.with(version, &rows) };
        self.revocations = Arc::new(read);
        self.faults.revocations = faults;
        Ok(())
    }

    /// Rows that name an issuer by an alias, under the name of its principals: a block covers all names of an issuer, also those that it
    /// was given later.
    fn canonical(&self, mut rows: Vec<RevocationRow>) -> Vec<RevocationRow> {
        if self.registry.has_aliases() {
            for issuer in rows.iter_mut().filter_map(|row| row.issuer.as_mut()) {
                *issuer = self.registry.principal_iss(issuer);
            }
        }
        rows
    }

    async fn read_registry(&mut self, store: &dyn Store, access: &KeyAccess) -> Result<(), SnapshotError> {
        let (registry, faults) = Registry::of(&store.entries().await?, &self.registry);
        self.trusted = Arc::new(TrustedKeys::new(&registry, &self.trusted, access));
        self.registry = Arc::new(registry);
        self.faults.registry = faults;
        Ok(())
    }

    async fn read_keys(&mut self, store: &dyn Store, master: &MasterKey) -> Result<(), SnapshotError> {
        let (ring, faults) = KeyRing::of(&store.keys().await?, master, &self.ring);
        self.ring = Arc::new(ring);
        self.faults.keys = faults;
        Ok(())
    }
}
