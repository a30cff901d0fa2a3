//! What requests read instead of the database: one consistent view, replaced whole.

use std::sync::Arc;

use jiff::Timestamp;
use sts_jose::Clock;
use thiserror::Error;

use crate::keys::{KeyRing, KeyRingError, MasterKey, TrustedKeys};
use crate::record::Revocations;
use crate::registry::{Registry, RegistryError};
use crate::storage::{StorageError, Store, Versions};
use crate::verify;

/// Registry, keys and revocations at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The entries.
    pub registry: Arc<Registry>,
    /// The keys of others.
    pub trusted: Arc<TrustedKeys>,
    /// Our keys.
    pub ring: Arc<KeyRing>,
    /// What stands revoked.
    pub revocations: Arc<Revocations>,
}

/// The database's content cannot be read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The database failed.
    #[error("the database cannot be read")]
    Storage(#[from] StorageError),
    /// The registry cannot be read.
    #[error("the stored registry cannot be read")]
    Registry(#[from] RegistryError),
    /// The signing keys cannot be read.
    #[error("the stored signing keys cannot be read")]
    Keys(#[from] KeyRingError),
}

impl Snapshot {
    /// Reads everything.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub async fn load(store: &dyn Store, master: &MasterKey, clock: &Arc<dyn Clock>) -> Result<Self, SnapshotError> {
        let (version, rows) = store.entries().await?;
        let registry = Registry::from_rows(version, &rows)?;
        let (version, rows) = store.keys().await?;
        let ring = KeyRing::from_rows(version, &rows, master, &KeyRing::default())?;
        let (version, rows) = store.revocations().await?;
        Ok(Self {
            trusted: Arc::new(TrustedKeys::new(&registry, &TrustedKeys::default(), clock)),
            registry: Arc::new(registry),
            ring: Arc::new(ring),
            revocations: Arc::new(Revocations::from_rows(version, &rows)),
        })
    }

    /// Reads what has changed since, by what the counters say; `None` when nothing has. What cannot be read stays as it was, and does
    /// not keep the rest from being followed.
    pub(super) async fn refreshed(
        &self,
        versions: &Versions,
        store: &dyn Store,
        (master, clock): (&MasterKey, &Arc<dyn Clock>),
    ) -> (Option<Self>, Result<(), SnapshotError>) {
        let mut newer = Self {
            registry: Arc::clone(&self.registry),
            trusted: Arc::clone(&self.trusted),
            ring: Arc::clone(&self.ring),
            revocations: Arc::clone(&self.revocations),
        };
        let read = [
            newer.follow_revocations(versions, store).await,
            newer.follow_registry(versions, store, clock).await,
            newer.follow_keys(versions, store, master).await,
        ];
        ((!newer.is(self)).then_some(newer), read.into_iter().collect())
    }

    async fn follow_revocations(&mut self, versions: &Versions, store: &dyn Store) -> Result<(), SnapshotError> {
        if versions.revocations != self.revocations.version() {
            let (version, rows) = store.revocations().await?;
            self.revocations = Arc::new(Revocations::from_rows(version, &rows));
        }
        Ok(())
    }

    async fn follow_registry(
        &mut self,
        versions: &Versions,
        store: &dyn Store,
        clock: &Arc<dyn Clock>,
    ) -> Result<(), SnapshotError> {
        if versions.registry != self.registry.version() {
            let (version, rows) = store.entries().await?;
            let registry = Registry::from_rows(version, &rows)?;
            self.trusted = Arc::new(TrustedKeys::new(&registry, &self.trusted, clock));
            self.registry = Arc::new(registry);
        }
        Ok(())
    }

    async fn follow_keys(
        &mut self,
        versions: &Versions,
        store: &dyn Store,
        master: &MasterKey,
    ) -> Result<(), SnapshotError> {
        if versions.keys != self.ring.version() {
            let (version, rows) = store.keys().await?;
            self.ring = Arc::new(KeyRing::from_rows(version, &rows, master, &self.ring)?);
        }
        Ok(())
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.registry, &other.registry)
            && Arc::ptr_eq(&self.ring, &other.ring)
            && Arc::ptr_eq(&self.revocations, &other.revocations)
    }

    /// What verifying a subject token reads.
    #[must_use]
    pub fn verify_context<'a>(&'a self, issuer: &'a str, now: Timestamp) -> verify::Context<'a> {
        verify::Context {
            registry: &self.registry,
            trusted: &self.trusted,
            ring: &self.ring,
            revocations: &self.revocations,
            issuer,
            now,
        }
    }
}
