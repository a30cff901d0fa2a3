//! `PostgreSQL`, 15 or later.
//!
//! Every statement of a transaction sees what was committed before that statement (`READ COMMITTED`, asked for by name), so what is
//! read after a lock was taken is what the lock protects. Two advisory locks, always taken first and in this order:
//!
//! | lock | shared | exclusive |
//! |---|---|---|
//! | `transaction::KEYS` | | `change_keys` |
//! | `transaction::WRITERS` | whatever adds tokens or audit rows | `revoke`, `lift`, and for an instant the readers of audit rows |

use std::fmt::{self, Debug, Formatter};
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, PgPool};

use self::announce::Announcements;
use self::error::PostgresError;
use self::writer::Writer;
use super::{
    AuditFilter, AuditHead, AuditKeyRow, AuditRow, Changed, EntryChange, EntryRow, Fresh, KeyChanges, KeyRow,
    OneTimeValue, RecordRows, RevocationKind, RevocationRow, StorageError, Store, StoredAuditRow, TokenRow, Versions,
};

mod announce;
mod audit;
mod error;
mod keys;
mod migrate;
mod purge;
mod record;
mod registry;
mod revocation;
mod transaction;
mod writer;

/// How long a caller waits for a connection, be it a free one or a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an act may take in all, should the network swallow what the server's own timeouts would have ended.
const ACT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that comes back to the pool may take to prove that it is usable.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long [`Store::close`] waits for connections in use.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What every connection of the pool is told. A server that stops in the middle of a transaction holds its locks no longer than the
/// last of these. A statement that is a transaction of its own is isolated as all others are.
const SESSION: [(&str, &str); 4] = [
    ("default_transaction_isolation", "read committed"),
    ("statement_timeout", "5s"),
    ("lock_timeout", "4s"),
    ("idle_in_transaction_session_timeout", "5s"),
];

/// A commit that the server acknowledges must be one that it can no longer lose.
const DURABLE: &str =
    "SELECT set_config('synchronous_commit', 'on', FALSE) WHERE current_setting('synchronous_commit') = 'off'";

/// A `PostgreSQL` database.
pub struct PostgresStore {
    pool: PgPool,
    writer: Writer,
    options: PgConnectOptions,
    announcements: Announcements,
}

impl PostgresStore {
    /// Opens the database of this URL with up to `max_connections` connections (at least 2: one of them commits batches). Connects on
    /// first use: the server need not be there yet.
    ///
    /// # Errors
    ///
    /// [`StorageError::Broken`] for a malformed URL.
    pub fn open(url: &str, max_connections: u32) -> Result<Self, StorageError> {
        let options = PgConnectOptions::from_str(url).map_err(PostgresError::from)?;
        let session = options.clone().options(SESSION);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections.saturating_sub(1).max(1))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(make_durable(connection)))
            .after_release(|connection, _| {
                Box::pin(async move {
                    // A transaction that was given up is rolled back here.
                    match tokio::time::timeout(RELEASE_TIMEOUT, connection.ping()).await {
                        Ok(answer) => answer.map(|()| true),
                        Err(elapsed) => Err(sqlx::Error::Io(elapsed.into())),
                    }
                })
            })
            .connect_lazy_with(session.clone());
        Ok(Self { pool, writer: Writer::of(session), announcements: Announcements::of(options.clone()), options })
    }
}

impl Debug for PostgresStore {
    /// Leaves the options out: they hold the password.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PostgresStore").field("size", &self.pool.size()).finish_non_exhaustive()
    }
}

/// Sees to it that what a connection commits is durable.
async fn make_durable(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(DURABLE).execute(connection).await.map(|_| ())
}

/// Ends an act that takes too long; nobody knows then whether it holds.
async fn within<T>(act: impl Future<Output = Result<T, PostgresError>> + Send) -> Result<T, StorageError> {
    match tokio::time::timeout(ACT_TIMEOUT, act).await {
        Ok(outcome) => Ok(outcome?),
        Err(elapsed) => Err(StorageError::Unavailable(sqlx::Error::Io(elapsed.into()))),
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn migrate(&self) -> Result<(), StorageError> {
        Ok(migrate::migrate(&self.options).await?)
    }

    async fn versions(&self) -> Result<Versions, StorageError> {
        within(registry::versions(&self.pool)).await
    }

    async fn changed(&self) {
        self.announcements.next().await;
    }

    async fn entries(&self) -> Result<(i64, Vec<EntryRow>), StorageError> {
        within(registry::entries(&self.pool)).await
    }

    async fn change_entries(
        &self,
        expected: i64,
        changes: &[EntryChange],
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        within(registry::change_entries(&self.pool, expected, changes, audit)).await
    }

    async fn keys(&self) -> Result<(i64, Vec<KeyRow>), StorageError> {
        within(keys::keys(&self.pool)).await
    }

    async fn change_keys(
        &self,
        expected: i64,
        changes: &KeyChanges,
        audit: &[AuditRow],
    ) -> Result<Changed, StorageError> {
        within(keys::change_keys(&self.pool, expected, changes, audit)).await
    }

    async fn audit_keys(&self) -> Result<Vec<AuditKeyRow>, StorageError> {
        within(keys::audit_keys(&self.pool)).await
    }

    async fn revocations(&self) -> Result<(i64, Vec<RevocationRow>), StorageError> {
        within(revocation::revocations(&self.pool)).await
    }

    async fn revoke(&self, revocation: &RevocationRow, audit: &[AuditRow]) -> Result<(i64, u64), StorageError> {
        within(revocation::revoke(&self.pool, revocation, audit)).await
    }

    async fn lift(
        &self,
        kind: RevocationKind,
        issuer: Option<&str>,
        value: &str,
        audit: &[AuditRow],
    ) -> Result<bool, StorageError> {
        within(revocation::lift(&self.pool, (kind, issuer, value), audit)).await
    }

    async fn record(
        &self,
        known_revocations: i64,
        one_time: &[OneTimeValue],
        decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
    ) -> Result<(), StorageError> {
        within(self.writer.record(known_revocations, one_time, decide)).await
    }

    async fn append_audit(&self, audit: &[AuditRow]) -> Result<(), StorageError> {
        within(audit::append(&self.pool, audit)).await
    }

    async fn token(&self, jti: &str) -> Result<Option<TokenRow>, StorageError> {
        within(record::token(&self.pool, jti)).await
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError> {
        within(audit::audit(&self.pool, filter, limit)).await
    }

    async fn audit_chain(&self, after: Option<(&str, i64)>, limit: u32) -> Result<Vec<StoredAuditRow>, StorageError> {
        within(audit::chain(&self.pool, after, limit)).await
    }

    async fn audit_heads(&self) -> Result<Vec<AuditHead>, StorageError> {
        within(audit::heads(&self.pool)).await
    }

    async fn purge(&self) -> Result<u64, StorageError> {
        purge::purge(&self.pool).await
    }

    async fn close(&self) {
        self.announcements.end();
        let both = async {
            self.writer.close().await;
            self.pool.close().await;
        };
        // What is still in use then ends with the process.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, both).await;
    }
}
