//! The real store, plus the faults that a test asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sts_server::storage::{
    ApprovalChange, ApprovalChanges, ApprovalConditions, ApprovalRequested, ApprovalRow, AuditCheckpoint, AuditFilter,
    AuditHead, AuditKeyRow, AuditPage, AuditRow, Changed, DatabaseState, DelegationUses, EntryChange, EntryRow, Fresh,
    HeldApprovals, KeyChanges, KeyRow, OneTimeValue, RecordRows, RevocationKind, RevocationRow, RowCodes, StorageError,
    Store, Stored, StoredAuditRow, TableFault, TokenReference, TokenRow, Version, Versions,
};
use tokio::sync::watch;

/// How a store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// It does not answer at all.
    Everything,
    /// It does not record decisions.
    Record,
    /// It records decisions, and the answer is lost.
    RecordUnheard,
    /// It does not tell its versions.
    Versions,
    /// It tells these versions, whatever has changed since.
    OldVersions(DatabaseState),
    /// It does not read its approvals.
    Approvals,
    /// It reads changes of its approvals, and never all of them.
    WholeApprovals,
    /// It does not read the signing keys.
    Keys,
    /// It does not read the entries of the registry.
    Entries,
    /// It does not read the revocations.
    Revocations,
    /// It panics when decisions are to be recorded.
    Panics,
    /// It answers nobody who writes, until the fault is lifted; then it writes.
    Stalls,
    /// It answers no search of the audit log, ever.
    SilentAudit,
    /// It takes this long for each batch of decisions.
    Slow(Duration),
}

/// A store that fails while it is told to. Clones are one store.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    real: Arc<dyn Store>,
    fault: Arc<watch::Sender<Option<StoreFault>>>,
    state_reads: Arc<AtomicUsize>,
    purges: Arc<AtomicUsize>,
}

impl FaultyStore {
    /// A store that does not fail yet.
    #[must_use]
    pub fn new(real: Arc<dyn Store>) -> Self {
        Self { real, fault: Arc::default(), state_reads: Arc::default(), purges: Arc::default() }
    }

    /// The number of times that its versions were read.
    #[must_use]
    pub fn state_reads(&self) -> usize {
        self.state_reads.load(Ordering::Relaxed)
    }

    /// The number of times that expired rows were purged.
    #[must_use]
    pub fn purges(&self) -> usize {
        self.purges.load(Ordering::Relaxed)
    }

    /// From now on fails, or with `None` does not.
    pub fn fail(&self, fault: Option<StoreFault>) {
        self.fault.send_replace(fault);
    }

    fn fault(&self) -> Option<StoreFault> {
        *self.fault.borrow()
    }

    /// Returns when it does not stall.
    async fn moves(&self) {
        let mut fault = self.fault.subscribe();
        let _ours = fault.wait_for(|fault| *fault != Some(StoreFault::Stalls)).await;
    }

    fn unless(&self, faults: &[StoreFault]) -> Result<&dyn Store, StorageError> {
        let fails = self.fault().is_some_and(|fault| fault == StoreFault::Everything || faults.contains(&fault));
        if fails { Err(out_of_reach()) } else { Ok(&*self.real) }
    }
}

fn out_of_reach() -> StorageError {
    StorageError::Unavailable(sqlx::Error::PoolTimedOut)
}

#[async_trait]
impl Store for FaultyStore {
    async fn migrate(&self) -> Result<(), StorageError> {
        self.unless(&[])?.migrate().await
    }

    async fn check_schema(&self) -> Result<(), StorageError> {
        self.unless(&[])?.check_schema().await
    }

    async fn state(&self) -> Result<DatabaseState, StorageError> {
        self.state_reads.fetch_add(1, Ordering::Relaxed);
        match self.fault() {
            Some(StoreFault::OldVersions(state)) => Ok(state),
            _ => self.unless(&[StoreFault::Versions])?.state().await,
        }
    }

    async fn changed(&self) {
        self.real.changed().await;
    }

    async fn entries(&self) -> Result<Stored<EntryRow>, StorageError> {
        self.unless(&[StoreFault::Entries])?.entries().await
    }

    async fn registry_generation(&self) -> Result<i64, StorageError> {
        self.unless(&[])?.registry_generation().await
    }

    async fn change_entries(
        &self,
        expected: Version,
        changes: &[EntryChange],
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        self.unless(&[])?.change_entries(expected, changes, audit).await
    }

    async fn keys(&self) -> Result<Stored<KeyRow>, StorageError> {
        self.unless(&[StoreFault::Keys])?.keys().await
    }

    async fn change_keys(
        &self,
        expected: Version,
        changes: &KeyChanges,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        self.unless(&[])?.change_keys(expected, changes, audit).await
    }

    async fn reseal(
        &self,
        expected: Version,
        changes: &KeyChanges,
        next: &RowCodes,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        self.unless(&[])?.reseal(expected, changes, next, audit).await
    }

    async fn accept(&self, audit: &[AuditRow]) -> Result<(), StorageError> {
        self.unless(&[])?.accept(audit).await
    }

    async fn inspect(&self) -> Result<Vec<TableFault>, StorageError> {
        self.unless(&[])?.inspect().await
    }

    async fn check_codes(&self) -> Result<(), StorageError> {
        self.unless(&[])?.check_codes().await
    }

