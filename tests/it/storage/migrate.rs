//! Migrations.

use super::database::TestDatabase;
use super::rows::{codes, counted, entry, known, past};
use sts_server::storage::{Changed, EntryChange, EntryKind, StorageError, Versions};

pub(super) async fn migrating_again_changes_nothing(database: &TestDatabase) {
    let store = database.store().await;
    let put = EntryChange::Put(entry(EntryKind::Agent, "coordinator", "{}"));
    let applied = store.change_entries(known(&*store).await.registry, &[put], &[]).await.unwrap();
    assert_eq!(applied, Changed::Applied(known(&*store).await.registry));
    store.migrate().await.unwrap();
    database.store().await;
    let (counter, entries) = counted(store.entries().await.unwrap());
    assert_eq!((counter, entries.len()), (1, 1));
}

pub(super) async fn eight_servers_migrate_an_empty_database_at_once(database: &TestDatabase) {
    let servers: Vec<_> = (0..8)
        .map(|_| {
            let url = database.url().to_owned();
            tokio::spawn(async move {
                let store = sts_server::storage::open(&url, 2, codes()).await?;
                store.migrate().await?;
                store.state().await
            })
        })
        .collect();
    for server in servers {
        let state = server.await.unwrap().unwrap();
        assert_eq!(state.versions, Versions::default());
        assert!(state.time > past());
    }
}

pub(super) async fn a_database_without_schema_is_broken_not_out_of_reach(database: &TestDatabase) {
    let store = database.open().await;
    let error = store.state().await.unwrap_err();
    assert!(matches!(error, StorageError::Broken(_)), "{error:?}");
}
