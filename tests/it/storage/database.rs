//! A fresh database, and servers' handles on it.

use std::sync::Arc;

use sqlx::{Connection as _, PgConnection, SqliteConnection};
use sts_server::storage::{self, Store};
use sts_tests::postgres::{self, Database};
use tempfile::TempDir;

use super::rows::codes;

/// A fresh, empty database. Every handle on it is another server.
pub(super) struct TestDatabase {
    url: String,
    _kept: Kept,
}

/// What makes the database go when the test ends.
#[expect(dead_code, reason = "kept for their drop")]
enum Kept {
    Directory(TempDir),
    Database(Database),
}

impl TestDatabase {
    pub(super) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("sts.db").display());
        Self { url, _kept: Kept::Directory(directory) }
    }

    pub(super) async fn postgres() -> Self {
        let database = postgres::database().await;
        Self { url: database.url().to_owned(), _kept: Kept::Database(database) }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Changes the database past the servers, as its administrator could.
    pub(super) async fn execute(&self, statement: &'static str) {
        if self.url.starts_with("sqlite") {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        }
    }

    /// A server that has not migrated the database.
    pub(super) async fn open(&self) -> Arc<dyn Store> {
        storage::open(&self.url, 10, codes()).await.unwrap()
    }

    /// A server that has.
    pub(super) async fn store(&self) -> Arc<dyn Store> {
        let store = self.open().await;
        store.migrate().await.unwrap();
        store
    }
}
