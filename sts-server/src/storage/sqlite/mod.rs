//! `SQLite`: one file, any number of servers on one machine.
//!
//! A single connection writes. Its transactions take the write lock when they start
//! (`BEGIN IMMEDIATE`). At most one transaction of all servers therefore writes, and its reads stay
//! valid until it commits. Other connections read concurrently (WAL). A commit is on disk before it
//! is acknowledged (`synchronous = FULL`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Connection, Sqlite, SqlitePool, Transaction};

use self::error::SqliteError;
use super::{
    ApprovalChange, ApprovalChanges, ApprovalConditions, ApprovalRequested, ApprovalRow, AuditCheckpoint, AuditFilter,
    AuditHead, AuditKeyRow, AuditPage, AuditRow, Changed, DatabaseState, DelegationUses, EntryChange, EntryRow, Fresh,
    HeldApprovals, KeyChanges, KeyRow, OneTimeValue, RecordRows, RevocationKind, RevocationRow, RowCodes, StorageError,
    Store, Stored, StoredAuditRow, TableFault, TokenReference, TokenRow, Version, Versions,
};

mod approval;
mod audit;
mod audit_search;
mod audit_uses;
mod counter;
mod error;
mod file;
mod keys;
mod migrate;
mod portions;
mod purge;
mod recode;
mod record;
mod registry;
mod revocation;

/// The connections for all other reads.
const READERS: u32 = 4;
/// The connections that follow the database and check readiness.
const WATCH_READERS: u32 = 2;
const AUDIT_READERS: u32 = 2;
/// The time that a caller waits for a connection of this process. It is longer than another process
/// may block the writing connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);
/// The time that [`Store::close`] waits for connections in use.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The [`Store`] on a `SQLite` file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    watch: SqlitePool,
    audit: SqlitePool,
    /// The pool that reads registry, keys and revocations: an alias of another pool.
    reads: SqlitePool,
    codes: RowCodes,
}

