//! What an outage looks like, and what is none.

use std::os::unix::fs::PermissionsExt;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use sts_server::storage::{self, StorageError};
use sts_tests::postgres::Cluster;

use super::database::TestDatabase;
use super::rows::{audit, audit_rows, codes, record_after_outage, record_rows, record_tokens, token};
use sts_server::storage::RecordRows;

#[tokio::test]
async fn other_schemes_are_refused() {
    for url in ["mysql://localhost/x", "sqlite", "", "postgresx://localhost/x", "SQLITE:x"] {
        let refused = storage::open(url, 1, codes()).await.map(drop).unwrap_err();
        assert!(matches!(refused, StorageError::Url), "{url}: {refused:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_outage() {
    // A port on which nobody listens: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://sts:very-secret@127.0.0.1:{port}/sts");
    let store = storage::open(&url, 1, codes()).await.unwrap();
    assert!(store.migrate().await.unwrap_err().is_outage());
    assert!(store.state().await.unwrap_err().is_outage());
    assert!(store.append_audit(&[audit("w", 1)]).await.unwrap_err().is_outage());
    assert!(!format!("{store:?}").contains("very-secret"));
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_no_outage() {
    let database = TestDatabase::postgres().await;
    let store = storage::open(&format!("{}_not", database.url()), 1, codes()).await.unwrap();
    let error = store.state().await.unwrap_err();
    assert!(!error.is_outage(), "{error:?}");
}

#[tokio::test]
async fn a_crash_of_the_server_loses_nothing_that_was_recorded() {
    let cluster = Cluster::start().await;
    let database = cluster.database().await;
    let store = storage::open(database.url(), 2, codes()).await.unwrap();
    store.migrate().await.unwrap();
    record_rows(&*store, RecordRows { tokens: vec![token("before", None)], audit: vec![audit("w", 1)] }).await.unwrap();

    cluster.stop_immediate().await;
    for _ in 0..3 {
        let error = record_tokens(&*store, vec![token("during", None)]).await.unwrap_err();
        assert!(error.is_outage(), "{error:?}");
    }
    assert!(store.state().await.unwrap_err().is_outage());

    cluster.start_again().await;
    record_after_outage(&*store, token("after", None)).await;
    assert!(store.token("before").await.unwrap().is_some());
    assert!(store.token("during").await.unwrap().is_none());
    assert_eq!(audit_rows(&*store).await, [audit("w", 1)]);

    cluster.restart().await;
    assert!(store.token("after").await.unwrap().is_some());
}

#[tokio::test]
async fn a_closed_database_is_an_outage() {
    for database in [TestDatabase::sqlite().await, TestDatabase::postgres().await] {
        let store = database.store().await;
        store.close().await;
        assert!(store.state().await.unwrap_err().is_outage());
        assert!(store.append_audit(&[audit("w", 1)]).await.unwrap_err().is_outage());
    }
}

#[tokio::test]
async fn only_the_owner_reads_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sts.db");
    let store = storage::open(&format!("sqlite:{}", file.display()), 1, codes()).await.unwrap();
    store.migrate().await.unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        files += 1;
    }
    // The database, its write-ahead log and the index of that.
    assert_eq!(files, 3);
}

#[tokio::test]
async fn a_file_without_its_directory_is_no_outage() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("absent").join("sts.db");
    for url in [format!("sqlite://{}", file.display()), "sqlite::memory:".to_owned()] {
        let error = storage::open(&url, 1, codes()).await.map(drop).unwrap_err();
        assert!(matches!(error, StorageError::Broken(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_file_locked_by_another_process_is_an_outage() {
    let database = TestDatabase::sqlite().await;
    let store = database.store().await;
    let mut other = SqliteConnection::connect(database.url()).await.unwrap();
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = store.append_audit(&[audit("w", 1)]).await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    // Reading goes on.
    assert_eq!(audit_rows(&*store).await, []);
    lock.rollback().await.unwrap();
    store.append_audit(&[audit("w", 1)]).await.unwrap();
}
