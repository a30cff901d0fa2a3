//! Two admins at once.

use serde_json::json;
use sts_tests::AdminRequest;
use tokio::task::JoinSet;

use super::{make, on_both};

/// How many admins change the same at once.
const ADMINS: usize = 8;

/// The statuses of requests that are made at once, sorted.
async fn at_once(requests: Vec<AdminRequest>) -> Vec<u16> {
    let mut running = JoinSet::new();
    for request in requests {
        running.spawn(async move { request.send().await.status });
    }
    let mut statuses = running.join_all().await;
    statuses.sort_unstable();
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_admins_who_change_the_same_entry_at_two_servers_one_wins() {
    for harness in on_both().await {
        let replica = harness.replica().await;
        let mut tag = make(&harness, "/agents/robot", &json!({ "id": "robot" })).await;
        for round in 1..=3_u32 {
            let requests = (0..ADMINS).map(|admin| {
                let request = if admin % 2 == 0 {
                    harness.admin("PUT", "/agents/robot")
                } else {
                    replica.admin("PUT", "/agents/robot")
                };
                let body = json!({ "id": "robot", "accepts": [format!("of admin {admin} in round {round}")] });
                request.by("admin").if_match(&tag).json(&body)
            });
            let statuses = at_once(requests.collect()).await;
            assert_eq!(statuses, [vec![200], vec![412; ADMINS - 1]].concat());
            let got = harness.admin("GET", "/agents/robot").by("reader").send().await;
            assert_ne!(got.header("etag"), tag);
            got.header("etag").clone_into(&mut tag);
        }
        replica.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_admins_who_make_the_same_entry_one_does_and_of_those_who_delete_it_one_does() {
    for harness in on_both().await {
        let put = |_| harness.admin("PUT", "/agents/robot").by("admin").if_new().json(&json!({ "id": "robot" }));
        let statuses = at_once((0..ADMINS).map(put).collect()).await;
        assert_eq!(statuses, [vec![201], vec![412; ADMINS - 1]].concat());
        let delete = |_| harness.admin("DELETE", "/agents/robot").by("admin").header("if-match", "*");
        let statuses = at_once((0..ADMINS).map(delete).collect()).await;
        assert_eq!(statuses, [vec![204], vec![404; ADMINS - 1]].concat());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admins_who_change_different_entries_do_not_hinder_each_other() {
    for harness in on_both().await {
        let put = |admin: usize| {
            let id = format!("robot-{admin}");
            harness.admin("PUT", &format!("/agents/{id}")).by("admin").if_new().json(&json!({ "id": id }))
        };
        assert_eq!(at_once((0..4).map(put).collect()).await, [201; 4]);
    }
}
