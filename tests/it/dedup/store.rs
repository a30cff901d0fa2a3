//! A fresh store, and the handles of several processes on it.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgPool, SqlitePool};
use sts_client::dedup::{
    Begun, CallerKey, DedupKey, DedupStore, MemoryDedupStore, MemoryLimits, Operation, PostgresDedupStore,
    SqliteDedupStore, Ticket,
};
use sts_jose::{Clock, ManualClock, SystemClock};
use sts_tests::postgres::{self, Database};
use tempfile::TempDir;

/// A fresh, empty store.
pub(super) enum TestStore {
    Memory(Arc<MemoryDedupStore>, ManualClock),
    Sqlite(TempDir),
    Postgres(Database),
}

impl TestStore {
    pub(super) async fn memory() -> Self {
        let clock = ManualClock::new(SystemClock.now());
        Self::Memory(Arc::new(MemoryDedupStore::new(Arc::new(clock.clone()), MemoryLimits::default())), clock)
    }

    pub(super) async fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(super) async fn postgres() -> Self {
        Self::Postgres(postgres::database().await)
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Memory(..) => panic!("it has none"),
            Self::Sqlite(directory) => format!("sqlite://{}", directory.path().join("once.db").display()),
            Self::Postgres(database) => database.url().to_owned(),
        }
    }

    /// The handle of another process; the same store again, where it serves one process only.
    pub(super) async fn open(&self) -> Arc<dyn DedupStore> {
        match self {
            Self::Memory(store, _) => Arc::clone(store) as Arc<dyn DedupStore>,
            Self::Sqlite(_) => Arc::new(SqliteDedupStore::open(&self.url()).await.unwrap()),
            Self::Postgres(_) => Arc::new(PostgresDedupStore::connect(&self.url()).await.unwrap()),
        }
    }

    /// Lets time pass: the clock goes on, or whatever is stored was stored earlier.
    pub(super) async fn pass(&self, by: Duration) {
        let milliseconds = i64::try_from(by.as_millis()).unwrap();
        match self {
            Self::Memory(_, clock) => clock.advance(by),
            Self::Sqlite(_) => {
                let pool = SqlitePool::connect(&self.url()).await.unwrap();
                for statement in AGE {
                    sqlx::query(statement).bind(milliseconds).execute(&pool).await.unwrap();
                }
            }
            Self::Postgres(_) => {
                let pool = PgPool::connect(&self.url()).await.unwrap();
                for statement in AGE {
                    sqlx::query(statement).bind(milliseconds).execute(&pool).await.unwrap();
                }
            }
        }
    }
}

/// Not the column that tells attempts apart, which whoever holds one knows by heart.
const AGE: [&str; 2] = [
    "UPDATE sts_once_values SET ends_at_ms = ends_at_ms - $1",
    "UPDATE sts_once_operations SET lease_until_ms = lease_until_ms - $1, expires_at_ms = expires_at_ms - $1",
];

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An operation with that body, held for 100 s and kept for 1,000 s.
pub(super) fn operation(body: u8) -> Operation {
    Operation {
        key: DedupKey::new("test", ["operation"]),
        fingerprint: [body; 32],
        lease: seconds(100),
        expires_in: seconds(1_000),
        caller: caller("alice"),
    }
}

pub(super) fn caller(name: &str) -> CallerKey {
    CallerKey::new([name])
}

pub(super) async fn start(store: &dyn DedupStore, operation: &Operation) -> Ticket {
    match store.begin(operation).await.unwrap() {
        Begun::Started(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}
