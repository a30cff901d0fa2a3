//! Values that count once.

use jiff::ToSpan;
use sts_client::dedup::{DedupKey, DedupStore, Spend};
use sts_jose::{Clock, SystemClock};

use super::store::{TestStore, caller, seconds};

async fn spend(store: &dyn DedupStore, key: DedupKey, expires_in_seconds: i64) -> Spend {
    let expires_at = SystemClock.now() + expires_in_seconds.seconds();
    store.spend(key, caller("alice"), expires_at).await.unwrap()
}

pub(super) async fn a_value_is_spent_once(store: &TestStore) {
    let (one, other) = (store.open().await, store.open().await);
    let key = DedupKey::new("message", ["a", "1"]);
    assert_eq!(spend(&*one, key, 300).await, Spend::First);
    assert_eq!(spend(&*one, key, 300).await, Spend::SeenBefore);
    assert_eq!(spend(&*other, key, 300).await, Spend::SeenBefore);
    assert_eq!(spend(&*other, DedupKey::new("message", ["a", "2"]), 300).await, Spend::First);
}

pub(super) async fn equal_values_of_two_namespaces_are_two(store: &TestStore) {
    let store = store.open().await;
    assert_eq!(spend(&*store, DedupKey::new("message", ["a"]), 300).await, Spend::First);
    assert_eq!(spend(&*store, DedupKey::new("answer", ["a"]), 300).await, Spend::First);
}

pub(super) async fn a_value_that_has_expired_already_is_remembered_all_the_same(store: &TestStore) {
    let store = store.open().await;
    let key = DedupKey::new("message", ["late"]);
    assert_eq!(spend(&*store, key, -3_600).await, Spend::First);
    store.purge().await.unwrap();
    assert_eq!(spend(&*store, key, -3_600).await, Spend::SeenBefore);
}

pub(super) async fn a_value_is_forgotten_a_minute_after_its_expiry_and_no_sooner(kept: &TestStore) {
    let store = kept.open().await;
    let key = DedupKey::new("message", ["old"]);
    assert_eq!(spend(&*store, key, 300).await, Spend::First);
    kept.pass(seconds(350)).await;
    assert_eq!(store.purge().await.unwrap(), 0);
    assert_eq!(spend(&*store, key, 300).await, Spend::SeenBefore);
    kept.pass(seconds(20)).await;
    assert_eq!(store.purge().await.unwrap(), 1);
    assert_eq!(spend(&*store, key, 300).await, Spend::First);
}
