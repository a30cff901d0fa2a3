//! Counters and registry entries.

use sts_server::storage::{AuditRow, Changed, EntryChange, EntryKind, EntryRow, Origin, Store, Version, Versions};

use super::database::TestDatabase;
use super::rows::{audit, audit_rows, counted, entry, future, known, past};

/// Changes entries as a server that knows what there is; the counter.
async fn change(store: &dyn Store, changes: &[EntryChange], audit: &[AuditRow]) -> i64 {
    match store.change_entries(known(store).await.registry, changes, audit).await.unwrap() {
        Changed::Applied(version) => version.counter,
        Changed::Conflict => panic!("nothing else changes entries"),
    }
}

fn put(entry: EntryRow) -> EntryChange {
    EntryChange::Put(entry)
}

pub(super) async fn a_new_database_counts_from_zero(database: &TestDatabase) {
    let store = database.store().await;
    assert_eq!(known(&*store).await, Versions::default());
    assert_eq!(counted(store.entries().await.unwrap()), (0, Vec::new()));
    assert_eq!(counted(store.keys().await.unwrap()), (0, Vec::new()));
    assert_eq!(counted(store.revocations().await.unwrap()), (0, Vec::new()));
}

pub(super) async fn the_database_tells_its_time(database: &TestDatabase) {
    let store = database.store().await;
    let first = store.state().await.unwrap().time;
    let second = store.state().await.unwrap().time;
    assert!(past() < first && first <= second && second < future(), "{first} {second}");
}

pub(super) async fn entries_are_read_back_in_order(database: &TestDatabase) {
    let store = database.store().await;
    let entries = [
        entry(EntryKind::Issuer, "https://b.example", r#"{"issuer":"ü \" \\ \n"}"#),
        EntryRow { origin: Origin::Api, disabled_by_admin: true, ..entry(EntryKind::Agent, "b", "{}") },
        entry(EntryKind::Agent, "B", "{}"),
        entry(EntryKind::Delegation, "a", "{}"),
        // The same id as that of another kind.
        entry(EntryKind::Agent, "a", "{}"),
    ];
    let changes = entries.clone().map(put);
    assert_eq!(change(&*store, &changes, &[audit("w", 1)]).await, 1);
    assert_eq!(known(&*store).await.registry.counter, 1);
    assert_eq!(audit_rows(&*store).await, [audit("w", 1)]);

    // By kind, then byte for byte by id.
    let [issuer, lower_b, upper_b, delegation, lower_a] = entries;
    let expected = vec![upper_b, lower_a, lower_b, delegation, issuer];
    assert_eq!(counted(store.entries().await.unwrap()), (1, expected));
}

pub(super) async fn an_entry_put_again_is_replaced_whole(database: &TestDatabase) {
    let store = database.store().await;
    let first = entry(EntryKind::Agent, "a", r#"{"a":1}"#);
    let second =
        EntryRow { origin: Origin::Api, disabled_by_admin: true, ..entry(EntryKind::Agent, "a", r#"{"a":2}"#) };
    change(&*store, &[put(first)], &[]).await;
    assert_eq!(change(&*store, &[put(second.clone())], &[]).await, 2);
    assert_eq!(counted(store.entries().await.unwrap()), (2, vec![second]));
}

pub(super) async fn deleting_an_entry_leaves_the_others(database: &TestDatabase) {
    let store = database.store().await;
    let agent = entry(EntryKind::Agent, "a", "{}");
    let namesake = entry(EntryKind::Delegation, "a", "{}");
    change(&*store, &[put(agent), put(namesake.clone())], &[]).await;
    let changes = [
        EntryChange::Delete(EntryKind::Agent, "a".to_owned()),
        EntryChange::Delete(EntryKind::Issuer, "absent".to_owned()),
    ];
    assert_eq!(change(&*store, &changes, &[]).await, 2);
    assert_eq!(counted(store.entries().await.unwrap()), (2, vec![namesake]));
}

pub(super) async fn of_several_changes_of_an_entry_the_last_one_counts(database: &TestDatabase) {
    let store = database.store().await;
    let delete = |id: &str| EntryChange::Delete(EntryKind::Agent, id.to_owned());
    let changes = [
        put(entry(EntryKind::Agent, "gone", "{}")),
        delete("gone"),
        delete("here"),
        put(entry(EntryKind::Agent, "here", "1")),
        put(entry(EntryKind::Agent, "here", "2")),
    ];
    change(&*store, &changes, &[]).await;
    assert_eq!(counted(store.entries().await.unwrap()), (1, vec![entry(EntryKind::Agent, "here", "2")]));
}

pub(super) async fn a_stale_change_of_entries_writes_nothing(database: &TestDatabase) {
    let store = database.store().await;
    change(&*store, &[put(entry(EntryKind::Agent, "a", "{}"))], &[]).await;
    let present = known(&*store).await.registry;
    let others =
        [Version::default(), Version { counter: 2, ..present }, Version { generation: !present.generation, ..present }];
    for stale in others {
        let change = put(entry(EntryKind::Agent, "b", "{}"));
        assert_eq!(store.change_entries(stale, &[change], &[audit("w", 1)]).await.unwrap(), Changed::Conflict);
    }
    assert_eq!(counted(store.entries().await.unwrap()), (1, vec![entry(EntryKind::Agent, "a", "{}")]));
    assert_eq!(audit_rows(&*store).await, []);
}

pub(super) async fn of_two_servers_that_change_entries_one_succeeds(database: &TestDatabase) {
    let servers = [database.store().await, database.store().await];
    for round in 0..10 {
        let expected = known(&*servers[0]).await.registry;
        let attempts = servers.clone().map(|server| {
            tokio::spawn(async move {
                let change = put(entry(EntryKind::Agent, "a", &round.to_string()));
                server.change_entries(expected, &[change], &[]).await.unwrap()
            })
        });
        let mut applied = 0;
        for attempt in attempts {
            match attempt.await.unwrap() {
                Changed::Applied(version) => {
                    assert_eq!(version.counter, round + 1);
                    applied += 1;
                }
                Changed::Conflict => {}
            }
        }
        assert_eq!(applied, 1);
    }
}

pub(super) async fn entries_and_their_counter_are_one_snapshot(database: &TestDatabase) {
    let writer = database.store().await;
    let reader = database.store().await;
    let rounds: i64 = 30;
    let writing = tokio::spawn(async move {
        for round in 0..rounds {
            let counter = (round + 1).to_string();
            let changes = ["a", "b", "c"].map(|id| put(entry(EntryKind::Agent, id, &counter)));
            assert_eq!(change(&*writer, &changes, &[]).await, round + 1);
        }
    });
    let mut seen = 0;
    while seen < rounds {
        let (counter, entries) = counted(reader.entries().await.unwrap());
        assert!(counter >= seen);
        seen = counter;
        let bodies: Vec<&str> = entries.iter().map(|entry| entry.body.as_str()).collect();
        let counter = counter.to_string();
        let expected: &[&str] = if seen == 0 { &[] } else { &[&counter, &counter, &counter] };
        assert_eq!(bodies, expected);
    }
    writing.await.unwrap();
}
