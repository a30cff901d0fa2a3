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

pub(super) async fn a_schema_that_is_newer_is_used_unless_it_excludes_this_version(database: &TestDatabase) {
    let store = database.store().await;
    database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (9999, 'of the next release', TRUE, 'x', 0)",
        )
        .await;
    store.migrate().await.unwrap();
    store.check_schema().await.unwrap();
    assert_eq!(known(&*store).await, Versions::default());
    database.execute("UPDATE schema_readers SET oldest_reader = 9999").await;
    for outcome in [store.migrate().await, store.check_schema().await] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, StorageError::SchemaTooNew { schema: 9999, .. }), "{error:?}");
        assert!(error.to_string().contains("a newer version of sts-server"), "{error}");
    }
}

pub(super) async fn a_counter_without_a_code_is_sealed_only_by_the_migration_that_adds_it(database: &TestDatabase) {
    let store = database.store().await;
    let is_sealed = async || store.approvals().await.is_ok_and(|stored| stored.is_whole && stored.faults.is_empty());
    assert!(is_sealed().await, "a new database");
    database
        .execute(
            "DROP TABLE approvals; DELETE FROM counters WHERE name = 'approvals';
             DELETE FROM _sqlx_migrations WHERE version IN (15, 16, 19)",
        )
        .await;
    store.migrate().await.unwrap();
    assert!(is_sealed().await, "a database that had no approvals");
    database
        .execute(
            "DELETE FROM counters WHERE name = 'approvals'; INSERT INTO counters (name, value) VALUES ('approvals', 0)",
        )
        .await;
    store.migrate().await.unwrap();
    assert!(!is_sealed().await, "a counter that lost its code");
}

pub(super) async fn a_schema_that_is_older_is_refused_where_it_must_not_be_migrated(database: &TestDatabase) {
    let store = database.open().await;
    let refuses = async || {
        let error = store.check_schema().await.unwrap_err();
        assert!(matches!(error, StorageError::SchemaTooOld { .. }), "{error:?}");
    };
    refuses().await;
    store.migrate().await.unwrap();
    store.check_schema().await.unwrap();
    database.execute("DELETE FROM _sqlx_migrations WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)").await;
    refuses().await;
}
