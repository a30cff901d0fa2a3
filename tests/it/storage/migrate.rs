//! Migrations.

use super::database::TestDatabase;
use super::rows::{entry, past};
use sts_server::storage::{Changed, EntryChange, EntryKind, StorageError};

pub(super) async fn migrating_again_changes_nothing(database: &TestDatabase) {
    let store = database.store().await;
    let put = EntryChange::Put(entry(EntryKind::Agent, "coordinator", "{}"));
    assert_eq!(store.change_entries(0, &[put], &[]).await.unwrap(), Changed::Applied(1));
    store.migrate().await.unwrap();
    database.store().await;
    let (counter, entries) = store.entries().await.unwrap();
    assert_eq!((counter, entries.len()), (1, 1));
}

pub(super) async fn eight_servers_migrate_an_empty_database_at_once(database: &TestDatabase) {
    let servers: Vec<_> = (0..8)
        .map(|_| {
            let url = database.url().to_owned();
            tokio::spawn(async move {
                let store = sts_server::storage::open(&url, 2).await?;
                store.migrate().await?;
                store.versions().await
            })
        })
        .collect();
    for server in servers {
        let versions = server.await.unwrap().unwrap();
        assert_eq!((versions.registry, versions.keys, versions.revocations), (0, 0, 0));
        assert!(versions.database_time > past());
    }
}

pub(super) async fn a_database_without_schema_is_broken_not_out_of_reach(database: &TestDatabase) {
    let store = database.open().await;
    let error = store.versions().await.unwrap_err();
    assert!(matches!(error, StorageError::Broken(_)), "{error:?}");
}
