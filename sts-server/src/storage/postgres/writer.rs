//! The connection that commits batches.
//!
//! A pool would test the connection before and after every batch. A `BEGIN` on a pooled connection
//! also needs a separate task. Both cost more messages than the batch itself.
//!
//! This connection commits batches one after the other. If a batch fails, the connection is dropped
//! in its current state, and the server rolls back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::sync::Semaphore;

use super::error::PostgresError;
use super::hosts::Hosts;
use super::session::Purpose;
use super::{RELEASE_TIMEOUT, record, standbys};
use crate::storage::{Fresh, OneTimeValue, RecordRows, Versions};
use crate::telemetry::Stopwatch;

/// The idle time after which a connection is tested before use. The server may have restarted, or
/// the network may be down.
const RESTED: Duration = Duration::from_secs(1);

/// The committer of batches. Commits one batch at a time.
pub(super) struct Writer {
    hosts: Arc<Hosts>,
    turn: Semaphore,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    connection: PgConnection,
    host: usize,
    rests: Stopwatch,
}

impl Writer {
    /// Creates the writer, which connects on first use.
    pub(super) fn of(hosts: Arc<Hosts>) -> Self {
        Self { hosts, turn: Semaphore::new(1), kept: Mutex::default() }
    }

    pub(super) async fn record(
        &self,
        known: &[Versions],
        one_time: &[OneTimeValue],
        decide: &mut (dyn for<'a> FnMut(&'a Fresh) -> RecordRows + Send),
    ) -> Result<(), PostgresError> {
        let _turn = self.turn.acquire().await.or(Err(sqlx::Error::PoolClosed))?;
        let (mut connection, host) = self.connection().await?;
        record::record(&mut connection, known, one_time, decide).await?;
        *self.kept() = Some(Kept { connection, host, rests: Stopwatch::start() });
        Ok(())
    }

    /// Commits a message that changes nothing, on the connection of the batches.
    pub(super) async fn probe(&self) -> Result<(), PostgresError> {
        let _turn = self.turn.acquire().await.or(Err(sqlx::Error::PoolClosed))?;
        let (mut connection, host) = self.connection().await?;
        standbys::probe(&mut connection).await?;
        *self.kept() = Some(Kept { connection, host, rests: Stopwatch::start() });
        Ok(())
    }

    /// Waits for the current batch, then refuses new ones and closes the connection.
    pub(super) async fn close(&self) {
        let last = self.turn.acquire().await;
        self.turn.close();
        drop(last);
        let kept = self.kept().take();
        if let Some(Kept { connection, .. }) = kept {
            // If the close fails, the server still notices the disconnect.
            let _ = connection.close().await;
        }
    }

    /// Returns the connection of the last batch, or a new one, with the index of its host.
    async fn connection(&self) -> Result<(PgConnection, usize), PostgresError> {
        let kept = self.kept().take().filter(|kept| !self.hosts.has_left(kept.host));
        if let Some(Kept { mut connection, host, rests }) = kept {
            let is_usable = rests.elapsed() < RESTED
                || matches!(
                    tokio::time::timeout(RELEASE_TIMEOUT, self.hosts.accepts(&mut connection)).await,
                    Ok(Ok(true))
                );
            if is_usable {
                return Ok((connection, host));
            }
        }
        let reached = self.hosts.connect(Purpose::Requests).await?;
        Ok((reached.connection, reached.host))
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
