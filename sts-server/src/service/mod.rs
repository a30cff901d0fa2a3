//! The service: the state that all requests share, and its synchronization with the database.
//!
//! What lives here: the snapshot of the database ([`Snapshot`]), the view of one request (`view`),
//! and the check that the snapshot is fresh enough to issue tokens. What must never: a step of a
//! request; `exchange` has their order. Another table that requests read is a field of
//! [`Snapshot`].

mod database_clock;
mod observe;
mod readiness;
mod refusal_log;
mod snapshot;
mod suppressed_refusals;
mod view;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use sts_jose::{Clock, Entropy};
use thiserror::Error;
use tokio::sync::Semaphore;

pub use snapshot::{Snapshot, SnapshotError};
pub(crate) use suppressed_refusals::RefusedParty;
pub(crate) use view::View;

use crate::client_auth::{ProofChecks, ProofNonces, SecretCheck};
use crate::config::{Config, DpopNonce, Limits};
use crate::keys::{KeyAccess, MasterKey};
use crate::mint;
use crate::notices::Notices;
use crate::rate_limits::RateLimits;
use crate::record::{Recorder, Writer};
use crate::storage::{DatabaseState, StorageError, Store, TableFault, Version, Versions};
use crate::telemetry::Metrics;
use crate::ttl::Ttl;
use database_clock::DatabaseClock;
use refusal_log::RefusalLog;
use suppressed_refusals::SuppressedRefusals;

/// The maximum age of a snapshot for an answer that no commit confirms, in milliseconds.
const STALE_MILLISECONDS: i64 = 2_000;
/// The maximum time that a request waits for a newer snapshot if the present one is too old to
/// issue tokens.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// The maximum age of a snapshot that tokens are issued by, in milliseconds.
const UNCONFIRMED_MILLISECONDS: i64 = 30_000;

/// The service: the data that every request reads, and the only path to a commit.
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
    /// The time at which the snapshot was last known to equal the database, in milliseconds since
    /// the epoch.
    confirmed_at: AtomicI64,
    database_clock: DatabaseClock,
    /// False if the database lacks the synchronous standby that the configuration requires.
    is_synchronous: AtomicBool,
    /// Allows one refresh at a time. A slower refresh must not replace a newer snapshot with an
    /// older one.
    refreshing: Semaphore,
    refreshes: Refreshes,
    metrics: Metrics,
    pub(crate) recorder: Recorder,
    secrets: SecretCheck,
    proofs: ProofChecks,
    rates: RateLimits,
    pub(crate) notices: Notices,
    pub(crate) refusals: SuppressedRefusals,
    refusal_log: RefusalLog,
}

/// The numbers of the last refresh that has begun, and of the last one that succeeded.
#[derive(Debug, Default)]
struct Refreshes {
    begun: AtomicU64,
    succeeded: AtomicU64,
}

/// The parts that a service is built from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The database, migrated.
    pub store: Arc<dyn Store>,
    /// The master key, which opens the signing keys.
    pub master: Arc<MasterKey>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// The snapshot is too old to issue tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the view of registry, keys and revocations has not been confirmed for {seconds} s")]
pub struct Unconfirmed {
    /// The age of the snapshot, in seconds.
    pub seconds: i64,
}

