//! What only the store in memory can show: its bounds.

use std::sync::Arc;

use jiff::ToSpan;
use sts_client::once::{Begun, Held, MemoryLimits, MemoryOnceStore, OnceError, OnceKey, OnceStore, Operation, Spend};
use sts_jose::{Clock, ManualClock, SystemClock};

use super::store::{operation, seconds, start};

fn store(limits: MemoryLimits) -> (MemoryOnceStore, ManualClock) {
    let clock = ManualClock::new(SystemClock.now());
    (MemoryOnceStore::new(Arc::new(clock.clone()), limits), clock)
}

async fn spend(store: &MemoryOnceStore, clock: &ManualClock, name: &str) -> Result<Spend, OnceError> {
    store.spend(OnceKey::new("message", [name]), clock.now() + 300.seconds()).await
}

#[tokio::test]
async fn a_full_store_refuses_what_is_new_and_forgets_nothing_that_is_alive() {
    let (store, clock) = store(MemoryLimits { entries: 3, bytes: 1 << 20 });
    let ticket = start(&store, &operation(1)).await;
    assert_eq!(spend(&store, &clock, "a").await.unwrap(), Spend::First);
    assert_eq!(spend(&store, &clock, "b").await.unwrap(), Spend::First);

    assert!(matches!(spend(&store, &clock, "c").await, Err(OnceError::Full)));
    let other = Operation { key: OnceKey::new("test", ["other"]), ..operation(1) };
    assert!(matches!(store.begin(&other).await, Err(OnceError::Full)));

    assert_eq!(spend(&store, &clock, "a").await.unwrap(), Spend::SeenBefore);
    assert_eq!(store.finish(&ticket, b"done").await.unwrap(), Held::Yes, "what has begun can be finished");
    assert!(matches!(store.begin(&operation(1)).await.unwrap(), Begun::Done { .. }));

    clock.advance(seconds(400));
    assert_eq!(spend(&store, &clock, "c").await.unwrap(), Spend::First, "there is room again");
}

#[tokio::test]
async fn room_for_the_outcome_is_there_before_the_operation_begins() {
    let (store, _) = store(MemoryLimits { entries: 100, bytes: 3_000 });
    let big = |name: &str| Operation { key: OnceKey::new("test", [name]), max_outcome_bytes: 2_000, ..operation(1) };
    let ticket = start(&store, &big("a")).await;
    assert!(matches!(store.begin(&big("b")).await, Err(OnceError::Full)));
    // What was kept free and is not needed serves others.
    assert_eq!(store.finish(&ticket, b"short").await.unwrap(), Held::Yes);
    let ticket = start(&store, &big("b")).await;
    assert!(matches!(store.finish(&ticket, &[0; 2_001]).await, Err(OnceError::Full)));
    assert_eq!(store.finish(&ticket, &[0; 2_000]).await.unwrap(), Held::Yes);
}

#[tokio::test]
async fn what_was_counted_is_given_back() {
    let (store, clock) = store(MemoryLimits { entries: 100, bytes: 3_000 });
    for round in 0..50 {
        let big = Operation {
            key: OnceKey::new("test", [round.to_string()]),
            max_outcome_bytes: 2_000,
            expires_in: seconds(5),
            lease: seconds(5),
            ..operation(1)
        };
        let ticket = start(&store, &big).await;
        if round % 2 == 0 {
            assert_eq!(store.finish(&ticket, &[0; 1_500]).await.unwrap(), Held::Yes);
        }
        clock.advance(seconds(6));
    }
}
