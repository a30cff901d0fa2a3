//! The snapshot that requests read instead of the database: one consistent view, replaced as a
//! whole.

use std::sync::Arc;

use thiserror::Error;

use crate::approval::Approvals;
use crate::keys::{KeyAccess, KeyRing, MasterKey, TrustedKeys};
use crate::record::Revocations;
use crate::registry::Registry;
use crate::storage::{RevocationRow, StorageError, Store, Stored, TableFault, Version, Versions};

/// The number of revocations that may be added, even to a small set, before all are read again.
const MOST_ADDED: usize = 1024;

/// Registry, keys and revocations at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The entries of the registry.
    pub registry: Arc<Registry>,
    /// The public keys of other issuers and of agents.
    pub trusted: Arc<TrustedKeys>,
    /// Our signing keys.
    pub ring: Arc<KeyRing>,
    /// The revocations in force.
    pub revocations: Arc<Revocations>,
    /// The approvals of persons.
    pub approvals: Arc<Approvals>,
    faults: Faults,
}

/// The faults of the three tables at their last read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Faults {
    registry: Vec<TableFault>,
    keys: Vec<TableFault>,
    revocations: Vec<TableFault>,
    approvals: Vec<TableFault>,
}

/// The content of the database cannot be read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The database failed.
    #[error("the database cannot be read")]
    Storage(#[from] StorageError),
}

