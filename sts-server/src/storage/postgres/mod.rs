//! `PostgreSQL`, 15 or later.
//!
//! Every transaction runs under `READ COMMITTED`, requested explicitly: a statement sees all that
//! was committed before it. A read after a lock therefore sees the state that the lock protects.
//! Locks are taken in this order:
//!
//! | lock | shared | exclusive |
//! |---|---|---|
//! | the row `registry` of `counters` | | `change_entries`, `reseal`, `accept` |
//! | `transaction::KEYS`, advisory | | `change_keys`, `reseal`, `accept` |
//! | the row `keys` of `counters` | | `change_keys`, `reseal`, `accept` |
//! | `transaction::WRITERS`, advisory | adding tokens, audit rows or pending approvals, `purge` | all of the above, to raise a counter; `revoke`, `lift`, `change_approval` |
//! | the row `revocations` of `counters` | | `revoke`, `lift`, `change_approval`, `purge`, `reseal`, `accept` |
//! | the row `approvals` of `counters` | | `request_approval`, `change_approval`, `revoke`, `purge`, `reseal`, `accept` |
//!
//! Readers of audit rows take none of these locks. They wait until the transactions that hold the
//! lock of the writers at that moment have ended.
//!
//! Connections are separated, so that no read of an operator blocks issuance or the kill switch:
//!
//! | pool | connections | for |
//! |---|---|---|
//! | `watch` | 2 | following the database, readiness, revoking and lifting |
//! | `audit` | 2 | reading the audit log |
//! | `pool` | `database.max_connections` less the one that commits batches | everything else |

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

pub use self::error::ConnectError;

use self::announce::Announcements;
use self::error::PostgresError;
use self::hosts::Hosts;
use self::pool::Pool;
use self::writer::Writer;
use super::{
    ApprovalChange, ApprovalChanges, ApprovalConditions, ApprovalRequested, ApprovalRow, AuditCheckpoint, AuditFilter,
    AuditHead, AuditKeyRow, AuditPage, AuditRow, Changed, DatabaseState, DelegationUses, EntryChange, EntryRow, Fresh,
    HeldApprovals, KeyChanges, KeyRow, Location, OneTimeValue, RecordRows, RevocationKind, RevocationRow, RowCodes,
    StorageError, Store, Stored, StoredAuditRow, TableFault, TokenReference, TokenRow, Version, Versions,
};

mod announce;
mod approval;
mod audit;
mod audit_search;
mod audit_uses;
mod counter;
mod error;
mod hosts;
mod keys;
mod migrate;
mod pool;
mod pooler;
mod purge;
mod recode;
mod record;
mod registry;
mod revocation;
mod session;
mod standbys;
mod transaction;
mod writer;

/// The time that a caller waits for a connection, free or new.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// The time limit of a whole operation, in case the network hides the effect of the server's own
/// timeouts.
const ACT_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait for a standby after which a commit is given up. Its server has answered its requests.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);
/// The connections that follow the database, check readiness and revoke.
const WATCH_CONNECTIONS: u32 = 2;
const AUDIT_CONNECTIONS: u32 = 2;
/// The time in which a connection that returns to the pool must prove that it is usable.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that [`Store::close`] waits for the commit under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The [`Store`] on a `PostgreSQL` database.
pub struct PostgresStore {
    pools: Pools,
    /// The pool that reads registry, keys and revocations: an alias of another pool.
    reads: Pool,
    writer: Arc<Writer>,
    hosts: Arc<Hosts>,
    announcements: Arc<Announcements>,
    settled: Arc<audit_search::Settled>,
    codes: RowCodes,
}

/// The pools; they share no connection.
#[derive(Debug, Clone)]
struct Pools {
    pool: Pool,
    watch: Pool,
    audit: Pool,
}

impl Pools {
    /// Makes the pools. The general pool has up to `general` connections.
    fn of(hosts: &Arc<Hosts>, general: u32) -> Result<Self, StorageError> {
        let pool = |size| Pool::of(hosts, size).map_err(|error| StorageError::Broken(sqlx::Error::config(error)));
        Ok(Self { pool: pool(general)?, watch: pool(WATCH_CONNECTIONS)?, audit: pool(AUDIT_CONNECTIONS)? })
    }

    fn close(&self) {
        for pool in [&self.audit, &self.watch, &self.pool] {
            pool.close();
        }
    }
}

