//! Synchronous standbys: commits that wait for one, and the check that there is one.
//!
//! A commit that waits for a standby heeds no time limit of the server, holds its locks, and goes on
//! waiting when its client is gone.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::hosts::Hosts;
use super::pool::Pool;
use super::session::{APPLICATION_NAME, Purpose};
use super::{ACQUIRE_TIMEOUT, GIVEN_UP_AFTER};

/// The wait after which a commit is ended to let a revocation pass.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time in which a standby must confirm a revocation.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(3);

/// Ends the waiting of commits of servers, not of other programs of this role: those that have
/// waited for so long, and that of one backend. Each is durable on this host and its client has no
/// answer.
const END: &str = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity
     WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
       AND application_name = $3 AND wait_event = 'SyncRep'
       AND (pid = $2 OR query_start <= clock_timestamp() - make_interval(secs => $1))";

/// Starts a transaction whose commit waits for the standbys, if there must be any. Writes nothing
/// but a message to the log of the database.
const CONFIRM: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
     SELECT CASE WHEN current_setting('synchronous_standby_names') <> ''
         THEN pg_logical_emit_message(TRUE, 'agent-sts', '') END IS NULL";

/// Returns whether commits wait for a standby that is there. `sync_state` is null for a role that
/// may not see it; each standby then counts.
const IS_SYNCHRONOUS: &str = "SELECT current_setting('synchronous_standby_names') <> ''
         AND current_setting('synchronous_commit') NOT IN ('off', 'local')
         AND EXISTS (SELECT FROM pg_stat_replication WHERE COALESCE(sync_state IN ('sync', 'quorum'), TRUE))";

/// Ends commits of this role that have waited for a standby for so long. Their servers have given
/// them up, so that the number of connections stays bounded.
pub(super) async fn end_waiting(hosts: &Hosts, waited: Duration) {
    end_waiting_and(hosts, waited, None).await;
}

/// Does the same, and ends the commit of this backend however long it has waited.
async fn end_waiting_and(hosts: &Hosts, waited: Duration, backend: Option<i32>) {
    // Another call does the same at this moment.
    let Ok(_turn) = hosts.ending.try_acquire() else { return };
    // The network may have fallen silent, and the caller's own request has taken its time already.
    let limited = tokio::time::timeout(ACQUIRE_TIMEOUT, end(hosts, waited, backend)).await;
    match limited.unwrap_or_else(|elapsed| Err(sqlx::Error::Io(elapsed.into()).into())) {
        Ok(0) => {}
        Ok(ended) => tracing::warn!(ended, "ended commits that waited for a synchronous standby"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "failed to end commits that wait for a synchronous standby");
        }
    }
}

async fn end(hosts: &Hosts, waited: Duration, backend: Option<i32>) -> Result<i64, PostgresError> {
    let mut connection = hosts.connect(Purpose::Requests).await?.connection;
    let ended = sqlx::query_scalar(END).bind(waited.as_secs_f64()).bind(backend).bind(APPLICATION_NAME);
    let ended = ended.fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(ended)
}

/// Waits for a lock that commits hold. Ends those that wait for a standby.
pub(super) async fn pass<T>(pool: &Pool, lock: impl Future<Output = T>) -> T {
    let mut lock = std::pin::pin!(lock);
    loop {
        tokio::select! {
            biased;
            locked = &mut lock => return locked,
            () = tokio::time::sleep(PATIENCE) => end_waiting(pool.hosts(), PATIENCE).await,
        }
    }
}

/// Waits until the standbys have what was committed here, or for a few seconds.
pub(super) async fn confirm(pool: &Pool) {
    let mut backend = None;
    let confirmed = async {
        let mut transaction = pool.begin(CONFIRM).await?;
        backend = Some(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *transaction).await?);
        transaction.commit().await
    };
    match tokio::time::timeout(CONFIRM_TIMEOUT, confirmed).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "a change is in force, and the database did not say whether standbys have it");
        }
        Err(_elapsed) => {
            tracing::warn!("a change is in force, and no synchronous standby has confirmed it");
            end_waiting_and(pool.hosts(), GIVEN_UP_AFTER, backend).await;
        }
    }
}

/// Commits a message of the log that changes nothing.
pub(super) async fn probe(connection: &mut PgConnection) -> Result<(), PostgresError> {
    sqlx::query("SELECT pg_logical_emit_message(TRUE, 'agent-sts', '')::TEXT").execute(connection).await?;
    Ok(())
}

/// Returns true if the database has a synchronous standby.
pub(super) async fn is_synchronous(connection: &mut PgConnection) -> Result<bool, PostgresError> {
    Ok(sqlx::query_scalar(IS_SYNCHRONOUS).fetch_one(connection).await?)
}
