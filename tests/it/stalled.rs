//! A database that answers and commits nothing.

use http::HeaderMap;
use sts_tests::Setup;
use sts_tests::faulty_store::StoreFault;

use crate::limits::{faulty, own_token, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_commits_nothing_is_an_outage_at_once_and_found_again_without_a_request() {
    let harness = Setup::default().start().await;
    let (node, store) = faulty(&harness).await;
    assert_eq!(node.get("/readyz").await.status, 200);
    for fault in [StoreFault::Stalls, StoreFault::Record] {
        store.fail(Some(fault));
        // The first request waits until the database has committed nothing for too long.
        until("the server is not ready", async || {
            assert_eq!(node.post("/oauth2/token", &own_token(&harness), &HeaderMap::new()).await.status, 503);
            node.get("/readyz").await.status == 503
        })
        .await;
        let before = harness.token_count().await;
        for _ in 0..20 {
            let answer = node.post("/oauth2/token", &own_token(&harness), &HeaderMap::new()).await;
            assert_eq!((answer.status, answer.error()), (503, "temporarily_unavailable"));
            assert!(answer.headers.contains_key("retry-after"));
        }
        assert_eq!(harness.token_count().await, before);
        store.fail(None);
        until("the server is ready", async || node.get("/readyz").await.status == 200).await;
        assert_eq!(node.post("/oauth2/token", &own_token(&harness), &HeaderMap::new()).await.status, 200);
    }
}
