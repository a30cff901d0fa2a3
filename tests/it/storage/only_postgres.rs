//! What holds of `PostgreSQL` alone: nothing else has sessions that outlive what they were opened for.

use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::database::TestDatabase;
use super::record::record_for_a_while;

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
    while !record_for_a_while(&*store, i64::from(waits) + 1, waits).await {
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
