//! A store that a URL names, as configuration files do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

use super::{Begun, CallerKey, DedupError, DedupKey, DedupStore, Held, Operation, Spend, Ticket};

/// A deduplication store that connects at its first use. A failed attempt fails that use alone.
#[derive(Debug)]
pub(crate) struct StoreByUrl {
    url: SecretString,
    store: OnceCell<Arc<dyn DedupStore>>,
}

impl StoreByUrl {
    /// Returns the store of a URL; `None` for a database that is unknown or not compiled in. Opens no
    /// connection.
    pub(crate) fn new(url: SecretString) -> Option<Self> {
        let scheme = url.expose_secret().split_once(':')?.0;
        let is_postgres = matches!(scheme, "postgres" | "postgresql") && cfg!(feature = "postgres");
        let is_sqlite = scheme == "sqlite" && cfg!(feature = "sqlite");
        (is_postgres || is_sqlite).then(|| Self { url, store: OnceCell::new() })
    }

    async fn store(&self) -> Result<&Arc<dyn DedupStore>, DedupError> {
        self.store.get_or_try_init(|| connect(self.url.expose_secret())).await
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
