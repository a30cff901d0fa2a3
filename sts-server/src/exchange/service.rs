//! The service: what requests share, and how it follows the database.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use sts_jose::{Clock, Entropy};
use tokio::sync::Semaphore;

use super::attempts::Attempts;
use super::database_clock::DatabaseClock;
use super::rates::Rates;
use super::refusal_log::RefusalLog;
use super::refusals::Refusals;
use super::{Refusal, Snapshot, SnapshotError};
use crate::client_auth::SecretCheck;
use crate::config::{Config, Limits};
use crate::keys::{KeyAccess, MasterKey};
use crate::mint;
use crate::record::{Recorder, Writer};
use crate::storage::{DatabaseState, StorageError, Store, TableFault, Versions};
use crate::telemetry::Metrics;
use crate::ttl::Ttl;

/// How old a snapshot may be for an answer that no commit confirms, in milliseconds.
const STALE_MILLISECONDS: i64 = 2_000;
/// The time that a request waits for a snapshot that is newer than one that is too old to issue by.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// The greatest age of a snapshot that tokens are issued by, in milliseconds.
const UNCONFIRMED_MILLISECONDS: i64 = 30_000;

/// The service: what every request reads, and the one way to commit.
#[derive(Debug)]
pub struct Sts {
    pub(super) issuer: String,
    pub(super) limits: Limits,
    pub(super) rotate_every: Ttl,
    pub(super) store: Arc<dyn Store>,
    pub(super) master: Arc<MasterKey>,
    key_access: KeyAccess,
    pub(super) entropy: Arc<dyn Entropy>,
    snapshot: ArcSwap<Snapshot>,
    /// When the snapshot was last known to be what the database holds, in milliseconds since the epoch.
    confirmed_at: AtomicI64,
    pub(super) database_clock: DatabaseClock,
    /// One refresh at a time: a slower one must not put an older snapshot in the place of a newer.
    refreshing: Semaphore,
    /// When the database answered last, in milliseconds since the epoch.
    database_read_at: AtomicI64,
    /// How far the database's clock was ahead then, in milliseconds.
    database_ahead: AtomicI64,
    pub(super) metrics: Metrics,
    pub(super) recorder: Recorder,
    pub(super) secrets: SecretCheck,
    pub(super) attempts: Attempts,
    pub(super) rates: Rates,
    pub(super) refusals: Refusals,
    pub(super) refusal_log: RefusalLog,
}

/// What the service is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The database, migrated.
    pub store: Arc<dyn Store>,
    /// The master key.
    pub master: Arc<MasterKey>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

/// What one request goes by from its first step to its last: one snapshot, one moment.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) now: Timestamp,
}

impl Sts {
    /// Reads the database and starts the recorder. Keys must be there already.
    ///
    /// # Errors
    /// [`SnapshotError`] when the database's content cannot be read.
    pub async fn start(config: &Config, parts: Parts) -> Result<Self, SnapshotError> {
        let confirmed_at = parts.clock.now();
        let key_access = KeyAccess { clock: Arc::clone(&parts.clock), egress: config.egress.proxies.clone() };
        let snapshot = Snapshot::load(&*parts.store, &parts.master, &key_access).await?;
        snapshot.faults().for_each(raise_alarm);
        // A view that was never whole was never confirmed.
        let confirmed_at = if snapshot.is_whole() { confirmed_at } else { Timestamp::UNIX_EPOCH };
        let metrics = Metrics::new();
        let (store, entropy) = (Arc::clone(&parts.store), Arc::clone(&parts.entropy));
        let writer = Writer {
            store,
            key: parts.master.audit().clone(),
            entropy,
            metrics: metrics.clone(),
            patience: config.limits.patience(),
        };
        let recorder = Recorder::start(writer);
        let secrets = SecretCheck::new(&*parts.entropy);
        Ok(Self {
            issuer: config.issuer.clone(),
            limits: config.limits.clone(),
            rotate_every: config.keys.rotate_every,
            store: parts.store,
            master: parts.master,
            key_access,
            entropy: parts.entropy,
            snapshot: ArcSwap::from_pointee(snapshot),
            confirmed_at: AtomicI64::new(confirmed_at.as_millisecond()),
            database_clock: DatabaseClock::default(),
            refreshing: Semaphore::new(1),
            database_read_at: AtomicI64::new(confirmed_at.as_millisecond()),
            database_ahead: AtomicI64::new(0),
            metrics,
            recorder,
            secrets,
            attempts: Attempts::new(config.limits.failed_attempts_per_minute),
            rates: Rates::new(&config.limits),
            refusals: Refusals::new(config.limits.refusals_per_minute_per_client),
            refusal_log: RefusalLog::new(),
        })
    }

    /// Our issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A name that nobody else has, for a request that brings none.
    #[must_use]
    pub fn new_name(&self) -> String {
        mint::name(self.key_access.clock.now(), &*self.entropy)
    }

    /// What a request that comes now goes by.
    pub(super) fn view(&self) -> View {
        View { snapshot: self.snapshot(), now: self.key_access.clock.now() }
    }

    /// What requests read now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Reads again what has changed in the database since the present snapshot. One read when nothing has.
    ///
    /// # Errors
    /// [`SnapshotError`]; what cannot be read stays as it was.
    pub async fn refresh(&self) -> Result<(), SnapshotError> {
        let _turn = self.refreshing.acquire().await;
        self.read_again().await
    }

