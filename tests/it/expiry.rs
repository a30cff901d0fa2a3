//! Entries that end at a time of their own.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_tests::{Harness, Setup};

const PATIENCE: Duration = Duration::from_secs(60);

/// The key `expires_at` of an entry that ends this much later.
fn ends_in(harness: &Harness, seconds: i64) -> String {
    let at = Timestamp::from_second(harness.now() + seconds).expect("a time");
    format!("expires_at = \"{at}\"")
}

#[tokio::test]
async fn an_entry_that_has_expired_counts_as_disabled_until_its_time_is_moved() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let mut harness = setup.start().await;
        let [soon, later] = [60, 600].map(|seconds| ends_in(&harness, seconds));
        harness.apply(|registry, _| registry.agent("inventory", &soon)).await;
        harness.apply(|registry, _| registry.delegation("coordinator", "inventory", &later)).await;
        let token = harness.exchange().send().await.token().to_owned();
        harness.advance(59);
        harness.refresh().await;
        harness.exchange().send().await.token();

        harness.advance(1);
        harness.refresh().await;
        harness.assert_refused("a target", harness.exchange(), ErrorKind::Target, "target_disabled").await;
        let asked = harness.introspect("inventory", &token);
        assert_eq!(asked.send().await.status, 401, "the agent cannot authenticate");
        let seen = harness.introspect("coordinator", &token).send().await;
        assert_eq!(seen.text(), r#"{"active":false}"#);

        let moved = ends_in(&harness, 3600);
        harness.apply(|registry, _| registry.agent("inventory", &moved)).await;
        harness.exchange().send().await.token();
        harness.advance(540);
        harness.refresh().await;
        let request = harness.exchange();
        harness.assert_refused("a delegation", request, ErrorKind::Target, "no_delegation").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_follows_the_time_of_an_entry_by_itself() {
    let mut harness = Setup::default().start().await;
    let soon = ends_in(&harness, 60);
    harness.apply(|registry, _| registry.agent("inventory", &soon)).await;
    harness.exchange().send().await.token();
    harness.advance(60);
    let refused = async {
        loop {
            let answer = harness.exchange().send().await;
            if answer.status != 200 {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, refused).await.expect("the expiry is not noticed");
    assert_eq!((answer.status, answer.error()), (400, "invalid_target"), "{}", answer.text());
}

#[tokio::test]
async fn an_entry_is_unused_again_when_its_last_use_is_long_ago() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let harness = setup.operators().start().await;
        let unused = async |days: &str| {
            let answer = harness.admin("GET", &format!("/unused?days={days}")).by("reader").send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let entries = answer.json["entries"].as_array().expect("a list").clone();
            let of = entries.iter().map(|entry| (entry["id"].clone(), entry["last_used_at"].clone()));
            of.collect::<std::collections::HashMap<Value, Value>>()
        };
        harness.first_hop().await;
        let used_at = Timestamp::from_second(harness.now()).expect("a time").to_string();
        harness.advance(3 * 24 * 3600);
        assert!(!unused("4").await.contains_key(&json!("coordinator->inventory")));
        let now = unused("2").await;
        for id in ["coordinator", "inventory", "coordinator->inventory"] {
            let last = now[&Value::from(id)].as_str().expect("a time").parse::<Timestamp>().expect("a time");
            assert_eq!(last.as_second(), used_at.parse::<Timestamp>().expect("a time").as_second(), "{id}");
        }
        assert_eq!(now[&json!("warehouse")], Value::Null, "never used");
        harness.exchange().send().await.token();
        let now = unused("2").await;
        assert!(!now.contains_key(&json!("coordinator")) && now.contains_key(&json!("warehouse")), "{now:?}");
        for days in ["", "0", "366", "x"] {
            let wrong = harness.admin("GET", &format!("/unused?days={days}")).by("reader").send().await;
            assert_eq!(wrong.status, 400, "{days}: {}", wrong.text());
        }
    }
}
