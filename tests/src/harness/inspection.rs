//! What a server recorded, read behind its back; what may be done to its database; and that no secret is left behind.

use sqlx::{PgPool, SqlitePool};
use sts_jose::Clock as _;
use sts_server::record::{Event, EventKind};
use sts_server::storage::{AuditFilter, RevocationKind, RevocationRow};

use super::Harness;

impl Harness {
    /// The audit events of a request, oldest first.
    pub async fn events(&self, correlation_id: &str) -> Vec<Event> {
        let filter = AuditFilter { correlation_id: Some(correlation_id.to_owned()), ..AuditFilter::default() };
        let rows = self.store.audit(&filter, 1000).await.expect("the audit log").rows;
        rows.iter().map(|row| serde_json::from_str(&row.row.body).expect("an event")).collect()
    }

    /// The kinds of the events that name an approval as what they are about, oldest first; requests that were refused left out.
    pub async fn approval_events(&self, id: &str) -> Vec<EventKind> {
        let rows = self.store.audit(&AuditFilter::default(), 1000).await.expect("the audit log").rows;
        let events = rows.iter().map(|row| serde_json::from_str::<Event>(&row.row.body).expect("an event"));
        let about = events.filter(|event| event.approval.as_deref() == Some(id) && event.reason.is_none());
        about.map(|event| event.event).collect()
    }

    /// How many tokens were recorded.
    pub async fn token_count(&self) -> i64 {
        self.inspector.count("SELECT count(*) FROM tokens").await
    }

    /// How many audit events were recorded.
    pub async fn audit_count(&self) -> i64 {
        self.inspector.count("SELECT count(*) FROM audit_events").await
    }

    /// Returns the log of this test since the start: see [`Capture::own`](crate::Capture::own).
    #[must_use]
    pub fn own_log(&self) -> String {
        self.log.own()
    }

    /// What the server and all others logged since the start.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Commits a revocation as of now, beside the server, which sees it when it follows the database or records.
    ///
    /// # Panics
    /// When the database does not take it.
    pub async fn block(&self, kind: RevocationKind, issuer: Option<&str>, value: &str) {
        let at = self.clock.now();
        let expires_at = at.checked_add(jiff::SignedDuration::from_hours(2)).expect("a moment");
        let (issuer, value) = (issuer.map(str::to_owned), value.to_owned());
        let row = RevocationRow { kind, issuer, value, at, expires_at, version: 0, txn: None };
        self.store.revoke(&row, &[]).await.expect("a database");
    }

    /// Changes the database past the server, as its administrator could.
    ///
    /// # Panics
    /// When the database does not take it.
    pub async fn execute(&self, statement: &str) {
        self.inspector.execute(statement.to_owned()).await;
    }

    /// Drops a table under the server.
    ///
    /// # Panics
    /// When it is not there.
    pub async fn drop_table(&self, table: &str) {
        self.inspector.execute(format!("DROP TABLE {table}")).await;
    }

    /// Drops the whole database under the server; `PostgreSQL` only.
    pub fn drop_database(&mut self) {
        self.postgres = None;
    }

    /// Searches log and database for the tokens and secrets of this test.
    ///
    /// # Panics
    /// When it finds one.
    fn assert_nothing_leaked(&self) {
        self.seen.assert_not_in(&self.log.text(), "the log");
        for file in std::fs::read_dir(self.directory.path()).expect("the directory").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with("sts.db") {
                let bytes = std::fs::read(file.path()).unwrap_or_default();
                self.seen.assert_not_in(&String::from_utf8_lossy(&bytes), &name);
            }
        }
        if self.postgres.is_some() {
            let url = self.config.database.url.clone();
            let bodies = std::thread::spawn(move || audit_bodies(&url)).join().expect("the audit log");
            self.seen.assert_not_in(&bodies, "the audit log");
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_nothing_leaked();
        }
    }
}

/// Reads the database directly.
#[derive(Debug)]
pub(super) enum Inspector {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Inspector {
    pub(super) fn open(url: &str) -> Self {
        if url.starts_with("sqlite:") {
            Self::Sqlite(SqlitePool::connect_lazy(url).expect("a database"))
        } else {
            Self::Postgres(PgPool::connect_lazy(url).expect("a database"))
        }
    }

    async fn count(&self, statement: &'static str) -> i64 {
        let count = match self {
            Self::Sqlite(pool) => sqlx::query_scalar(statement).fetch_one(pool).await,
            Self::Postgres(pool) => sqlx::query_scalar(statement).fetch_one(pool).await,
        };
        count.expect("a count")
    }

    async fn execute(&self, statement: String) {
        let statement = sqlx::AssertSqlSafe(statement);
        match self {
            Self::Sqlite(pool) => sqlx::raw_sql(statement).execute(pool).await.map(drop),
            Self::Postgres(pool) => sqlx::raw_sql(statement).execute(pool).await.map(drop),
        }
        .expect("a statement");
    }
}

/// All audit events of a `PostgreSQL` database, as one text; on a runtime of its own, because a drop cannot await.
fn audit_bodies(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let pool = PgPool::connect(url).await.expect("a database");
        let bodies: Vec<String> =
            sqlx::query_scalar("SELECT body FROM audit_events").fetch_all(&pool).await.expect("the audit log");
        pool.close().await;
        bodies.join("\n")
    })
}
