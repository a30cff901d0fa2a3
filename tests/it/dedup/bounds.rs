//! The bounds of the store in memory, and each caller's share of it.

use std::sync::Arc;

use jiff::ToSpan;
use sts_client::dedup::{
    Begun, DedupError, DedupKey, DedupStore, Held, MemoryDedupStore, MemoryLimits, Operation, SMALL_OUTCOME_BYTES,
    Spend, Ticket,
};
use sts_jose::{Clock, ManualClock, SystemClock};

use super::store::{caller, operation, seconds, start};

fn store(limits: MemoryLimits) -> (MemoryDedupStore, ManualClock) {
    let clock = ManualClock::new(SystemClock.now());
    (MemoryDedupStore::new(Arc::new(clock.clone()), limits), clock)
}

/// Each value is of a caller of its own.
async fn spend(store: &MemoryDedupStore, clock: &ManualClock, name: &str) -> Result<Spend, DedupError> {
    store.spend(DedupKey::new("message", [name]), caller(name), clock.now() + 300.seconds()).await
}

fn of(caller_name: &str, number: usize) -> Operation {
    Operation {
        key: DedupKey::new("test", [caller_name, &number.to_string()]),
        caller: caller(caller_name),
        ..operation(1)
    }
}

/// Begins operations of a caller until the store refuses one.
async fn fill(store: &MemoryDedupStore, caller_name: &str) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    loop {
        match store.begin(&of(caller_name, tickets.len())).await {
            Ok(Begun::Started(ticket)) => tickets.push(ticket),
            Err(DedupError::Full) => return tickets,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_full_store_refuses_what_is_new_and_forgets_nothing_that_is_alive() {
    let (store, clock) = store(MemoryLimits { entries: 3, bytes: 1 << 20 });
    let ticket = start(&store, &operation(1)).await;
    assert_eq!(spend(&store, &clock, "a").await.unwrap(), Spend::First);
    assert_eq!(spend(&store, &clock, "b").await.unwrap(), Spend::First);

    assert!(matches!(spend(&store, &clock, "c").await, Err(DedupError::Full)));
    assert!(matches!(store.begin(&of("d", 1)).await, Err(DedupError::Full)));

    assert_eq!(spend(&store, &clock, "a").await.unwrap(), Spend::SeenBefore);
    assert_eq!(store.finish(&ticket, b"done").await.unwrap(), Held::Yes, "what has begun can be finished");
    assert!(matches!(store.begin(&operation(1)).await.unwrap(), Begun::Done { .. }));

    clock.advance(seconds(400));
    assert_eq!(spend(&store, &clock, "c").await.unwrap(), Spend::First, "there is room again");
}

#[tokio::test]
async fn room_is_counted_in_the_bytes_of_outcomes_that_exist() {
    let (store, _) = store(MemoryLimits { entries: 100, bytes: 10_000 });
    let mut tickets = Vec::new();
    for name in 0..9 {
        tickets.push(start(&store, &of(&name.to_string(), 1)).await);
    }
    let [first, second, ..] = tickets.as_slice() else { panic!() };
    assert_eq!(store.finish(first, &[0; 2_000]).await.unwrap(), Held::Yes);
    assert!(matches!(store.finish(second, &[0; 9_000]).await, Err(DedupError::Full)));
    assert_eq!(
        store.finish(second, &[0; SMALL_OUTCOME_BYTES]).await.unwrap(),
        Held::Yes,
        "that it is done fits always"
    );
}

#[tokio::test]
async fn a_caller_fills_half_of_the_store_and_leaves_a_share_for_the_next_one() {
    let (store, _) = store(MemoryLimits { entries: 120, bytes: 1 << 20 });
    assert_eq!(fill(&store, "mallory").await.len(), 60);
    assert_eq!(fill(&store, "trudy").await.len(), 30);
    assert!(!fill(&store, "alice").await.is_empty());
    assert!(matches!(store.begin(&of("mallory", 999)).await, Err(DedupError::Full)));
}

#[tokio::test]
async fn a_caller_fills_half_of_the_bytes_with_outcomes() {
    let (store, _) = store(MemoryLimits { entries: 1_000, bytes: 100_000 });
    let mut stored = 0;
    while let Ok(Begun::Started(ticket)) = store.begin(&of("mallory", stored)).await {
        assert_eq!(store.finish(&ticket, &[0; 10_000]).await.unwrap(), Held::Yes);
        stored += 1;
    }
    assert_eq!(stored, 5);
    let ticket = start(&store, &of("alice", 1)).await;
    assert_eq!(store.finish(&ticket, &[0; 10_000]).await.unwrap(), Held::Yes);
}

#[tokio::test]
async fn abandoned_operations_make_way_for_new_ones() {
    let (store, clock) = store(MemoryLimits { entries: 10, bytes: 1 << 20 });
    for number in 0..50 {
        let ticket = start(&store, &of("mallory", number)).await;
        assert_eq!(store.abandon(&ticket).await.unwrap(), Held::Yes);
    }
    assert_eq!(spend(&store, &clock, "alice").await.unwrap(), Spend::First);
    assert_eq!(start(&store, &of("mallory", 49)).await.attempt, 2, "the oldest went first");
    assert_eq!(start(&store, &of("mallory", 0)).await.attempt, 1);
}

#[tokio::test]
async fn what_was_counted_is_given_back() {
    let (store, clock) = store(MemoryLimits { entries: 3, bytes: 5_000 });
    for round in 0..50 {
        let lasting = Operation { expires_in: seconds(5), lease: seconds(5), ..of("alice", round) };
        let ticket = start(&store, &lasting).await;
        match round % 3 {
            0 => assert_eq!(store.finish(&ticket, &[0; 1_500]).await.unwrap(), Held::Yes),
            1 => assert_eq!(store.abandon(&ticket).await.unwrap(), Held::Yes),
            _ => assert_eq!(spend(&store, &clock, "bob").await.unwrap(), Spend::First),
        }
        clock.advance(seconds(361));
    }
    assert_eq!(fill(&store, "alice").await.len(), 2, "nothing is left of all that");
}