    async fn audit_keys(&self) -> Result<Vec<AuditKeyRow>, StorageError> {
        self.unless(&[])?.audit_keys().await
    }

    async fn revocations(&self) -> Result<Stored<RevocationRow>, StorageError> {
        self.unless(&[StoreFault::Revocations])?.revocations().await
    }

    async fn revocations_after(&self, known: Version) -> Result<Option<(Version, Vec<RevocationRow>)>, StorageError> {
        self.unless(&[])?.revocations_after(known).await
    }

    async fn revoke(&self, revocation: &RevocationRow, audit: &[AuditRow]) -> Result<(Version, u64), StorageError> {
        self.moves().await;
        self.unless(&[])?.revoke(revocation, audit).await
    }

    async fn lift(
        &self,
        kind: RevocationKind,
        issuer: Option<&str>,
        value: &str,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError> {
        self.unless(&[])?.lift(kind, issuer, value, audit).await
    }

    async fn approvals(&self) -> Result<Stored<ApprovalRow>, StorageError> {
        self.unless(&[StoreFault::Approvals, StoreFault::WholeApprovals])?.approvals().await
    }

    async fn approvals_after(&self, held: &HeldApprovals) -> Result<Option<ApprovalChanges>, StorageError> {
        self.unless(&[StoreFault::Approvals])?.approvals_after(held).await
    }

    async fn expired_approvals(&self, now: Timestamp) -> Result<Vec<ApprovalRow>, StorageError> {
        self.unless(&[StoreFault::Approvals])?.expired_approvals(now).await
    }

    async fn close_approvals(&self, changes: &[ApprovalChange]) -> Result<u64, StorageError> {
        self.moves().await;
        self.unless(&[StoreFault::Record])?.close_approvals(changes).await
    }

    async fn request_approval(
        &self,
        approval: &ApprovalRow,
        conditions: ApprovalConditions,
        audit: &[AuditRow],
    ) -> Result<ApprovalRequested, StorageError> {
        self.moves().await;
        self.unless(&[StoreFault::Record])?.request_approval(approval, conditions, audit).await
    }

    async fn change_approval(
        &self,
        before: &ApprovalRow,
        after: &ApprovalRow,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError> {
        self.moves().await;
        self.unless(&[])?.change_approval(before, after, audit).await
    }

    async fn record(
        &self,
        known: &[Versions],
        one_time: &[OneTimeValue],
        decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
    ) -> Result<(), StorageError> {
        self.moves().await;
        match self.fault() {
            Some(StoreFault::Slow(time)) => tokio::time::sleep(time).await,
            Some(StoreFault::Panics) => panic!("a store that panics"),
            _ => {}
        }
        let recorded = self.unless(&[StoreFault::Record])?.record(known, one_time, decide).await;
        if self.fault() == Some(StoreFault::RecordUnheard) { Err(out_of_reach()) } else { recorded }
    }

    async fn probe(&self) -> Result<(), StorageError> {
        self.moves().await;
        self.unless(&[StoreFault::Record, StoreFault::RecordUnheard])?.probe().await
    }

    async fn append_audit(&self, audit: &[AuditRow]) -> Result<(), StorageError> {
        self.unless(&[StoreFault::Record])?.append_audit(audit).await
    }

    async fn token(&self, jti: &str) -> Result<Option<TokenRow>, StorageError> {
        self.unless(&[])?.token(jti).await
    }

    async fn ancestors(&self, jti: &str) -> Result<Option<Vec<TokenReference>>, StorageError> {
        self.unless(&[])?.ancestors(jti).await
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<AuditPage, StorageError> {
        if self.fault() == Some(StoreFault::SilentAudit) {
            return std::future::pending().await;
        }
        self.unless(&[])?.audit(filter, limit).await
    }

    async fn audit_chain(&self, after: Option<(&str, i64)>, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError> {
        self.unless(&[])?.audit_chain(after, limit).await
    }

    async fn audit_heads(&self) -> Result<Vec<AuditHead>, StorageError> {
        self.unless(&[])?.audit_heads().await
    }

    async fn audit_checkpoints(&self, after: Option<&str>, limit: u32) -> Result<Vec<AuditCheckpoint>, StorageError> {
        self.unless(&[])?.audit_checkpoints(after, limit).await
    }

    async fn audit_checkpoints_of(&self, writers: &[&str]) -> Result<Vec<AuditCheckpoint>, StorageError> {
        self.unless(&[])?.audit_checkpoints_of(writers).await
    }

    async fn cut_audit(&self, through_id: i64, checkpoints: &[AuditCheckpoint]) -> Result<u64, StorageError> {
        self.unless(&[])?.cut_audit(through_id, checkpoints).await
    }

    async fn summarize_audit(&self) -> Result<u64, StorageError> {
        self.unless(&[])?.summarize_audit().await
    }

    async fn delegation_uses(&self, delegations: &[&str]) -> Result<DelegationUses, StorageError> {
        self.unless(&[])?.delegation_uses(delegations).await
    }

    async fn purge(&self) -> Result<u64, StorageError> {
        self.purges.fetch_add(1, Ordering::Relaxed);
        self.unless(&[])?.purge().await
    }

    async fn close(&self) {
        self.real.close().await;
    }
}