impl SqliteStore {
    /// Opens the file of this URL. Creates a missing file, readable only by its owner; its
    /// directory must exist.
    ///
    /// # Errors
    ///
    /// [`StorageError::Broken`] for a malformed URL, for a database in memory (every connection
    /// would have a separate one), and for a file that cannot be created.
    /// [`StorageError::Unavailable`] for a file that stays locked or a disk that does not respond.
    pub async fn open(url: &str, codes: RowCodes) -> Result<Self, StorageError> {
        let options = file::options(url)?;
        file::create(options.get_filename())?;
        file::enter_wal(&options).await?;
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).idle_timeout(None).max_lifetime(None);
        let writer = pool.clone().max_connections(1).after_release(|connection, _| {
            Box::pin(async move {
                // After some errors (a full disk) `SQLite` has already rolled back. The driver's
                // own rollback then fails, and the driver believes that the connection is still in
                // a transaction. The ping completes that rollback first.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        });
        let reading = options.clone().pragma("query_only", "ON");
        let readers = |connections| pool.clone().max_connections(connections).connect_lazy_with(reading.clone());
        let watch = readers(WATCH_READERS);
        Ok(Self {
            writer: writer.connect_lazy_with(options),
            readers: readers(READERS),
            reads: watch.clone(),
            watch,
            audit: readers(AUDIT_READERS),
            codes,
        })
    }
}

/// Starts a transaction that writes.
async fn begin_immediate(writer: &SqlitePool) -> Result<Transaction<'static, Sqlite>, SqliteError> {
    Ok(writer.begin_with("BEGIN IMMEDIATE").await?)
}

#[async_trait]
impl Store for SqliteStore {
    async fn migrate(&self) -> Result<(), StorageError> {
        Ok(migrate::migrate(&self.writer, &self.codes).await?)
    }

    async fn check_schema(&self) -> Result<(), StorageError> {
        Ok(migrate::check(&self.watch).await?)
    }

    async fn state(&self) -> Result<DatabaseState, StorageError> {
        Ok(registry::state(&self.watch).await?)
    }

    async fn changed(&self) {
        // A file sends no notifications.
        std::future::pending().await
    }

    async fn entries(&self) -> Result<Stored<EntryRow>, StorageError> {
        Ok(registry::entries(&self.reads, &self.codes).await?)
    }

    async fn registry_generation(&self) -> Result<i64, StorageError> {
        Ok(registry::generation(&self.reads).await?)
    }

    async fn change_entries(
        &self,
        expected: Version,
        changes: &[EntryChange],
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        Ok(registry::change_entries(&self.writer, &self.codes, expected, changes, audit).await?)
    }

    async fn keys(&self) -> Result<Stored<KeyRow>, StorageError> {
        Ok(keys::keys(&self.reads, &self.codes).await?)
    }

    async fn change_keys(
        &self,
        expected: Version,
        changes: &KeyChanges,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        Ok(keys::change_keys(&self.writer, &self.codes, expected, changes, audit).await?)
    }

    async fn reseal(
        &self,
        expected: Version,
        changes: &KeyChanges,
        next: &RowCodes,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        Ok(keys::reseal(&self.writer, [&self.codes, next], expected, changes, audit).await?)
    }

    async fn accept(&self, audit: &[AuditRow]) -> Result<(), StorageError> {
        Ok(recode::accept(&self.writer, &self.codes, audit).await?)
    }

    async fn inspect(&self) -> Result<Vec<TableFault>, StorageError> {
        Ok(recode::inspect(&self.reads, &self.codes).await?)
    }

    async fn check_codes(&self) -> Result<(), StorageError> {
        Ok(keys::check_codes(&self.reads, &self.codes).await?)
    }

    async fn audit_keys(&self) -> Result<Vec<AuditKeyRow>, StorageError> {
        Ok(keys::audit_keys(&self.reads).await?)
    }

    async fn revocations(&self) -> Result<Stored<RevocationRow>, StorageError> {
        Ok(revocation::revocations(&self.reads, &self.codes).await?)
    }

    async fn revocations_after(&self, known: Version) -> Result<Option<(Version, Vec<RevocationRow>)>, StorageError> {
        Ok(revocation::revocations_after(&self.reads, known).await?)
    }

    async fn revoke(&self, revocation: &RevocationRow, audit: &[AuditRow]) -> Result<(Version, u64), StorageError> {
        Ok(revocation::revoke(&self.writer, &self.codes, revocation, audit).await?)
    }

    async fn lift(
        &self,
        kind: RevocationKind,
        issuer: Option<&str>,
        value: &str,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError> {
        Ok(revocation::lift(&self.writer, &self.codes, (kind, issuer, value), audit).await?)
    }

    async fn approvals(&self) -> Result<Stored<ApprovalRow>, StorageError> {
        Ok(approval::approvals(&self.reads, &self.codes).await?)
    }

    async fn approvals_after(&self, held: &HeldApprovals) -> Result<Option<ApprovalChanges>, StorageError> {
        Ok(approval::approvals_after(&self.reads, &self.codes, held).await?)
    }

    async fn expired_approvals(&self, now: Timestamp) -> Result<Vec<ApprovalRow>, StorageError> {
        Ok(approval::expired(&self.reads, &self.codes, now).await?)
    }

    async fn close_approvals(&self, changes: &[ApprovalChange]) -> Result<u64, StorageError> {
        Ok(approval::close(&self.writer, &self.codes, changes).await?)
    }

    async fn request_approval(
        &self,
        approval: &ApprovalRow,
        conditions: ApprovalConditions,
        audit: &[AuditRow],
    ) -> Result<ApprovalRequested, StorageError> {
        Ok(approval::request(&self.writer, &self.codes, approval, conditions, audit).await?)
    }

    async fn change_approval(
        &self,
        before: &ApprovalRow,
        after: &ApprovalRow,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError> {
        Ok(approval::change(&self.writer, &self.codes, before, after, audit).await?)
    }

    async fn record(
        &self,
        known: &[Versions],
        one_time: &[OneTimeValue],
        decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
    ) -> Result<(), StorageError> {
        Ok(record::record(&self.writer, known, one_time, decide).await?)
    }

    async fn probe(&self) -> Result<(), StorageError> {
        Ok(record::probe(&self.writer).await?)
    }

    async fn append_audit(&self, audit: &[AuditRow]) -> Result<(), StorageError> {
        Ok(audit::append(&self.writer, audit).await?)
    }

    async fn token(&self, jti: &str) -> Result<Option<TokenRow>, StorageError> {
        Ok(record::token(&self.readers, jti).await?)
    }

    async fn ancestors(&self, jti: &str) -> Result<Option<Vec<TokenReference>>, StorageError> {
        Ok(record::ancestors(&self.readers, jti).await?)
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<AuditPage, StorageError> {
        Ok(audit_search::audit(&self.audit, filter, limit).await?)
    }

    async fn audit_chain(&self, after: Option<(&str, i64)>, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError> {
        Ok(audit::chain(&self.audit, after, limit).await?)
    }

    async fn audit_heads(&self) -> Result<Vec<AuditHead>, StorageError> {
        Ok(audit::heads(&self.audit).await?)
    }

    async fn audit_checkpoints(&self, after: Option<&str>, limit: u32) -> Result<Vec<AuditCheckpoint>, StorageError> {
        Ok(audit::checkpoints(&self.audit, after, limit).await?)
    }

    async fn audit_checkpoints_of(&self, writers: &[&str]) -> Result<Vec<AuditCheckpoint>, StorageError> {
        Ok(audit::checkpoints_of(&self.audit, writers).await?)
    }

    async fn cut_audit(&self, through_id: i64, checkpoints: &[AuditCheckpoint]) -> Result<u64, StorageError> {
        Ok(audit::cut(&self.writer, through_id, checkpoints).await?)
    }

    async fn summarize_audit(&self) -> Result<u64, StorageError> {
        Ok(audit_search::summarize(&self.readers, &self.writer).await?)
    }

    async fn delegation_uses(&self, delegations: &[&str]) -> Result<DelegationUses, StorageError> {
        Ok(audit_uses::uses(&self.audit, delegations).await?)
    }

    async fn purge(&self) -> Result<u64, StorageError> {
        Ok(purge::purge(&self.writer, &self.codes).await?)
    }

    fn for_operators(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(Self { reads: self.readers.clone(), ..self.clone() }))
    }

    async fn close(&self) {
        let both = async {
            for readers in [&self.audit, &self.watch, &self.readers] {
                readers.close().await;
            }
            // The last connection of the last process merges the write-ahead log into the file when
            // it closes.
            self.writer.close().await;
        };
        // Connections that are still in use close when the process exits.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, both).await;
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::storage::MAC_BYTES;

    fn event(writer_sequence: i64, body: String) -> AuditRow {
        AuditRow {
            writer: "w".to_owned(),
            writer_sequence,
            at: Timestamp::UNIX_EPOCH,
            correlation_id: None,
            txn: None,
            jti: None,
            body,
            mac: [0; MAC_BYTES],
        }
    }

    async fn open() -> (tempfile::TempDir, SqliteStore) {
        let directory = tempfile::tempdir().unwrap();
        let codes = RowCodes::new(b"test", std::sync::Arc::new(sts_jose::SystemEntropy));
        let store = SqliteStore::open(&format!("sqlite:{}/sts.db", directory.path().display()), codes).await.unwrap();
        store.migrate().await.unwrap();
        (directory, store)
    }

    // These tests are here because they need the writing connection to inject faults.

    #[tokio::test]
    async fn a_disk_that_was_full_for_a_while_is_an_outage_and_no_more() {
        let (_directory, store) = open().await;
        for _ in 0..3 {
            // SQLite ends the transaction of a failed statement of one row, and the connection is replaced then.
            sqlx::raw_sql("PRAGMA max_page_count = 1").execute(&store.writer).await.unwrap();
            let error = store.append_audit(&[event(1, "x".repeat(1_000_000))]).await.unwrap_err();
            assert!(error.is_outage(), "{error:?}");
        }
        sqlx::raw_sql("PRAGMA max_page_count = 1000000").execute(&store.writer).await.unwrap();
        store.append_audit(&[event(1, String::new())]).await.unwrap();
        assert_eq!(store.audit_heads().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_transaction_that_the_database_ended_by_itself_spoils_no_connection() {
        let (_directory, store) = open().await;
        let mut transaction = begin_immediate(&store.writer).await.unwrap();
        sqlx::raw_sql("ROLLBACK").execute(&mut *transaction).await.unwrap();
        drop(transaction);
        store.append_audit(&[event(1, String::new())]).await.unwrap();
    }
}