impl PostgresStore {
    /// Opens the database at this location with up to `max_connections` connections (at least 2),
    /// of which one commits batches.
    ///
    /// Opens up to five more: to follow the database and revoke, to receive notifications, and to
    /// read the audit log. Connects on first use, so the server may start later.
    ///
    /// # Errors
    ///
    /// [`StorageError::Broken`] for a malformed URL.
    pub fn open(location: &Location, codes: RowCodes) -> Result<Self, StorageError> {
        let hosts = Arc::new(Hosts::of(location)?);
        let pools = Pools::of(&hosts, location.max_connections.saturating_sub(1).max(1))?;
        Ok(Self {
            reads: pools.watch.clone(),
            pools,
            writer: Arc::new(Writer::of(Arc::clone(&hosts))),
            announcements: Arc::new(Announcements::of(Arc::clone(&hosts))),
            hosts,
            settled: Arc::default(),
            codes,
        })
    }
}

impl PostgresStore {
    /// Does the same as [`within`] for an operation that commits. If its commit waits for a standby
    /// in vain, the backend is ended, because it heeds no closed connection.
    async fn ending_waits<T>(
        &self,
        act: impl Future<Output = Result<T, PostgresError>> + Send,
    ) -> Result<T, StorageError> {
        let outcome = within(act).await;
        if matches!(&outcome, Err(StorageError::Unavailable(sqlx::Error::Io(_)))) {
            standbys::end_waiting(&self.hosts, GIVEN_UP_AFTER).await;
        }
        outcome
    }
}

