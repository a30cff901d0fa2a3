//! The service: the state that all requests share, and how it follows the database.
//!
//! What lives here: the snapshot of the database ([`Snapshot`]), what one request reads of it (`view`), and whether it may be issued by.
//! What must never: a step of a request; `exchange` has their order. Another table that requests read is a field of [`Snapshot`].

mod database_clock;
mod observe;
mod readiness;
mod refusal_log;
mod snapshot;
mod suppressed_refusals;
mod view;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use sts_jose::{Clock, Entropy};
use thiserror::Error;
use tokio::sync::Semaphore;

pub use snapshot::{Snapshot, SnapshotError};
pub(crate) use suppressed_refusals::RefusedParty;
pub(crate) use view::View;

use crate::client_auth::SecretCheck;
use crate::config::{Config, Limits};
use crate::keys::{KeyAccess, MasterKey};
use crate::mint;
use crate::rate_limits::RateLimits;
use crate::record::{Recorder, Writer};
use crate::storage::{DatabaseState, StorageError, Store, TableFault, Versions};
use crate::telemetry::Metrics;
use crate::ttl::Ttl;
use database_clock::DatabaseClock;
use refusal_log::RefusalLog;
use suppressed_refusals::SuppressedRefusals;

/// How old a snapshot may be for an answer that no commit confirms, in milliseconds.
const STALE_MILLISECONDS: i64 = 2_000;
/// The time that a request waits for a snapshot that is newer than one that is too old to issue by.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// The greatest age of a snapshot that tokens are issued by, in milliseconds.
const UNCONFIRMED_MILLISECONDS: i64 = 30_000;

/// The service: what every request reads, and the one way to commit.
#[derive(Debug)]
pub struct Sts {
    issuer: String,
    pub(crate) limits: Limits,
    rotate_every: Ttl,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) master: Arc<MasterKey>,
    key_access: KeyAccess,
    pub(crate) entropy: Arc<dyn Entropy>,
    snapshot: ArcSwap<Snapshot>,
    /// The time at which the snapshot was last known to equal the database, in milliseconds since the epoch.
    confirmed_at: AtomicI64,
    database_clock: DatabaseClock,
    /// One refresh at a time: a slower one must not put an older snapshot in the place of a newer.
    refreshing: Semaphore,
    metrics: Metrics,
    pub(crate) recorder: Recorder,
    secrets: SecretCheck,
    rates: RateLimits,
    pub(crate) refusals: SuppressedRefusals,
    refusal_log: RefusalLog,
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

/// The view of the database is too old to issue by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the view of registry, keys and revocations has not been confirmed for {seconds} s")]
pub struct Unconfirmed {
    /// The age of the view.
    pub seconds: i64,
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
            database_clock: DatabaseClock::new(confirmed_at),
            refreshing: Semaphore::new(1),
            metrics,
            recorder,
            secrets,
            rates: RateLimits::new(&config.limits),
            refusals: SuppressedRefusals::new(config.limits.refusals_per_minute_per_client),
            refusal_log: RefusalLog::new(),
        })
    }

    /// Our issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A new unique name, for a request that brings none.
    #[must_use]
    pub fn new_name(&self) -> String {
        mint::name(self.key_access.clock.now(), &*self.entropy)
    }

    /// The view of a request that arrives now.
    pub(crate) fn view(&self) -> View<'_> {
        View { sts: self, snapshot: self.snapshot(), now: self.now() }
    }

    /// The present snapshot of the database.
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
        let (newer, read) = present.refreshed(&versions, &*self.store, &self.master, &self.key_access).await;
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
    pub(crate) async fn refresh_if_stale(&self) -> Result<(), SnapshotError> {
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
    pub(crate) async fn latest_view(&self) -> View<'_> {
        if !self.is_trusted() {
            // A database that does not answer delays a request by this time at most. After a failure the view is the old one, which
            // `confirm` refuses.
            let _read = tokio::time::timeout(READ_PATIENCE, self.refresh_if_stale()).await;
        }
        self.view()
    }

    /// Says whether tokens may be issued by the present view.
    ///
    /// # Errors
    /// [`Unconfirmed`].
    pub(crate) fn confirm(&self) -> Result<(), Unconfirmed> {
        if self.is_trusted() { Ok(()) } else { Err(Unconfirmed { seconds: self.snapshot_age() / 1000 }) }
    }

    /// True if the view was confirmed lately enough to issue by it.
    fn is_trusted(&self) -> bool {
        (-UNCONFIRMED_MILLISECONDS..UNCONFIRMED_MILLISECONDS).contains(&self.snapshot_age())
    }

    /// How long ago the snapshot was known to be what the database holds, in milliseconds.
    fn snapshot_age(&self) -> i64 {
        self.now().as_millisecond() - self.confirmed_at.load(Ordering::Acquire)
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.key_access.clock.now()
    }

    /// The metrics of this server.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The limits on requests and failed attempts.
    #[must_use]
    pub fn rates(&self) -> &RateLimits {
        &self.rates
    }

    /// The check of secrets, which bounds how many are computed at once.
    #[must_use]
    pub fn secrets(&self) -> &SecretCheck {
        &self.secrets
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
