//! No store, no side effect.

use std::sync::Arc;

use sqlx::SqlitePool;
use sts_client::once::{Caller, MemoryLimits, MemoryOnceStore, OnceKey, OnceStore as _, SqliteOnceStore};
use sts_jose::{Clock as _, ManualClock, SystemClock};

use super::Agent;

#[tokio::test]
async fn while_the_store_is_out_of_reach_nothing_is_done_and_424_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("once.db").display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    let store = Arc::new(SqliteOnceStore::within(pool.clone()).await.unwrap());
    let agent = Agent::with(store, ManualClock::new(SystemClock.now()), |layer| layer).await;
    assert_eq!(agent.send(agent.post("/reserve/tea", "k", "")).await.status, 201);
    pool.close().await;
    for key in ["k", "other"] {
        let answer = agent.send(agent.post("/reserve/tea", key, "")).await;
        assert_eq!((answer.status, answer.json["type"].as_str()), (424, Some("failed_dependency")));
        assert_eq!(answer.json["code"], "IDEMPOTENCY_STORE_UNAVAILABLE");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(agent.reserved(), 1);
    assert_eq!(agent.send(agent.post("/reserve/tea", "", "")).await.status, 201, "without a key it needs no store");
}

#[tokio::test]
async fn a_full_store_is_an_outage_and_tells_old_outcomes_still() {
    let clock = ManualClock::new(SystemClock.now());
    let limits = MemoryLimits { entries: 2, bytes: 8 << 20 };
    let store = Arc::new(MemoryOnceStore::new(Arc::new(clock.clone()), limits));
    let agent = Agent::with(store.clone(), clock.clone(), |layer| layer).await;
    assert_eq!(agent.send(agent.post("/reserve/tea", "k", "")).await.status, 201);
    let _first = store.spend(OnceKey::new("message", ["1"]), Caller::new(["bob"]), clock.now()).await.unwrap();
    assert_eq!(agent.send(agent.post("/reserve/tea", "l", "")).await.status, 424);
    assert_eq!(agent.send(agent.post("/reserve/tea", "k", "")).await.header("idempotency-replayed"), "true");
    assert_eq!(agent.reserved(), 1);
}
