//! What holds when many act at once, in two processes.

use std::sync::Arc;

use jiff::ToSpan;
use sts_client::dedup::{Begun, DedupKey, DedupStore, Spend};
use sts_jose::{Clock, SystemClock};
use tokio::task::JoinSet;

use super::store::{TestStore, caller, operation, seconds, start};

async fn two_processes(kept: &TestStore) -> [Arc<dyn DedupStore>; 2] {
    [kept.open().await, kept.open().await]
}

pub(super) async fn a_value_raced_by_fifty_is_spent_once(kept: &TestStore) {
    let processes = two_processes(kept).await;
    let mut racers = JoinSet::new();
    for number in 0..50 {
        let store = Arc::clone(&processes[number % 2]);
        let expires_at = SystemClock.now() + 300.seconds();
        racers.spawn(async move {
            store.spend(DedupKey::new("message", ["raced"]), caller("alice"), expires_at).await.unwrap()
        });
    }
    let first = racers.join_all().await.into_iter().filter(|spend| *spend == Spend::First).count();
    assert_eq!(first, 1);
}

/// How many of fifty may begin.
async fn race(processes: &[Arc<dyn DedupStore>; 2]) -> usize {
    let mut racers = JoinSet::new();
    for number in 0..50 {
        let store = Arc::clone(&processes[number % 2]);
        racers.spawn(async move { store.begin(&operation(1)).await.unwrap() });
    }
    racers.join_all().await.into_iter().filter(|begun| matches!(begun, Begun::Started(_))).count()
}

pub(super) async fn an_operation_raced_by_fifty_begins_once(kept: &TestStore) {
    assert_eq!(race(&two_processes(kept).await).await, 1);
}

pub(super) async fn an_operation_that_was_lost_is_raced_and_begins_once(kept: &TestStore) {
    let processes = two_processes(kept).await;
    let _died = start(&*processes[0], &operation(1)).await;
    assert_eq!(race(&processes).await, 0);
    kept.pass(seconds(200)).await;
    assert_eq!(race(&processes).await, 1);
}