impl Debug for PostgresStore {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PostgresStore").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Ends an operation that takes too long. The caller then cannot know if it was committed.
async fn within<T>(act: impl Future<Output = Result<T, PostgresError>> + Send) -> Result<T, StorageError> {
    match tokio::time::timeout(ACT_TIMEOUT, act).await {
        Ok(outcome) => Ok(outcome?),
        Err(elapsed) => Err(StorageError::Unavailable(sqlx::Error::Io(elapsed.into()))),
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self) -> Result<(), StorageError> {
        pooler::check(&self.hosts).await?;
        Ok(migrate::migrate(&self.hosts, &self.codes).await?)
    }

    async fn check_schema(&self) -> Result<(), StorageError> {
        within(migrate::check(&self.pools.watch)).await
    }

    async fn state(&self) -> Result<DatabaseState, StorageError> {
        within(registry::state(&self.pools.watch)).await
    }

    async fn changed(&self) {
        if !self.hosts.listens {
            return std::future::pending().await;
        }
        self.announcements.next().await;
    }

    async fn entries(&self) -> Result<Stored<EntryRow>, StorageError> {
        within(registry::entries(&self.reads, &self.codes)).await
    }

    async fn registry_generation(&self) -> Result<i64, StorageError> {
        within(registry::generation(&self.reads)).await
    }

    async fn change_entries(
        &self,
        expected: Version,
        changes: &[EntryChange],
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        self.ending_waits(registry::change_entries(&self.pools.pool, &self.codes, expected, changes, audit)).await
    }

    async fn keys(&self) -> Result<Stored<KeyRow>, StorageError> {
        within(keys::keys(&self.reads, &self.codes)).await
    }

    async fn change_keys(
        &self,
        expected: Version,
        changes: &KeyChanges,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        self.ending_waits(keys::change_keys(&self.pools.pool, &self.codes, expected, changes, audit)).await
    }

    async fn reseal(
        &self,
        expected: Version,
        changes: &KeyChanges,
        next: &RowCodes,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        self.ending_waits(keys::reseal(&self.pools.pool, [&self.codes, next], expected, changes, audit)).await
    }

    async fn accept(&self, audit: &[AuditRow]) -> Result<(), StorageError> {
        self.ending_waits(recode::accept(&self.pools.pool, &self.codes, audit)).await
    }

    async fn inspect(&self) -> Result<Vec<TableFault>, StorageError> {
        within(recode::inspect(&self.reads, &self.codes)).await
    }

    async fn check_codes(&self) -> Result<(), StorageError> {
        within(keys::check_codes(&self.reads, &self.codes)).await
    }

    async fn audit_keys(&self) -> Result<Vec<AuditKeyRow>, StorageError> {
        within(keys::audit_keys(&self.reads)).await
    }

    async fn revocations(&self) -> Result<Stored<RevocationRow>, StorageError> {
        within(revocation::revocations(&self.reads, &self.codes)).await
    }

    async fn revocations_after(&self, known: Version) -> Result<Option<(Version, Vec<RevocationRow>)>, StorageError> {
        within(revocation::revocations_after(&self.reads, known)).await
    }

    async fn revoke(&self, revocation: &RevocationRow, audit: &[AuditRow]) -> Result<(Version, u64), StorageError> {
        self.ending_waits(revocation::revoke(&self.pools.watch, &self.codes, revocation, audit)).await
    }

    async fn lift(
        &self,
        kind: RevocationKind,
        issuer: Option<&str>,
        value: &str,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError> {
        self.ending_waits(revocation::lift(&self.pools.watch, &self.codes, (kind, issuer, value), audit)).await
    }

    async fn approvals(&self) -> Result<Stored<ApprovalRow>, StorageError> {
        within(approval::approvals(&self.reads, &self.codes)).await
    }

    async fn approvals_after(&self, held: &HeldApprovals) -> Result<Option<ApprovalChanges>, StorageError> {
        within(approval::approvals_after(&self.reads, &self.codes, held)).await
    }

    async fn expired_approvals(&self, now: Timestamp) -> Result<Vec<ApprovalRow>, StorageError> {
        within(approval::expired(&self.reads, &self.codes, now)).await
    }

    async fn close_approvals(&self, changes: &[ApprovalChange]) -> Result<u64, StorageError> {
        self.ending_waits(approval::close(&self.pools.pool, &self.codes, changes)).await
    }

    async fn request_approval(
        &self,
        approval: &ApprovalRow,
        conditions: ApprovalConditions,
        audit: &[AuditRow],
    ) -> Result<ApprovalRequested, StorageError> {
        self.ending_waits(approval::request(&self.pools.pool, &self.codes, approval, conditions, audit)).await
    }

    async fn change_approval(
        &self,
        before: &ApprovalRow,
        after: &ApprovalRow,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError> {
        self.ending_waits(approval::change(&self.pools.watch, &self.codes, before, after, audit)).await
    }

    async fn record(
        &self,
        known: &[Versions],
        one_time: &[OneTimeValue],
        decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
    ) -> Result<(), StorageError> {
        self.ending_waits(self.writer.record(known, one_time, decide)).await
    }

    async fn probe(&self) -> Result<(), StorageError> {
        self.ending_waits(self.writer.probe()).await
    }

    async fn append_audit(&self, audit: &[AuditRow]) -> Result<(), StorageError> {
        self.ending_waits(audit::append(&self.pools.pool, audit)).await
    }

    async fn token(&self, jti: &str) -> Result<Option<TokenRow>, StorageError> {
        within(record::token(&self.pools.pool, jti)).await
    }

    async fn ancestors(&self, jti: &str) -> Result<Option<Vec<TokenReference>>, StorageError> {
        within(record::ancestors(&self.pools.pool, jti)).await
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<AuditPage, StorageError> {
        within(audit_search::audit(&self.pools.audit, &self.settled, filter, limit)).await
    }

    async fn audit_chain(&self, after: Option<(&str, i64)>, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError> {
        within(audit::chain(&self.pools.audit, after, limit)).await
    }

    async fn audit_heads(&self) -> Result<Vec<AuditHead>, StorageError> {
        within(audit::heads(&self.pools.audit)).await
    }

    async fn audit_checkpoints(&self, after: Option<&str>, limit: u32) -> Result<Vec<AuditCheckpoint>, StorageError> {
        within(audit::checkpoints(&self.pools.audit, after, limit)).await
    }

    async fn audit_checkpoints_of(&self, writers: &[&str]) -> Result<Vec<AuditCheckpoint>, StorageError> {
        within(audit::checkpoints_of(&self.pools.audit, writers)).await
    }

    async fn cut_audit(&self, through_id: i64, checkpoints: &[AuditCheckpoint]) -> Result<u64, StorageError> {
        within(audit::cut(&self.pools.pool, through_id, checkpoints)).await
    }

    async fn summarize_audit(&self) -> Result<u64, StorageError> {
        within(audit_search::summarize(&self.pools.pool, &self.settled)).await
    }

    async fn delegation_uses(&self, delegations: &[&str]) -> Result<DelegationUses, StorageError> {
        within(audit_uses::uses(&self.pools.audit, delegations)).await
    }

    async fn purge(&self) -> Result<u64, StorageError> {
        purge::purge(&self.pools.pool, &self.codes).await
    }

    fn for_operators(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(Self {
            pools: self.pools.clone(),
            reads: self.pools.pool.clone(),
            writer: Arc::clone(&self.writer),
            hosts: Arc::clone(&self.hosts),
            announcements: Arc::clone(&self.announcements),
            settled: Arc::clone(&self.settled),
            codes: self.codes.clone(),
        }))
    }

    async fn close(&self) {
        self.announcements.end();
        self.pools.close();
        // A commit that is still under way ends when the process exits.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.writer.close()).await;
    }
}
