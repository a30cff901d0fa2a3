//! Connections that requests share, each made by [`Hosts::connect`].

use std::fmt::{self, Debug, Formatter};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{
    BuildError, Manager, Metrics, Object, Pool as Deadpool, PoolError, RecycleError, RecycleResult,
};
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::hosts::Hosts;
use super::session::Purpose;
use super::{ACQUIRE_TIMEOUT, RELEASE_TIMEOUT};

/// The age after which a connection is replaced.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// A pool of connections. Clones share the connections.
#[derive(Clone)]
pub(super) struct Pool(Deadpool<Connector>);

/// Makes and tests the connections of a pool.
pub(super) struct Connector(Arc<Hosts>);

/// A connection of a pool.
pub(super) struct Session {
    connection: PgConnection,
    host: usize,
    /// True while a transaction is open. Such a connection is never lent again.
    is_in_transaction: bool,
}

/// A borrowed connection.
pub(super) struct Lent(Object<Connector>);

/// A transaction on a borrowed connection. Dropping it closes the connection, unless the
/// transaction was committed: the server then rolls back at once.
pub(super) struct Transaction {
    lent: Lent,
    // Dropped after the connection has returned.
    _sweep: Sweep,
}

/// Closes connections that returned inside a transaction.
struct Sweep(Pool);

impl Pool {
    /// Returns a pool of up to `size` connections. Connects on first use.
    pub(super) fn of(hosts: &Arc<Hosts>, size: u32) -> Result<Self, BuildError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Ok(Self(Deadpool::builder(Connector(Arc::clone(hosts))).max_size(size).build()?))
    }

    /// Borrows a connection, a new one if none is free.
    pub(super) async fn acquire(&self) -> Result<Lent, PostgresError> {
        match tokio::time::timeout(ACQUIRE_TIMEOUT.saturating_add(RELEASE_TIMEOUT), self.0.get()).await {
            Ok(Ok(lent)) => Ok(Lent(lent)),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Closed)) => Err(sqlx::Error::PoolClosed.into()),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
        }
    }

    /// Starts a transaction by this statement.
    ///
    /// If the caller stops waiting, no other caller gets the connection.
    pub(super) async fn begin(&self, statement: &'static str) -> Result<Transaction, PostgresError> {
        let mut transaction = Transaction { lent: self.acquire().await?, _sweep: Sweep(self.clone()) };
        transaction.lent.0.is_in_transaction = true;
        sqlx::raw_sql(statement).execute(&mut *transaction).await?;
        Ok(transaction)
    }

    /// Returns the hosts that the connections lead to.
    pub(super) fn hosts(&self) -> &Hosts {
        &self.0.manager().0
    }

    /// Closes the connections, those in use when they return.
    pub(super) fn close(&self) {
        self.0.close();
    }
}

impl Transaction {
    pub(super) async fn commit(mut self) -> Result<(), PostgresError> {
        sqlx::raw_sql("COMMIT").execute(&mut *self).await?;
        self.lent.0.is_in_transaction = false;
        Ok(())
    }
}

impl Manager for Connector {
    type Type = Session;
    type Error = PostgresError;

    async fn create(&self) -> Result<Session, PostgresError> {
        let reached = self.0.connect(Purpose::Requests).await?;
        Ok(Session { connection: reached.connection, host: reached.host, is_in_transaction: false })
    }

    async fn recycle(&self, session: &mut Session, metrics: &Metrics) -> RecycleResult<PostgresError> {
        if session.is_in_transaction || self.0.has_left(session.host) || metrics.age() > LIFETIME {
            return Err(RecycleError::message("the connection is to be replaced"));
        }
        match tokio::time::timeout(RELEASE_TIMEOUT, self.0.accepts(&mut session.connection)).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(RecycleError::message("the host takes no writes any more")),
            Ok(Err(error)) => Err(RecycleError::Backend(error.into())),
            Err(elapsed) => Err(RecycleError::Backend(sqlx::Error::Io(elapsed.into()).into())),
        }
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.0.0.retain(|session, _| !session.is_in_transaction);
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0.connection
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.lent
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.lent
    }
}

impl Debug for Pool {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Pool").field(&self.0.status()).finish()
    }
}
