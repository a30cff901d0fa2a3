//! Real `PgBouncer` between a server and the database.

use std::sync::Arc;
use std::time::Duration;

use sts_server::storage::{self, Location, RevocationKind, StorageError, Store};
use sts_tests::postgres::{Cluster, Database, Pooler};

use super::rows::{audit, codes, record_tokens, revocation, token};

/// The first version that keeps prepared statements apart in transactions.
const KEEPS_STATEMENTS: (u32, u32) = (1, 21);

struct Pooled {
    location: Location,
    pooler: Pooler,
    _database: Database,
    _cluster: Cluster,
}

impl Pooled {
    async fn start(pool_mode: &str, listens: bool) -> Self {
        let cluster = Cluster::start().await;
        let database = cluster.database().await;
        let pooler = Pooler::start(&cluster, pool_mode).await;
        let location = Location { listens, ..Location::new(&pooler.url_of(&database), 4) };
        Self { location, pooler, _database: database, _cluster: cluster }
    }

    async fn open(&self) -> Arc<dyn Store> {
        storage::open_at(&self.location, codes()).await.unwrap()
    }
}

/// Two servers work on the database beside each other.
async fn works(pooled: &Pooled) {
    let [first, second] = [pooled.open().await, pooled.open().await];
    first.migrate().await.unwrap();
    second.migrate().await.unwrap();
    for round in 0..20 {
        for (name, store) in [("first", &first), ("second", &second)] {
            let name = format!("{name}-{round}");
            record_tokens(&**store, vec![token(&name, None)]).await.unwrap();
            store.revoke(&revocation(RevocationKind::Agent, None, &name), &[audit(&name, 1)]).await.unwrap();
            store.probe().await.unwrap();
        }
        assert!(second.token(&format!("first-{round}")).await.unwrap().is_some());
        first.entries().await.unwrap();
        assert_eq!(first.state().await.unwrap().versions, second.state().await.unwrap().versions);
    }
}

fn is_refused(outcome: Result<(), StorageError>, words: &str) {
    let error = outcome.unwrap_err();
    assert!(!error.is_outage() && error.to_string().contains(words), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_sessions_is_not_noticed() {
    let pooled = Pooled::start("session", true).await;
    works(&pooled).await;
    let store = pooled.open().await;
    let heard = tokio::time::timeout(Duration::from_secs(60), store.changed()).await;
    assert!(heard.is_ok(), "no announcement comes through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_transactions_is_refused_while_the_server_listens() {
    let pooled = Pooled::start("transaction", true).await;
    is_refused(pooled.open().await.migrate().await, "set database.listen = false");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_transactions_works_or_is_refused_with_words() {
    let pooled = Pooled::start("transaction", false).await;
    if pooled.pooler.version() < KEEPS_STATEMENTS {
        is_refused(pooled.open().await.migrate().await, "needs version 1.21 or later");
    } else {
        works(&pooled).await;
    }
}

#[tokio::test]
async fn a_role_whose_settings_lose_commits_is_refused_where_the_server_cannot_make_its_own() {
    let cluster = Cluster::start().await;
    let database = cluster.database().await;
    let location = Location { listens: false, ..Location::new(database.url(), 4) };
    let migrated = async || storage::open_at(&location, codes()).await.unwrap().migrate().await;
    cluster.execute("ALTER ROLE postgres SET synchronous_commit = off").await;
    is_refused(migrated().await, "synchronous_commit = on");
    cluster.execute("ALTER ROLE postgres SET synchronous_commit = on").await;
    cluster.execute("ALTER ROLE postgres SET default_transaction_isolation = 'serializable'").await;
    is_refused(migrated().await, "read committed");
    cluster.execute("ALTER ROLE postgres RESET ALL").await;
    migrated().await.unwrap();
}
