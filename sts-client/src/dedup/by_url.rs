//! A store that a URL names, as configuration files do.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Begun, CallerKey, DedupError, DedupKey, DedupStore, Held, Operation, Spend, Ticket};
use crate::net::Flights;

/// A deduplication store that connects at its first use. A failed attempt fails the uses that waited for
/// it, and no later one.
#[derive(Debug)]
pub(crate) struct StoreByUrl {
    url: SecretString,
    store: Arc<OnceLock<Arc<dyn DedupStore>>>,
    connections: Flights<(), Connected>,
}

/// The outcome of an attempt to connect, for all uses that waited for it.
type Connected = Result<Arc<dyn DedupStore>, Arc<dyn Error + Send + Sync>>;

impl StoreByUrl {
    /// Returns the store of a URL; `None` for a database that is unknown or not compiled in. Opens no
    /// connection.
    pub(crate) fn new(url: SecretString) -> Option<Self> {
        let scheme = url.expose_secret().split_once(':')?.0;
        let is_postgres = matches!(scheme, "postgres" | "postgresql") && cfg!(feature = "postgres");
        let is_sqlite = scheme == "sqlite" && cfg!(feature = "sqlite");
        (is_postgres || is_sqlite).then(|| Self { url, store: Arc::default(), connections: Flights::new() })
    }

    async fn store(&self) -> Result<Arc<dyn DedupStore>, DedupError> {
        if let Some(store) = self.store.get() {
            return Ok(Arc::clone(store));
        }
        let connection = self.connections.join(&(), || {
            let (url, kept) = (self.url.clone(), Arc::clone(&self.store));
            async move {
                // Another flight may have ended since the look above.
                match kept.get() {
                    Some(store) => Ok(Arc::clone(store)),
                    None => connect(url.expose_secret()).await.map(|store| Arc::clone(kept.get_or_init(|| store))),
                }
                .map_err(cause)
            }
        });
        connection.await.map_err(|error| DedupError::Unavailable(error.into()))
    }
}

fn cause(error: DedupError) -> Arc<dyn Error + Send + Sync> {
    match error {
        DedupError::Unavailable(cause) => cause.into(),
        full @ DedupError::Full => Arc::new(full),
    }
}

async fn connect(url: &str) -> Result<Arc<dyn DedupStore>, DedupError> {
    #[cfg(feature = "sqlite")]
    if url.starts_with("sqlite:") {
        return Ok(Arc::new(super::SqliteDedupStore::open(url).await?));
    }
    #[cfg(feature = "postgres")]
    if url.starts_with("postgres") {
        return Ok(Arc::new(super::PostgresDedupStore::connect(url).await?));
    }
    Err(DedupError::Unavailable(format!("no database is compiled in for a url of {} characters", url.len()).into()))
}

#[async_trait]
impl DedupStore for StoreByUrl {
    async fn spend(&self, key: DedupKey, caller: CallerKey, expires_at: Timestamp) -> Result<Spend, DedupError> {
        self.store().await?.spend(key, caller, expires_at).await
    }

    async fn begin(&self, operation: &Operation) -> Result<Begun, DedupError> {
        self.store().await?.begin(operation).await
    }

    async fn renew(&self, ticket: &Ticket, lease: Duration) -> Result<Held, DedupError> {
        self.store().await?.renew(ticket, lease).await
    }

    async fn finish(&self, ticket: &Ticket, outcome: &[u8]) -> Result<Held, DedupError> {
        self.store().await?.finish(ticket, outcome).await
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<Held, DedupError> {
        self.store().await?.abandon(ticket).await
    }

    async fn purge(&self) -> Result<u64, DedupError> {
        self.store().await?.purge().await
    }
}

#[cfg(test)]
#[cfg(feature = "postgres")]
mod tests {
    use futures_util::future::join_all;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::dedup::sql::ACQUIRE_TIMEOUT;

    /// The clock of the runtime runs ahead while all tasks wait, so the test takes no time.
    #[tokio::test(start_paused = true)]
    async fn calls_that_wait_for_the_first_connection_share_its_outcome() {
        // The listener accepts connections and never answers.
        let black_hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://inventory@{}/inventory", black_hole.local_addr().unwrap());
        let store = StoreByUrl::new(url.into()).unwrap();
        let begun = Instant::now();
        let spends = (0..10_u8).map(|number| {
            store.spend(DedupKey::new("value", [[number]]), CallerKey::new(["alice"]), Timestamp::UNIX_EPOCH)
        });
        let outcomes = join_all(spends).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(DedupError::Unavailable(_)))), "{outcomes:?}");
        assert!(begun.elapsed() < ACQUIRE_TIMEOUT * 2, "{:?}", begun.elapsed());
    }
}