impl Sts {
    /// Reads the database and starts the recorder. The signing keys must exist.
    ///
    /// # Errors
    /// [`SnapshotError`] if the content of the database cannot be read.
    pub async fn start(config: &Config, parts: Parts) -> Result<Self, SnapshotError> {
        let confirmed_at = parts.clock.now();
        let key_access = KeyAccess { clock: Arc::clone(&parts.clock), egress: config.egress.proxies.clone() };
        let snapshot = Snapshot::load(&*parts.store, &parts.master, &key_access).await?;
        snapshot.faults().for_each(raise_alarm);
        // A snapshot that was never whole was never confirmed.
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
        let nonces = match config.dpop.nonce {
            DpopNonce::Off => None,
            DpopNonce::Required => Some(ProofNonces::new(parts.master.proof_nonces().clone())),
        };
        let proofs = ProofChecks::new(config.dpop.max_age.as_duration(), nonces);
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
            is_synchronous: AtomicBool::new(true),
            refreshing: Semaphore::new(1),
            refreshes: Refreshes::default(),
            metrics,
            recorder,
            secrets,
            proofs,
            rates: RateLimits::new(&config.limits),
            notices: Notices::default(),
            refusals: SuppressedRefusals::new(config.limits.refusals_per_minute_per_client),
            refusal_log: RefusalLog::new(),
        })
    }

    /// Sends notices of approvals that wait.
    #[must_use]
    pub fn notifying(self, notices: Notices) -> Self {
        notices.follow(&self.snapshot().approvals);
        Self { notices, ..self }
    }

    /// Returns our issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns a new unique id, for a request without a correlation id.
    #[must_use]
    pub fn new_name(&self) -> String {
        mint::name(self.key_access.clock.now(), &*self.entropy)
    }

    /// Returns the view of a request that arrives now.
    pub(crate) fn view(&self) -> View<'_> {
        View { sts: self, snapshot: self.snapshot(), now: self.now() }
    }

    /// Returns the present snapshot of the database.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Reads the parts that have changed in the database since the present snapshot. Costs one read
    /// if nothing has changed. Concurrent calls share a read that began after they did: a change of
    /// the registry sends a whole batch of requests here.
    ///
    /// # Errors
    /// [`SnapshotError`]; a part that cannot be read keeps its old content.
    pub async fn refresh(&self) -> Result<(), SnapshotError> {
        let begun_before = self.refreshes.begun.load(Ordering::Acquire);
        let _turn = self.refreshing.acquire().await;
        if self.refreshes.succeeded.load(Ordering::Acquire) > begun_before {
            return Ok(());
        }
        let this = self.refreshes.begun.fetch_add(1, Ordering::AcqRel) + 1;
        self.read_again().await?;
        self.refreshes.succeeded.store(this, Ordering::Release);
        Ok(())
    }

    /// Follows the database and never returns. Reads changes at once if the database announces
    /// them, and otherwise within `look_every`.
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
                    tracing::warn!(error, left_out, "failed to follow changes in the database");
                }
            }
        }
    }

    async fn read_again(&self) -> Result<(), SnapshotError> {
        let (present, asked_at) = (self.snapshot(), self.key_access.clock.now());
        let (versions, approvals) = self.versions().await?;
        let (newer, read) =
            present.refreshed((&versions, approvals), &*self.store, &self.master, &self.key_access).await;
        if let Some(newer) = newer {
            self.adopt(&present, newer);
        }
        read?;
        if self.snapshot().is_whole() {
            self.confirmed_at.store(asked_at.as_millisecond(), Ordering::Release);
        }
        Ok(())
    }

    /// Compares the stored rows with the codes of the tables. Needed because a row that was removed
    /// outside the server raises no version.
    ///
    /// # Errors
    /// [`SnapshotError`] if the database cannot be read.
    pub async fn inspect(&self) -> Result<(), SnapshotError> {
        let found = self.store.inspect().await?;
        let _turn = self.refreshing.acquire().await;
        let present = self.snapshot();
        if let Some(newer) = present.inspected(&found) {
            self.adopt(&present, newer);
        }
        Ok(())
    }

    /// Replaces the snapshot, and logs new and resolved faults.
    fn adopt(&self, present: &Snapshot, newer: Snapshot) {
        report(present, &newer);
        self.notices.follow(&newer.approvals);
        self.snapshot.store(Arc::new(newer));
    }

    /// Reads the database again unless the snapshot was confirmed recently, for an answer that must
    /// not come from an old snapshot.
    pub(crate) async fn refresh_if_stale(&self) -> Result<(), SnapshotError> {
        if self.is_confirmed() {
            return Ok(());
        }
        let _turn = self.refreshing.acquire().await;
        // The refresh that held the permit before may have confirmed the snapshot.
        if self.is_confirmed() { Ok(()) } else { self.read_again().await }
    }

    fn is_confirmed(&self) -> bool {
        (0..STALE_MILLISECONDS).contains(&self.snapshot_age())
    }

    /// Returns the view of a request. Reads the database first if the snapshot is too old to issue
    /// tokens. If that fails, the old view still serves to refuse.
    pub(crate) async fn latest_view(&self) -> View<'_> {
        if !self.is_trusted() {
            // A silent database delays a request by at most this time. After a failure the view is
            // the old one, which `confirm` refuses.
            let _read = tokio::time::timeout(READ_PATIENCE, self.refresh_if_stale()).await;
        }
        self.view()
    }

    /// Checks that tokens may be issued by the present snapshot.
    ///
    /// # Errors
    /// [`Unconfirmed`] if the snapshot is too old.
    pub(crate) fn confirm(&self) -> Result<(), Unconfirmed> {
        if self.is_trusted() { Ok(()) } else { Err(Unconfirmed { seconds: self.snapshot_age() / 1000 }) }
    }

    /// Returns true if the snapshot was confirmed recently enough to issue tokens.
    fn is_trusted(&self) -> bool {
        (-UNCONFIRMED_MILLISECONDS..UNCONFIRMED_MILLISECONDS).contains(&self.snapshot_age())
    }

    /// Returns the time since the snapshot was last known to equal the database, in milliseconds.
    fn snapshot_age(&self) -> i64 {
        self.now().as_millisecond() - self.confirmed_at.load(Ordering::Acquire)
    }

    /// Returns the time at which the snapshot was last known to equal the database.
    #[must_use]
    pub fn confirmed_at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.confirmed_at.load(Ordering::Acquire)).unwrap_or(Timestamp::MIN)
    }

    /// Returns the present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.key_access.clock.now()
    }

    /// Returns the metrics of this server.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the limits on requests and failed attempts.
    #[must_use]
    pub fn rates(&self) -> &RateLimits {
        &self.rates
    }

    /// Returns the nonce of the next DPoP proof, if proofs need one.
    #[must_use]
    pub fn proof_nonce(&self) -> Option<String> {
        self.proofs.nonce(self.now())
    }

    /// Returns the check of secrets, which bounds the number of concurrent computations.
    #[must_use]
    pub fn secrets(&self) -> &SecretCheck {
        &self.secrets
    }

    /// Resolves when the recorder has stopped. No token can be issued after that.
    pub async fn recorder_ended(&self) {
        self.recorder.ended().await;
    }

    /// Reads the version counters, and compares the clocks.
    async fn versions(&self) -> Result<(Versions, Version), StorageError> {
        let before = self.key_access.clock.now();
        let DatabaseState { versions, approvals, time, is_synchronous } = self.store.state().await?;
        let after = self.key_access.clock.now();
        self.database_clock.compare(time, [before, after]);
        if self.is_synchronous.swap(is_synchronous, Ordering::Relaxed) != is_synchronous {
            if is_synchronous {
                tracing::info!("the database has a synchronous standby again");
            } else {
                tracing::error!(
                    "the database has no synchronous standby, which database.synchronous requires: not ready"
                );
            }
        }
        Ok((versions, approvals))
    }
}

/// The maximum number of faults that are logged individually.
const REPORTED: usize = 20;

fn report(before: &Snapshot, now: &Snapshot) {
    let known: HashSet<&TableFault> = before.faults().collect();
    let present: HashSet<&TableFault> = now.faults().collect();
    let mut new: Vec<&TableFault> = now.faults().filter(|fault| !known.contains(fault)).collect();
    if new.len() > REPORTED {
        tracing::error!(rows = new.len(), "many rows were altered outside the servers; the first ones follow");
        new.truncate(REPORTED);
    }
    new.into_iter().for_each(raise_alarm);
    let gone = known.difference(&present).count();
    if gone > 0 {
        tracing::info!(faults = gone, "the faults of stored rows are resolved");
    }
}

fn raise_alarm(fault: &TableFault) {
    match fault {
        TableFault::Altered { table, row } => {
            tracing::error!(table, row, "a row was written or altered outside the servers: it is disabled");
        }
        TableFault::Malformed { table, row, reason } => {
            tracing::error!(table, row, reason, "a row cannot be read: it is disabled");
        }
        TableFault::Incomplete { table } => tracing::error!(
            table,
            "rows were removed or restored outside the servers, or are sealed under another master key: no token is issued without a confirmed view"
        ),
    }
}
