//! A synchronous standby that does not answer.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};
use sts_server::storage::{self, Location, RevocationKind};
use sts_tests::postgres::Cluster;

use super::forwarder::Forwarder;
use super::rows::{audit, codes, record_tokens, revocation, token};

/// The longest that anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.expect(what);
}

async fn backends(witness: &mut PgConnection) -> i64 {
    let row = sqlx::raw_sql("SELECT COUNT(*) AS backends FROM pg_stat_activity WHERE datname = current_database()");
    row.fetch_one(witness).await.unwrap().get("backends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_standby_nothing_is_recorded_the_kill_switch_works_and_no_backend_is_left() {
    let primary = Cluster::start().await;
    let database = primary.database().await;
    let location = Location { requires_synchronous: true, ..Location::new(database.url(), 4) };
    let store = storage::open_at(&location, codes()).await.unwrap();
    store.migrate().await.unwrap();
    assert!(!store.state().await.unwrap().is_synchronous, "there is no standby yet");

    let standby = primary.standby(primary.address()).await;
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    primary.execute("SELECT pg_reload_conf()").await;
    until("the standby is synchronous", async || store.state().await.unwrap().is_synchronous).await;
    record_tokens(&*store, vec![token("before", None)]).await.unwrap();
    store.revoke(&revocation(RevocationKind::Agent, None, "before"), &[audit("w", 1)]).await.unwrap();
    store.probe().await.unwrap();

    standby.kill().await;
    until("the standby is missed", async || !store.state().await.unwrap().is_synchronous).await;
    let mut witness = PgConnection::connect(database.url()).await.unwrap();
    let before = backends(&mut witness).await;
    let error = record_tokens(&*store, vec![token("during", None)]).await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    until("the abandoned commit is ended", async || backends(&mut witness).await <= before).await;

    // Another program of the same role waits too.
    let mut foreign = PgConnection::connect(&format!("{}?application_name=backup", database.url())).await.unwrap();
    let foreign =
        tokio::spawn(async move { sqlx::raw_sql("CREATE TABLE copied (id INT)").execute(&mut foreign).await });

    // A commit of a server with another name waits for the standby and holds the lock that a
    // revocation needs.
    let named = Location::new(&format!("{}?application_name=pod-7", database.url()), 4);
    let named = storage::open_at(&named, codes()).await.unwrap();
    let stuck = tokio::spawn(async move { record_tokens(&*named, vec![token("stuck", None)]).await });
    until("a commit waits", async || {
        let row = sqlx::raw_sql("SELECT COUNT(*) AS waiting FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
        row.fetch_one(&mut witness).await.unwrap().get::<i64, _>("waiting") > 1
    })
    .await;
    store.revoke(&revocation(RevocationKind::Agent, None, "during"), &[audit("w", 2)]).await.unwrap();
    assert!(stuck.await.unwrap().is_err());
    let revoked: Vec<_> = store.revocations().await.unwrap().vouched().map(|row| row.value).collect();
    assert_eq!(revoked, ["before", "during"]);

    let waits = sqlx::raw_sql(
        "SELECT COUNT(*) FILTER (WHERE application_name = 'backup') AS foreign,
                COUNT(*) FILTER (WHERE application_name <> 'backup') AS ours
         FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
    );
    let waits = waits.fetch_one(&mut witness).await.unwrap();
    assert_eq!((waits.get::<i64, _>("foreign"), waits.get::<i64, _>("ours")), (1, 0));

    standby.start_again().await;
    until("the standby is synchronous again", async || store.state().await.unwrap().is_synchronous).await;
    store.probe().await.unwrap();
    record_tokens(&*store, vec![token("after", None)]).await.unwrap();
    foreign.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_falls_silent_while_waits_are_ended_holds_up_no_recorder() {
    let primary = Cluster::start().await;
    let database = primary.database().await;
    let name = Forwarder::silent_at(primary.address(), "pg_terminate_backend").await;
    let url = database.url_at(&[name.address()], "");
    let location = Location { requires_synchronous: true, ..Location::new(&url, 4) };
    let store = storage::open_at(&location, codes()).await.unwrap();
    store.migrate().await.unwrap();
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    primary.execute("SELECT pg_reload_conf()").await;
    until("the standby is missed", async || !store.state().await.unwrap().is_synchronous).await;
    let recorded = tokio::time::timeout(PATIENCE, record_tokens(&*store, vec![token("during", None)])).await;
    assert!(recorded.expect("the recorder hangs").unwrap_err().is_outage());
}
