//! No store, no side effect.

use std::sync::Arc;

use sqlx::SqlitePool;
use sts_client::dedup::{CallerKey, DedupKey, DedupStore as _, MemoryDedupStore, MemoryLimits, SqliteDedupStore};
use sts_jose::{Clock as _, ManualClock, SystemClock};

use tokio::task::JoinSet;

use super::Agent;

#[tokio::test]
async fn while_the_store_is_out_of_reach_nothing_is_done_and_424_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", directory.path().join("once.db").display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    let store = Arc::new(SqliteDedupStore::within(pool.clone()).await.unwrap());
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
async fn a_hundred_requests_that_failed_leave_room_for_all_others() {
    let agent = Agent::start().await;
    for number in 0..100 {
        let answer = agent.send(agent.post("/reserve/503", &format!("k-{number}"), "")).await;
        assert_eq!(answer.status, 503, "{number}");
    }
    assert_eq!(agent.send(agent.post("/reserve/tea", "k-new", "")).await.status, 201);
    assert_eq!(agent.send(agent.post("/reserve/tea", "k-7", "")).await.status, 201, "once the dependency is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_each_succeed() {
    let agent = Arc::new(Agent::start().await);
    let mut callers = JoinSet::new();
    for number in 0..100 {
        let agent = Arc::clone(&agent);
        callers.spawn(async move { agent.send(agent.post("/reserve/slow", &format!("k-{number}"), "")).await.status });
    }
    // All of them are in progress before the first one ends.
    while agent.reserved() < 100 {
        tokio::task::yield_now().await;
    }
    agent.warehouse.gate.add_permits(100);
    assert!(callers.join_all().await.into_iter().all(|status| status == 201));
}

#[tokio::test]
async fn an_outcome_for_which_there_is_no_room_is_told_once_and_the_work_is_done_once() {
    let clock = ManualClock::new(SystemClock.now());
    let limits = MemoryLimits { entries: 100, bytes: 500 };
    let store = Arc::new(MemoryDedupStore::new(Arc::new(clock.clone()), limits));
    let agent = Agent::with(store, clock, |layer| layer).await;
    assert_eq!(agent.send(agent.post("/reserve/tea", "k", "")).await.status, 201);
    let again = agent.send(agent.post("/reserve/tea", "k", "")).await;
    assert_eq!((again.status, again.json["code"].as_str()), (409, Some("OUTCOME_NOT_KEPT")));
    assert_eq!(agent.reserved(), 1);
}

#[tokio::test]
async fn a_full_store_is_an_outage_and_tells_old_outcomes_still() {
    let clock = ManualClock::new(SystemClock.now());
    let limits = MemoryLimits { entries: 2, bytes: 8 << 20 };
    let store = Arc::new(MemoryDedupStore::new(Arc::new(clock.clone()), limits));
    let agent = Agent::with(store.clone(), clock.clone(), |layer| layer).await;
    assert_eq!(agent.send(agent.post("/reserve/tea", "k", "")).await.status, 201);
    let _first = store.spend(DedupKey::new("message", ["1"]), CallerKey::new(["bob"]), clock.now()).await.unwrap();
    assert_eq!(agent.send(agent.post("/reserve/tea", "l", "")).await.status, 424);
    assert_eq!(agent.send(agent.post("/reserve/tea", "k", "")).await.header("idempotency-replayed"), "true");
    assert_eq!(agent.reserved(), 1);
}