impl Snapshot {
    /// Reads all tables.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn load(store: &dyn Store, master: &MasterKey, access: &KeyAccess) -> Result<Self, SnapshotError> {
        let mut snapshot = Self {
            registry: Arc::default(),
            trusted: Arc::default(),
            ring: Arc::default(),
            revocations: Arc::default(),
            approvals: Arc::default(),
            faults: Faults::default(),
        };
        snapshot.read_registry(store, access).await?;
        snapshot.read_revocations(store).await?;
        snapshot.read_keys(store, master).await?;
        snapshot.read_approvals(store).await?;
        Ok(snapshot)
    }

    /// Returns the versions of the registry, the keys and the revocations.
    #[must_use]
    pub fn versions(&self) -> Versions {
        Versions {
            registry: self.registry.version(),
            keys: self.ring.version(),
            revocations: self.revocations.version(),
        }
    }

    /// Returns true if no table is known to lack rows that servers wrote.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        // Without approvals nothing is issued that needs one; the rest goes on.
        let counts = |fault: &TableFault| fault.table() != Approvals::TABLE;
        !self.faults().any(|fault| counts(fault) && matches!(fault, TableFault::Incomplete { .. }))
    }

    /// Returns the faults of the tables at their last read.
    pub fn faults(&self) -> impl Iterator<Item = &TableFault> {
        let Faults { registry, keys, revocations, approvals } = &self.faults;
        registry.iter().chain(keys).chain(revocations).chain(approvals)
    }

    /// Reads the parts whose version has changed. Returns `None` if nothing has changed. A part
    /// that cannot be read keeps its old content and does not stop the others.
    pub(super) async fn refreshed(
        &self,
        (versions, approvals): (&Versions, Version),
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
        let has_expired = self.registry.next_expiry().is_some_and(|expiry| expiry <= access.clock.now());
        if versions.registry != known.registry || has_expired {
            // Both or neither: no version would show that the names of blocks were not resolved
            // again.
            let mut next = newer.clone();
            let done = next.follow_registry(store, access).await;
            if done.is_ok() {
                newer = next;
            }
            read.push(done);
        }
        if versions.keys != known.keys {
            read.push(newer.read_keys(store, master).await);
        }
        // A stopped approval raises the revocations, which the commit compares. So no snapshot has
        // revocations that are newer than the versions beside approvals that are older.
        if approvals != self.approvals.version() || newer.versions().revocations != versions.revocations {
            newer.follow_approvals(store).await;
        }
        let is_newer = newer.versions() != known
            || !Arc::ptr_eq(&newer.registry, &self.registry)
            || newer.approvals.version() != self.approvals.version();
        (is_newer.then_some(newer), read.into_iter().collect())
    }

    /// Reads the registry. Reads the revocations too if issuers have aliases: the issuer names of
    /// blocks may now resolve to other issuers.
    async fn follow_registry(&mut self, store: &dyn Store, access: &KeyAccess) -> Result<(), SnapshotError> {
        let had_aliases = self.registry.has_aliases();
        self.read_registry(store, access).await?;
        if had_aliases || self.registry.has_aliases() {
            self.read_revocations(store).await?;
        }
        Ok(())
    }

    /// Adds the faults that an inspection of the tables has found. Returns `None` if they are
    /// known.
    ///
    /// An inspection compares codes alone. Faults found when the rows were read stay until the next
    /// read.
    pub(super) fn inspected(&self, found: &[TableFault]) -> Option<Self> {
        let mut faults = self.faults.clone();
        for fault in found {
            let of_table = match fault.table() {
                "entries" => &mut faults.registry,
                "signing_keys" => &mut faults.keys,
                Approvals::TABLE => &mut faults.approvals,
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
        // Expired revocations are dropped when all are read, often enough that they are never most
        // of them.
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
        // A revocation that was removed outside the server stays in force where it is known. So
        // does an altered revocation, because its name may be the altered part.
        let is_sound = is_whole && faults.is_empty();
        let read =
            if is_sound { Revocations::from_rows(version, &rows) } else { self.revocations.with(version, &rows) };
        self.revocations = Arc::new(read);
        self.faults.revocations = faults;
        Ok(())
    }

    /// Replaces the alias of an issuer in each row by the name of its principals. A block covers
    /// all names of an issuer, including names that the issuer gets later.
    fn canonical(&self, mut rows: Vec<RevocationRow>) -> Vec<RevocationRow> {
        if self.registry.has_aliases() {
            for issuer in rows.iter_mut().filter_map(|row| row.issuer.as_mut()) {
                *issuer = self.registry.principal_iss(issuer);
            }
        }
        rows
    }

    async fn read_registry(&mut self, store: &dyn Store, access: &KeyAccess) -> Result<(), SnapshotError> {
        let (registry, faults) = Registry::of(&store.entries().await?, &self.registry, access.clock.now());
        self.trusted = Arc::new(TrustedKeys::new(&registry, &self.trusted, access));
        self.registry = Arc::new(registry);
        self.faults.registry = faults;
        Ok(())
    }

    /// Reads the approvals. Without them nothing is issued that needs one, and the rest goes on.
    async fn follow_approvals(&mut self, store: &dyn Store) {
        if let Err(error) = self.read_approvals(store).await {
            // Logged once: the next read compares with the version of no approvals.
            if self.approvals.is_read() {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "failed to read the approvals: none counts until they can be read");
            }
            self.approvals = Arc::default();
            self.faults.approvals = Vec::new();
        }
    }

    /// Reads the approvals that changed, or all of them.
    async fn read_approvals(&mut self, store: &dyn Store) -> Result<(), SnapshotError> {
        if let Some(held) = self.approvals.held()
            && let Some(changes) = store.approvals_after(held).await?
            && let Some(approvals) = self.approvals.after(changes)
        {
            self.approvals = Arc::new(approvals);
            self.faults.approvals = Vec::new();
            return Ok(());
        }
        let (approvals, faults) = Approvals::of(&store.approvals().await?);
        self.approvals = Arc::new(approvals);
        self.faults.approvals = faults;
        Ok(())
    }

    async fn read_keys(&mut self, store: &dyn Store, master: &MasterKey) -> Result<(), SnapshotError> {
        let (ring, faults) = KeyRing::of(&store.keys().await?, master, &self.ring);
        self.ring = Arc::new(ring);
        self.faults.keys = faults;
        Ok(())
    }
}
