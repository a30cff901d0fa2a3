//! Operations that a repetition does not do again.

use sts_client::dedup::{Begun, DedupKey, DedupStore, Held, Operation};

use super::store::{TestStore, operation, seconds, start};

async fn is_conflict(store: &dyn DedupStore, operation: &Operation) -> bool {
    matches!(store.begin(operation).await.unwrap(), Begun::Conflict)
}

async fn outcome(store: &dyn DedupStore, operation: &Operation) -> Option<Vec<u8>> {
    match store.begin(operation).await.unwrap() {
        Begun::Done { outcome } => Some(outcome),
        Begun::Started(_) | Begun::InFlight { .. } | Begun::Conflict => None,
    }
}

pub(super) async fn the_outcome_is_found_again_byte_for_byte(kept: &TestStore) {
    let store = kept.open().await;
    let stored: Vec<u8> = (0..=255).collect();
    let ticket = start(&*store, &operation(1)).await;
    assert_eq!(ticket.attempt, 1);
    assert_eq!(store.finish(&ticket, &stored).await.unwrap(), Held::Yes);
    assert_eq!(outcome(&*store, &operation(1)).await, Some(stored.clone()));
    assert_eq!(outcome(&*kept.open().await, &operation(1)).await, Some(stored), "in another process");

    let empty = Operation { key: DedupKey::new("test", ["empty"]), ..operation(1) };
    let ticket = start(&*store, &empty).await;
    assert_eq!(store.finish(&ticket, &[]).await.unwrap(), Held::Yes);
    assert_eq!(outcome(&*store, &empty).await, Some(Vec::new()), "an empty outcome is one");
}

pub(super) async fn an_operation_that_is_held_is_in_flight_for_others(kept: &TestStore) {
    let store = kept.open().await;
    let _ticket = start(&*store, &operation(1)).await;
    for handle in [store, kept.open().await] {
        let Begun::InFlight { retry_after } = handle.begin(&operation(1)).await.unwrap() else { panic!() };
        assert!(retry_after > seconds(50) && retry_after <= seconds(100), "{retry_after:?}");
    }
}

pub(super) async fn another_body_is_a_conflict_whatever_has_become_of_the_first(kept: &TestStore) {
    let store = kept.open().await;
    let ticket = start(&*store, &operation(1)).await;
    assert!(is_conflict(&*store, &operation(2)).await, "in flight");
    kept.pass(seconds(200)).await;
    assert!(is_conflict(&*store, &operation(2)).await, "its holder has died");
    let second = start(&*store, &operation(1)).await;
    assert_eq!(store.abandon(&second).await.unwrap(), Held::Yes);
    assert!(is_conflict(&*store, &operation(2)).await, "abandoned");
    let third = start(&*store, &operation(1)).await;
    assert_eq!(store.finish(&third, b"done").await.unwrap(), Held::Yes);
    assert!(is_conflict(&*store, &operation(2)).await, "done");
    assert_eq!(ticket.attempt + 2, third.attempt);
}

pub(super) async fn an_operation_whose_holder_died_begins_anew_after_its_lease(kept: &TestStore) {
    let store = kept.open().await;
    let _died = start(&*store, &operation(1)).await;
    kept.pass(seconds(90)).await;
    assert!(matches!(store.begin(&operation(1)).await.unwrap(), Begun::InFlight { .. }));
    kept.pass(seconds(20)).await;
    assert_eq!(start(&*store, &operation(1)).await.attempt, 2);
}

pub(super) async fn a_renewed_lease_holds_on(kept: &TestStore) {
    let store = kept.open().await;
    let ticket = start(&*store, &operation(1)).await;
    assert_eq!(store.renew(&ticket, seconds(500)).await.unwrap(), Held::Yes);
    kept.pass(seconds(400)).await;
    assert!(matches!(store.begin(&operation(1)).await.unwrap(), Begun::InFlight { .. }));
    assert_eq!(store.finish(&ticket, b"done").await.unwrap(), Held::Yes);
}

pub(super) async fn an_abandoned_operation_begins_anew_at_once(kept: &TestStore) {
    let store = kept.open().await;
    let ticket = start(&*store, &operation(1)).await;
    assert_eq!(store.abandon(&ticket).await.unwrap(), Held::Yes);
    assert_eq!(start(&*store, &operation(1)).await.attempt, 2);
}