    /// Follows the database for ever: reads again what has changed, at once where the database announces it, and else within
    /// `look_every`.
    pub async fn follow(&self, look_every: Duration) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(look_every) => {}
                () = self.store.changed() => {}
            }
            if let Err(error) = self.refresh().await {
                self.metrics.follow_failed();
                if let Some(left_out) = self.metrics.log_limit().pass("follow") {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, left_out, "changes in the database cannot be followed");
                }
            }
        }
    }

    async fn read_again(&self) -> Result<(), SnapshotError> {
        let (present, asked_at) = (self.snapshot(), self.key_access.clock.now());
        let versions = self.versions().await?;
        let (newer, read) = present.refreshed(&versions, &*self.store, (&self.master, &self.key_access)).await;
        if let Some(newer) = newer {
            self.adopt(&present, newer);
        }
        read?;
        if self.snapshot().is_whole() {
            self.confirmed_at.store(asked_at.as_millisecond(), Ordering::Release);
        }
        Ok(())
    }

    /// Compares what is stored with the codes of the tables: a row that was removed past the servers raises no version.
    ///
    /// # Errors
    /// [`SnapshotError`] when the database cannot be read.
    pub async fn inspect(&self) -> Result<(), SnapshotError> {
        let found = self.store.inspect().await?;
        let _turn = self.refreshing.acquire().await;
        let present = self.snapshot();
        if let Some(newer) = present.inspected(&found) {
            self.adopt(&present, newer);
        }
        Ok(())
    }

    /// Takes up a newer snapshot, and says which faults are new and which are gone.
    fn adopt(&self, present: &Snapshot, newer: Snapshot) {
        report(present, &newer);
        self.snapshot.store(Arc::new(newer));
    }

    /// Reads again if the snapshot has not been confirmed for a while, for an answer that must not come from an old one.
    pub(super) async fn refresh_if_stale(&self) -> Result<(), SnapshotError> {
        if self.is_confirmed() {
            return Ok(());
        }
        let _turn = self.refreshing.acquire().await;
        // The turn before may have read meanwhile.
        if self.is_confirmed() { Ok(()) } else { self.read_again().await }
    }

    fn is_confirmed(&self) -> bool {
        (0..STALE_MILLISECONDS).contains(&self.snapshot_age())
    }

    /// The view of a request: read again where it has become too old to issue by. Where that fails it still serves to refuse.
    pub(super) async fn latest_view(&self) -> View {
        if !self.is_trusted() {
            // A database that does not answer keeps a request for so long and no longer. What could not be read leaves the view as it is:
            // `confirm` tells.
            let _read = tokio::time::timeout(READ_PATIENCE, self.refresh_if_stale()).await;
        }
        self.view()
    }

    /// True if the view may be issued by. Nothing is issued by one that could not be confirmed for too long.
    ///
    /// # Errors
    /// [`Refusal::Unconfirmed`].
    pub(super) fn confirm(&self) -> Result<(), Refusal> {
        if self.is_trusted() { Ok(()) } else { Err(Refusal::Unconfirmed { seconds: self.snapshot_age() / 1000 }) }
    }

    /// True if the view was confirmed lately enough to issue by it.
    pub(super) fn is_trusted(&self) -> bool {
        (-UNCONFIRMED_MILLISECONDS..UNCONFIRMED_MILLISECONDS).contains(&self.snapshot_age())
    }

    /// How long ago the snapshot was known to be what the database holds, in milliseconds.
    pub(super) fn snapshot_age(&self) -> i64 {
        self.now().as_millisecond() - self.confirmed_at.load(Ordering::Acquire)
    }

    /// How long ago the database answered last, in milliseconds.
    pub(super) fn database_silence(&self) -> i64 {
        self.now().as_millisecond() - self.database_read_at.load(Ordering::Relaxed)
    }

    /// How far the database's clock was ahead then, in milliseconds.
    pub(super) fn database_ahead(&self) -> i64 {
        self.database_ahead.load(Ordering::Relaxed)
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.key_access.clock.now()
    }

    /// What is counted here.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns when the recorder has ended: no token can be issued any more.
    pub async fn recorder_ended(&self) {
        self.recorder.ended().await;
    }

    /// Reads the counters, and looks at the database's clock on the way.
    async fn versions(&self) -> Result<Versions, StorageError> {
        let before = self.key_access.clock.now();
        let DatabaseState { versions, time } = self.store.state().await?;
        let after = self.key_access.clock.now();
        self.database_clock.compare(time, [before, after]);
        self.database_read_at.store(after.as_millisecond(), Ordering::Relaxed);
        let ahead = time.as_millisecond() - after.as_millisecond();
        self.database_ahead.store(ahead, Ordering::Relaxed);
        Ok(versions)
    }
}

/// The most faults that are logged one by one.
const REPORTED: usize = 20;

fn report(before: &Snapshot, now: &Snapshot) {
    let known: HashSet<&TableFault> = before.faults().collect();
    let present: HashSet<&TableFault> = now.faults().collect();
    let mut new: Vec<&TableFault> = now.faults().filter(|fault| !known.contains(fault)).collect();
    if new.len() > REPORTED {
        tracing::error!(rows = new.len(), "many rows were altered past the servers; the first of them follow");
        new.truncate(REPORTED);
    }
    new.into_iter().for_each(raise_alarm);
    let gone = known.difference(&present).count();
    if gone > 0 {
        tracing::info!(faults = gone, "faults of stored rows are gone");
    }
}

fn raise_alarm(fault: &TableFault) {
    match fault {
        TableFault::Altered { table, row } => {
            tracing::error!(table, row, "a row was written or altered past the servers: it is disabled");
        }
        TableFault::Malformed { table, row, reason } => {
            tracing::error!(table, row, reason, "a row cannot be read: it is disabled");
        }
        TableFault::Incomplete { table } => tracing::error!(
            table,
            "rows were removed or put back past the servers, or are sealed under another master key: without a confirmed view nothing is issued"
        ),
    }
}
