//! Change notifications: the transaction that raises a counter sends `NOTIFY`, and each follower
//! sends `LISTEN`.
//!
//! They only make followers faster; correctness never depends on them. A database that merely
//! resembles `PostgreSQL` may support neither. A pooler between may swallow notifications.
//! Followers then find the change when they poll.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::ACQUIRE_TIMEOUT;
use super::error::PostgresError;
use super::hosts::Hosts;
use super::session::Purpose;

const CHANNEL: &str = "sts_changed";
/// The pause after a failure before the next attempt to listen.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// The silence after which the connection is tested. A network can swallow every notification.
const SILENCE: Duration = Duration::from_secs(30);

/// Announces a change; listeners receive it when the caller's transaction commits. The change
/// succeeds even if the database cannot announce it.
pub(super) async fn announce(connection: &mut PgConnection) -> Result<(), PostgresError> {
    sqlx::raw_sql("SAVEPOINT announcement").execute(&mut *connection).await?;
    let ended = match sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&mut *connection).await {
        Ok(_) => "RELEASE SAVEPOINT announcement",
        Err(error @ sqlx::Error::Database(_)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the database does not announce changes");
            "ROLLBACK TO SAVEPOINT announcement"
        }
        Err(error) => return Err(error.into()),
    };
    sqlx::raw_sql(ended).execute(connection).await?;
    Ok(())
}

/// The notifications of a database. Listens from the first call of [`Announcements::next`], on a
/// separate connection.
pub(super) struct Announcements {
    hosts: Arc<Hosts>,
    heard: Arc<Notify>,
    listening: OnceLock<AbortHandle>,
}

impl Announcements {
    pub(super) fn of(hosts: Arc<Hosts>) -> Self {
        Self { hosts, heard: Arc::default(), listening: OnceLock::new() }
    }

    /// Waits for a notification. Also returns after every interruption of listening, because a
    /// notification may have been missed.
    pub(super) async fn next(&self) {
        self.listening.get_or_init(|| {
            tokio::spawn(listen_for_ever(Arc::clone(&self.hosts), Arc::clone(&self.heard))).abort_handle()
        });
        self.heard.notified().await;
    }

    /// Stops listening.
    pub(super) fn end(&self) {
        if let Some(listening) = self.listening.get() {
            listening.abort();
        }
    }
}

impl Drop for Announcements {
    fn drop(&mut self) {
        self.end();
    }
}

async fn listen_for_ever(hosts: Arc<Hosts>, heard: Arc<Notify>) {
    let mut could_listen = true;
    loop {
        let Err(error) = listen(&hosts, &heard, &mut could_listen).await;
        if could_listen {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "changes are not announced: the database is asked for them instead"
            );
        }
        could_listen = false;
        tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
    }
}

/// Listens until the connection fails.
async fn listen(
    hosts: &Hosts,
    heard: &Notify,
    could_listen: &mut bool,
) -> Result<std::convert::Infallible, PostgresError> {
    let options = hosts.options(Purpose::Listening).await?;
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(options);
    let begun = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    let begun = tokio::time::timeout(ACQUIRE_TIMEOUT, begun).await;
    let mut listener = begun.unwrap_or_else(|elapsed| Err(sqlx::Error::Io(elapsed.into())))?;
    if !*could_listen {
        tracing::info!("changes are announced again");
        *could_listen = true;
    }
    // Changes before this point were not received.
    heard.notify_one();
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(_announcement))) => heard.notify_one(),
            Ok(Ok(None)) => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into()).into()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_silence) => try_out(&mut listener).await?,
        }
    }
}

async fn try_out(listener: &mut PgListener) -> Result<(), sqlx::Error> {
    match tokio::time::timeout(ACQUIRE_TIMEOUT, sqlx::query("SELECT 1").execute(listener)).await {
        Ok(answered) => answered.map(|_| ()),
        Err(elapsed) => Err(sqlx::Error::Io(elapsed.into())),
    }
}
