//! What holds of `PostgreSQL` alone: sessions that can outlive what they were opened for, transactions that write at once.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use sts_server::storage::{
    self, AuditField, AuditFilter, AuditMember, AuditPage, AuditRow, KeyChanges, RevocationKind, Store, Version,
};
use tokio::task::JoinSet;

use super::database::TestDatabase;
use super::record::record_for_a_while;
use super::rows::{audit, codes, one_time, revocation};

/// How many sessions of this database are in a transaction in which nothing happens.
async fn forgotten_transactions(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT COUNT(*) FROM pg_stat_activity
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_record_given_up_at_any_point_leaves_no_transaction_open() {
    let database = TestDatabase::postgres().await;
    let store = database.store().await;
    let mut witness = PgConnection::connect(database.url()).await.unwrap();
    let mut waits = 0;
    while !record_for_a_while(&*store, i64::from(waits) + 1, &[one_time("n", &waits.to_string())], waits).await {
        // The pool rolls back at its leisure, but long before the server would cut the session off.
        let rolled_back = async {
            while forgotten_transactions(&mut witness).await > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(2), rolled_back).await;
        assert!(in_time.is_ok(), "given up after {waits} waits");
        waits += 1;
    }
}

async fn sessions_that_wait_for_a_lock(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

/// Reads everything after an id; again when the database was busy for too long.
async fn read_on(store: Arc<dyn Store>, after_id: Option<i64>) -> (Option<i64>, Vec<AuditRow>) {
    loop {
        match store.audit(&AuditFilter { after_id, ..AuditFilter::default() }, 10).await {
            Ok(AuditPage { rows: page, .. }) => {
                return (
                    page.last().map(|row| row.id),
                    page.iter().map(|stored| stored.row.well_formed().unwrap()).collect(),
                );
            }
            Err(error) => assert!(error.is_outage(), "{error:?}"),
        }
    }
}

/// A server in the middle of adding its events 1 and 2, of which the first has an id already.
struct SlowWriter {
    obstacle: PgConnection,
    write: tokio::task::JoinHandle<()>,
}

impl SlowWriter {
    async fn begin(database: &TestDatabase) -> Self {
        let mut witness = PgConnection::connect(database.url()).await.unwrap();
        // Holds up the writer of the event 2 of "w".
        let mut obstacle = PgConnection::connect(database.url()).await.unwrap();
        sqlx::raw_sql(
            "BEGIN; INSERT INTO audit_events (writer, writer_sequence, at, body, mac)
             VALUES ('w', 2, 0, '{}', decode('', 'hex'))",
        )
        .execute(&mut obstacle)
        .await
        .unwrap();
        let slow = database.store().await;
        let write = tokio::spawn(async move { slow.append_audit(&[audit("w", 1), audit("w", 2)]).await.unwrap() });
        while sessions_that_wait_for_a_lock(&mut witness).await < 1 {
            tokio::task::yield_now().await;
        }
        Self { obstacle, write }
    }

    async fn end(mut self) {
        sqlx::raw_sql("ROLLBACK").execute(&mut self.obstacle).await.unwrap();
        self.write.await.unwrap();
    }
}

#[tokio::test]
async fn no_audit_row_appears_before_one_that_was_already_read() {
    let database = TestDatabase::postgres().await;
    let quick = database.store().await;
    quick.append_audit(&[audit("u", 1)]).await.unwrap();
    let (known, rows) = read_on(Arc::clone(&quick), None).await;
    assert_eq!(rows, [audit("u", 1)]);
    let slow = SlowWriter::begin(&database).await;
    quick.append_audit(&[audit("v", 1)]).await.unwrap();

    // The event of "v" is committed and has a greater id than one that is not.
    assert_eq!(quick.audit(&AuditFilter { after_id: known, ..AuditFilter::default() }, 10).await.unwrap().rows, []);
    let ignorant = database.store().await.audit(&AuditFilter::default(), 10).await.unwrap_err();
    assert!(ignorant.is_outage(), "{ignorant:?}");
    slow.end().await;
    assert_eq!(read_on(quick, known).await.1, [audit("w", 1), audit("w", 2), audit("v", 1)]);
}

#[tokio::test]
async fn reading_the_audit_log_asks_for_no_lock_that_a_writer_waits_for() {
    let database = TestDatabase::postgres().await;
    let store = database.store().await;
    store.append_audit(&[audit("u", 1)]).await.unwrap();
    let slow = SlowWriter::begin(&database).await;
    let mut witness = PgConnection::connect(database.url()).await.unwrap();
    let reading = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.audit(&AuditFilter::default(), 10).await }
    });
    let mut sequence = 1;
    while !reading.is_finished() {
        let exclusive: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .fetch_one(&mut witness)
        .await
        .unwrap();
        assert_eq!(exclusive, 0);
        store.append_audit(&[audit("v", sequence)]).await.unwrap();
        sequence += 1;
    }
    slow.end().await;
}

