//! Signing keys.

use sts_server::storage::{AuditKeyRow, AuditRow, Changed, KeyChanges, KeyRow, KeyState, Store, Version};

use super::database::TestDatabase;
use super::rows::{audit, audit_rows, counted, future_by, key, known};

/// Changes keys as a server that knows what there is; the counter.
async fn change(store: &dyn Store, changes: &KeyChanges, audit: &[AuditRow]) -> i64 {
    match store.change_keys(known(store).await.keys, changes, audit).await.unwrap() {
        Changed::Applied(version) => version.counter,
        Changed::Conflict => panic!("nothing else changes keys"),
    }
}

fn put(keys: &[KeyRow]) -> KeyChanges {
    KeyChanges { put: keys.to_vec(), ..KeyChanges::default() }
}

pub(super) async fn keys_are_read_back(database: &TestDatabase) {
    let store = database.store().await;
    let keys = [
        KeyRow { algorithm: "RS256".to_owned(), created_at: future_by(1), ..key("b", KeyState::Next) },
        KeyRow { state_since: future_by(3), created_at: future_by(2), ..key("a", KeyState::Active) },
        KeyRow { sealed: Vec::new(), created_at: future_by(2), ..key("c", KeyState::Retired) },
    ];
    assert_eq!(change(&*store, &put(&keys), &[audit("w", 1)]).await, 1);
    assert_eq!(counted(store.keys().await.unwrap()), (1, keys.to_vec()));
    assert_eq!(known(&*store).await.keys.counter, 1);
    assert_eq!(audit_rows(&*store).await, [audit("w", 1)]);
}

pub(super) async fn a_key_moves_through_its_states(database: &TestDatabase) {
    let store = database.store().await;
    for (counter, state) in [KeyState::Next, KeyState::Active, KeyState::Retired].into_iter().enumerate() {
        let counter = i64::try_from(counter).unwrap();
        let moved = KeyRow { state_since: future_by(counter), ..key("a", state) };
        change(&*store, &put(std::slice::from_ref(&moved)), &[]).await;
        assert_eq!(counted(store.keys().await.unwrap()), (counter + 1, vec![moved]));
    }
}

pub(super) async fn a_key_deleted_and_put_in_one_change_is_there(database: &TestDatabase) {
    let store = database.store().await;
    change(&*store, &put(&[key("a", KeyState::Next), key("b", KeyState::Next)]), &[]).await;
    let changes = KeyChanges {
        delete: vec!["a".to_owned(), "b".to_owned(), "absent".to_owned()],
        put: vec![key("a", KeyState::Next), key("a", KeyState::Active)],
        ..KeyChanges::default()
    };
    change(&*store, &changes, &[]).await;
    assert_eq!(counted(store.keys().await.unwrap()), (2, vec![key("a", KeyState::Active)]));
}

pub(super) async fn former_audit_keys_are_read_back_and_replaced(database: &TestDatabase) {
    let store = database.store().await;
    let changes = KeyChanges { audit_keys: vec![audit_key("b"), audit_key("a")], ..KeyChanges::default() };
    assert_eq!(change(&*store, &changes, &[]).await, 1);
    let sealed_anew = AuditKeyRow { sealed: vec![9], retired_at: future_by(7), ..audit_key("b") };
    let changes = KeyChanges { audit_keys: vec![sealed_anew.clone()], ..KeyChanges::default() };
    change(&*store, &changes, &[]).await;
    assert_eq!(store.audit_keys().await.unwrap(), [audit_key("a"), sealed_anew]);
}

fn audit_key(name: &str) -> AuditKeyRow {
    AuditKeyRow { name: name.to_owned(), retired_at: future_by(1), sealed: vec![0, 255] }
}

pub(super) async fn a_stale_change_of_keys_writes_nothing(database: &TestDatabase) {
    let store = database.store().await;
    change(&*store, &put(&[key("a", KeyState::Next)]), &[]).await;
    let changes = KeyChanges {
        delete: vec!["a".to_owned()],
        put: vec![key("b", KeyState::Next)],
        audit_keys: vec![audit_key("k")],
    };
    let stale = store.change_keys(Version::default(), &changes, &[audit("w", 1)]).await.unwrap();
    assert_eq!(stale, Changed::Conflict);
    assert_eq!(counted(store.keys().await.unwrap()), (1, vec![key("a", KeyState::Next)]));
    assert_eq!(store.audit_keys().await.unwrap(), []);
    assert_eq!(audit_rows(&*store).await, []);
}

pub(super) async fn of_two_servers_that_change_keys_one_succeeds(database: &TestDatabase) {
    let servers = [database.store().await, database.store().await];
    for _round in 0..10 {
        let expected = known(&*servers[0]).await.keys;
        let attempts = servers.clone().map(|server| {
            tokio::spawn(
                async move { server.change_keys(expected, &put(&[key("a", KeyState::Next)]), &[]).await.unwrap() },
            )
        });
        let mut outcomes = Vec::new();
        for attempt in attempts {
            outcomes.push(attempt.await.unwrap());
        }
        let applied = Changed::Applied(known(&*servers[0]).await.keys);
        assert!(outcomes.contains(&applied), "{outcomes:?}");
        assert!(outcomes.contains(&Changed::Conflict), "{outcomes:?}");
    }
}