pub(super) async fn abandoned_operations_leave_room_and_are_forgotten_within_ten_minutes(kept: &TestStore) {
    let store = kept.open().await;
    // An outcome of this length for each of them is more than the store in memory holds.
    let outcome = vec![b'x'; 1 << 20];
    let of = |number: u32| Operation {
        key: DedupKey::new("test", [number.to_string()]),
        expires_in: seconds(24 * 60 * 60),
        ..operation(1)
    };
    for number in 0..100 {
        let ticket = start(&*store, &of(number)).await;
        assert_eq!(store.abandon(&ticket).await.unwrap(), Held::Yes);
    }
    let ticket = start(&*store, &of(100)).await;
    assert_eq!(store.finish(&ticket, &outcome).await.unwrap(), Held::Yes);
    assert_eq!(start(&*store, &of(7)).await.attempt, 2, "its retry finds its count");
    kept.pass(seconds(601)).await;
    assert_eq!(store.purge().await.unwrap(), 99, "all but the one that is held, and the one that is done");
    assert_eq!(start(&*store, &of(8)).await.attempt, 1);
    assert!(matches!(store.begin(&of(100)).await.unwrap(), Begun::Done { .. }));
}

pub(super) async fn whoever_has_lost_an_operation_changes_nothing(kept: &TestStore) {
    let store = kept.open().await;
    let lost = start(&*store, &operation(1)).await;
    kept.pass(seconds(200)).await;
    let holder = start(&*store, &operation(1)).await;
    assert_eq!(store.renew(&lost, seconds(9_000)).await.unwrap(), Held::No);
    assert_eq!(store.abandon(&lost).await.unwrap(), Held::No);
    assert_eq!(store.finish(&lost, b"too late").await.unwrap(), Held::No);
    assert!(matches!(store.begin(&operation(1)).await.unwrap(), Begun::InFlight { .. }));
    assert_eq!(store.finish(&holder, b"in time").await.unwrap(), Held::Yes);
    assert_eq!(outcome(&*store, &operation(1)).await, Some(b"in time".to_vec()));
}

pub(super) async fn an_operation_is_finished_once(kept: &TestStore) {
    let store = kept.open().await;
    let ticket = start(&*store, &operation(1)).await;
    assert_eq!(store.finish(&ticket, b"first").await.unwrap(), Held::Yes);
    assert_eq!(store.finish(&ticket, b"second").await.unwrap(), Held::No);
    assert_eq!(store.abandon(&ticket).await.unwrap(), Held::No);
    assert_eq!(outcome(&*store, &operation(1)).await, Some(b"first".to_vec()));
}

pub(super) async fn an_outcome_that_has_expired_is_forgotten(kept: &TestStore) {
    let store = kept.open().await;
    let ticket = start(&*store, &operation(1)).await;
    assert_eq!(store.finish(&ticket, b"done").await.unwrap(), Held::Yes);
    kept.pass(seconds(990)).await;
    assert_eq!(outcome(&*store, &operation(1)).await, Some(b"done".to_vec()));
    kept.pass(seconds(20)).await;
    // Whether or not it was purged before, and with another body too.
    assert_eq!(start(&*store, &operation(2)).await.attempt, 1);
    assert_eq!(store.finish(&ticket, b"a ticket of the former one").await.unwrap(), Held::No);
}

pub(super) async fn an_operation_that_is_held_is_never_forgotten(kept: &TestStore) {
    let store = kept.open().await;
    let long = Operation { lease: seconds(900), expires_in: seconds(10), ..operation(1) };
    let ticket = start(&*store, &long).await;
    kept.pass(seconds(800)).await;
    assert_eq!(store.purge().await.unwrap(), 0);
    assert!(matches!(store.begin(&long).await.unwrap(), Begun::InFlight { .. }));
    assert_eq!(store.finish(&ticket, b"done").await.unwrap(), Held::Yes);
    assert_eq!(outcome(&*store, &long).await, Some(b"done".to_vec()));
}

pub(super) async fn purging_forgets_what_has_expired_and_nothing_else(kept: &TestStore) {
    let store = kept.open().await;
    let of = |name: &str, expires_in| Operation {
        key: DedupKey::new("test", [name]),
        expires_in: seconds(expires_in),
        ..operation(1)
    };
    let finished = start(&*store, &of("finished", 200)).await;
    assert_eq!(store.finish(&finished, b"done").await.unwrap(), Held::Yes);
    let _died = start(&*store, &of("died", 200)).await;
    let lasting = start(&*store, &of("lasting", 9_000)).await;
    assert_eq!(store.finish(&lasting, b"done").await.unwrap(), Held::Yes);
    kept.pass(seconds(300)).await;
    assert_eq!(store.purge().await.unwrap(), 2);
    assert_eq!(outcome(&*store, &of("lasting", 9_000)).await, Some(b"done".to_vec()));
}
