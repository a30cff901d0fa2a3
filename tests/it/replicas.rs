//! Servers on one database: what they agree about whatever their clocks say, and what a client notices when they come and go.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sts_jose::{Clock as _, ManualClock, SystemClock};
use sts_server::storage::{OneTimeValue, RecordRows, Store};
use sts_tests::{Credentials, Harness, Setup};

/// Within this, every server has looked after its database: it does so every ten seconds.
const MAINTAINED_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

fn later(seconds: i64) -> Timestamp {
    SystemClock.now().checked_add(SignedDuration::from_secs(seconds)).expect("a moment")
}

#[tokio::test]
async fn a_server_whose_clock_lies_over_a_minute_from_the_databases_is_not_ready_and_says_why() {
    let harness = Harness::start().await;
    for (ahead, is_ready) in [(0, true), (50, true), (70, false), (10, true), (-50, true), (-70, false), (0, true)] {
        harness.clock.set(later(ahead));
        assert_eq!(harness.get("/readyz").await.status, if is_ready { 200 } else { 503 }, "{ahead} s ahead");
        assert_eq!(harness.get("/healthz").await.status, 200, "{ahead} s ahead");
    }
    let log = harness.log();
    assert_eq!(log.matches("lie more than 60 s apart").count(), 2, "{log}");
    assert_eq!(log.matches("agree again").count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_value_is_forgotten_by_the_databases_time_whatever_a_servers_clock_says() {
    let harness = Setup::default().postgres().start().await;
    let token = harness.first_hop().await;
    let assertion = harness.assertion_with(&json!({}));
    let spend = || harness.introspect("reporter", &token).authenticated(Credentials::Assertion(assertion.clone()));
    assert_eq!(spend().send().await.status, 200);

    let ahead = ManualClock::new(later(24 * 3600));
    let replica = harness.replica_at(&ahead).await;
    everything_dead_is_deleted(&*harness.store).await;
    assert_eq!(spend().send().await.status, 401, "where it was spent");
    let restarted = harness.replica().await;
    assert_eq!(spend().at(&restarted.wire).send().await.status, 401, "at a server that has started since");
    for replica in [replica, restarted] {
        replica.server.stop().await;
    }
}

/// Returns when a server has deleted what has expired.
async fn everything_dead_is_deleted(store: &dyn Store) {
    let dead =
        OneTimeValue { namespace: "test".to_owned(), value: "dead".to_owned(), expires_at: Timestamp::UNIX_EPOCH };
    let is_deleted = async || {
        let mut was_spent_now = false;
        let mut decide = |fresh: &sts_server::storage::Fresh| {
            was_spent_now = fresh.spent == [true];
            RecordRows::default()
        };
        store.record(0, std::slice::from_ref(&dead), &mut decide).await.expect("a database");
        was_spent_now
    };
    assert!(is_deleted().await, "nobody has spent it before");
    let waiting = async {
        while !is_deleted().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(MAINTAINED_WITHIN, waiting).await.expect("servers look after their database");
}
