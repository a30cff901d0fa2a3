//! What only databases can show: they serve several processes, hold across restarts, and can be out of reach.

use std::time::Duration;

use jiff::ToSpan;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, SqlitePool};
use sts_client::dedup::{Begun, DedupError, DedupKey, DedupStore, Held, PostgresDedupStore, Spend, SqliteDedupStore};
use sts_jose::{Clock, SystemClock};
use tokio::task::JoinSet;

use super::store::{TestStore, caller, operation, start};

#[tokio::test]
async fn what_was_done_is_known_after_a_restart() {
    for kept in [TestStore::sqlite().await, TestStore::postgres().await] {
        let key = DedupKey::new("message", ["1"]);
        let expires_at = SystemClock.now() + 300.seconds();
        let before = kept.open().await;
        let ticket = start(&*before, &operation(1)).await;
        assert_eq!(before.finish(&ticket, b"done").await.unwrap(), Held::Yes);
        assert_eq!(before.spend(key, caller("alice"), expires_at).await.unwrap(), Spend::First);
        drop(before);

        let after = kept.open().await;
        assert_eq!(after.spend(key, caller("alice"), expires_at).await.unwrap(), Spend::SeenBefore);
        let Begun::Done { outcome } = after.begin(&operation(1)).await.unwrap() else { panic!() };
        assert_eq!(outcome, b"done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_open_an_empty_database_at_once() {
    let sqlite = TestStore::sqlite().await.into_url();
    let postgres = TestStore::postgres().await.into_url();
    let mut opening = JoinSet::new();
    for _ in 0..8 {
        let (file, server) = (sqlite.0.clone(), postgres.0.clone());
        opening.spawn(async move {
            SqliteDedupStore::open(&file).await.unwrap();
            PostgresDedupStore::connect(&server).await.unwrap();
        });
    }
    opening.join_all().await;
}

#[tokio::test]
async fn a_store_lives_beside_the_tables_of_an_agent() {
    let kept = TestStore::postgres().await;
    let pool = PgPool::connect(&kept.url()).await.unwrap();
    sqlx::query("CREATE TABLE values_of_mine (key TEXT)").execute(&pool).await.unwrap();
    let store = PostgresDedupStore::within(pool).await.unwrap();
    start(&store, &operation(1)).await;

    let kept = TestStore::sqlite().await;
    let pool = SqlitePool::connect(&format!("{}?mode=rwc", kept.url())).await.unwrap();
    let store = SqliteDedupStore::within(pool).await.unwrap();
    start(&store, &operation(1)).await;
}

#[tokio::test]
async fn a_database_out_of_reach_is_an_error_and_no_answer() {
    let kept = TestStore::postgres().await;
    let options = PgPoolOptions::new().acquire_timeout(Duration::from_secs(5));
    let postgres = options.connect(&kept.url()).await.unwrap();
    let store = PostgresDedupStore::within(postgres.clone()).await.unwrap();
    postgres.close().await;
    assert_out_of_reach(&store).await;

    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("once.db").display());
    let sqlite = SqlitePool::connect(&url).await.unwrap();
    let store = SqliteDedupStore::within(sqlite.clone()).await.unwrap();
    sqlite.close().await;
    assert_out_of_reach(&store).await;
}

async fn assert_out_of_reach(store: &dyn DedupStore) {
    let spent = store.spend(DedupKey::new("message", ["1"]), caller("alice"), SystemClock.now()).await;
    assert!(matches!(spent, Err(DedupError::Unavailable(_))), "{spent:?}");
    assert!(matches!(store.begin(&operation(1)).await, Err(DedupError::Unavailable(_))));
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_but_its_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("once.db");
    SqliteDedupStore::open(&format!("sqlite://{}", path.display())).await.unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0);
}

#[tokio::test]
async fn a_sqlite_database_in_memory_is_refused() {
    for url in ["sqlite::memory:", "sqlite://x?mode=memory"] {
        assert!(matches!(SqliteDedupStore::open(url).await, Err(DedupError::Unavailable(_))), "{url}");
    }
}

impl TestStore {
    /// The URL, and what keeps the database.
    fn into_url(self) -> (String, Self) {
        (self.url(), self)
    }
}