#[tokio::test]
async fn after_a_promotion_without_the_last_rows_no_summary_hides_later_rows() {
    let database = TestDatabase::postgres().await;
    let store = database.store().await;
    let event = |sequence: i64| {
        let sub = if sequence == 400 { "rare" } else { "usual" };
        AuditRow { body: format!(r#"{{"event":"token.issued","sub":"{sub}"}}"#), ..audit("w", sequence) }
    };
    store.append_audit(&(1..=2000).map(event).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(store.audit(&AuditFilter::default(), 1).await.unwrap().rows.len(), 1, "its rows are settled");
    database.execute("DELETE FROM audit_events WHERE id > 300").await;
    database.execute("SELECT setval(pg_get_serial_sequence('audit_events', 'id'), 300)").await;

    let mut writer = PgConnection::connect(database.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT pg_advisory_xact_lock_shared(7310002)").execute(&mut writer).await.unwrap();
    assert_eq!(store.summarize_audit().await.unwrap(), 0, "the writer may add a row to any segment");
    let searched = store.audit(&AuditFilter::default(), 10).await.unwrap_err();
    assert!(searched.is_outage(), "{searched:?}");
    sqlx::raw_sql("COMMIT").execute(&mut writer).await.unwrap();

    store.append_audit(&(301..=1000).map(event).collect::<Vec<_>>()).await.unwrap();
    while store.summarize_audit().await.unwrap() > 0 {}
    let rare = AuditFilter { members: vec![vec![AuditMember::new(AuditField::Sub, "rare")]], ..AuditFilter::default() };
    let found = store.audit(&rare, 10).await.unwrap().rows;
    assert_eq!(found.iter().map(|stored| stored.row.writer_sequence).collect::<Vec<_>>(), [400]);
}

#[tokio::test]
async fn readers_of_the_audit_log_take_no_connection_that_follows_the_database_or_revokes() {
    let database = TestDatabase::postgres().await;
    database.store().await.append_audit(&[audit("u", 1)]).await.unwrap();
    // One connection that commits, and one for everything that has none set apart.
    let store = storage::open(database.url(), 2, codes()).await.unwrap();
    let slow = SlowWriter::begin(&database).await;
    let mut readers = JoinSet::new();
    for _ in 0..40 {
        let store = Arc::clone(&store);
        readers.spawn(async move { while store.audit(&AuditFilter::default(), 10).await.is_err() {} });
    }
    tokio::task::yield_now().await;
    for _ in 0..20 {
        store.state().await.unwrap();
        store.entries().await.unwrap();
        store.keys().await.unwrap();
        store.revocations().await.unwrap();
    }
    slow.end().await;
    store.revoke(&revocation(RevocationKind::Agent, None, "a"), &[]).await.unwrap();
    readers.join_all().await;
}

#[tokio::test]
async fn a_migration_that_replaces_indexes_of_approvals_blocks_no_writer_behind_a_backup() {
    let database = TestDatabase::postgres().await;
    let store = database.store().await;
    for undo in [
        "DROP INDEX approvals_pending, approvals_granted, approvals_closed, approvals_by_user",
        "CREATE INDEX approvals_by_principal ON approvals (principal_sub, requested_at)",
        "CREATE INDEX approvals_by_expiry ON approvals (expires_at)",
        "DROP TABLE delegation_uses",
        "DROP INDEX revocations_by_expiry",
        "ALTER TABLE audit_summaries DROP COLUMN counts_uses",
        "DELETE FROM _sqlx_migrations WHERE version >= 19",
    ] {
        database.execute(undo).await;
    }
    let [mut backup, mut witness] =
        [PgConnection::connect(database.url()).await.unwrap(), PgConnection::connect(database.url()).await.unwrap()];
    sqlx::raw_sql("BEGIN; SELECT COUNT(*) FROM approvals").execute(&mut backup).await.unwrap();
    let migrated = tokio::spawn(async move { store.migrate().await });
    while sessions_that_wait_for_a_lock(&mut witness).await == 0 {
        assert!(!migrated.is_finished(), "the backup reads the table");
        tokio::task::yield_now().await;
    }
    // A waiting ACCESS EXCLUSIVE lock refuses this one.
    let written = sqlx::raw_sql("BEGIN; LOCK TABLE approvals IN ROW EXCLUSIVE MODE NOWAIT; COMMIT");
    written.execute(&mut witness).await.unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut backup).await.unwrap();
    migrated.await.unwrap().unwrap();
    let replaced =
        "SELECT COUNT(*) FROM pg_indexes WHERE indexname IN ('approvals_by_principal', 'approvals_by_expiry')";
    assert_eq!(sqlx::query_scalar::<_, i64>(replaced).fetch_one(&mut witness).await.unwrap(), 0);
}

#[tokio::test]
async fn every_raised_counter_is_announced() {
    let database = TestDatabase::postgres().await;
    let [follower, other] = [database.store().await, database.store().await];
    let is_told = async |what: &str| {
        let told = tokio::time::timeout(Duration::from_secs(10), follower.changed()).await;
        assert!(told.is_ok(), "{what}");
    };
    is_told("it listens").await;
    other.change_entries(Version::default(), &[], &[]).await.unwrap();
    is_told("the registry").await;
    other.change_keys(Version::default(), &KeyChanges::default(), &[]).await.unwrap();
    is_told("keys").await;
    other.revoke(&revocation(RevocationKind::Agent, None, "a"), &[]).await.unwrap();
    is_told("a revocation").await;
    other.lift(RevocationKind::Agent, None, "a", &[]).await.unwrap();
    is_told("a lift").await;
}
