//! What holds of `PostgreSQL` alone: sessions that can outlive what they were opened for, transactions that write at once.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use sts_server::storage::{AuditFilter, AuditRow, KeyChanges, RevocationKind, Store, Version};

use super::database::TestDatabase;
use super::record::record_for_a_while;
use super::rows::{audit, one_time, revocation};

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
            Ok(page) => return (page.last().map(|row| row.id), page.into_iter().map(|stored| stored.row).collect()),
            Err(error) => assert!(error.is_outage(), "{error:?}"),
        }
    }
}

#[tokio::test]
async fn no_audit_row_appears_before_one_that_was_already_read() {
    let database = TestDatabase::postgres().await;
    let [slow, quick] = [database.store().await, database.store().await];
    let mut witness = PgConnection::connect(database.url()).await.unwrap();
    // Holds up whoever writes the event 2 of the writer "w", so that its event 1 has an id but no commit.
    let mut obstacle = PgConnection::connect(database.url()).await.unwrap();
    let mut obstacle = obstacle.begin().await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO audit_events (writer, writer_sequence, at, body, mac) VALUES ('w', 2, 0, '{}', decode('', 'hex'))",
    )
    .execute(&mut *obstacle)
    .await
    .unwrap();
    let slow_write = tokio::spawn(async move { slow.append_audit(&[audit("w", 1), audit("w", 2)]).await });
    while sessions_that_wait_for_a_lock(&mut witness).await < 1 {
        tokio::task::yield_now().await;
    }
    quick.append_audit(&[audit("v", 1)]).await.unwrap();

    let reading = tokio::spawn(read_on(Arc::clone(&quick), None));
    while !reading.is_finished() && sessions_that_wait_for_a_lock(&mut witness).await < 2 {
        tokio::task::yield_now().await;
    }
    obstacle.rollback().await.unwrap();
    slow_write.await.unwrap().unwrap();

    let (last, mut rows) = reading.await.unwrap();
    rows.extend(read_on(quick, last).await.1);
    assert_eq!(rows, [audit("w", 1), audit("w", 2), audit("v", 1)]);
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
