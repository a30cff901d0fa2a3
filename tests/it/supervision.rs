//! A part of the server that ends takes the server down: it does not go on with a part missing.

use std::sync::Arc;
use std::time::Duration;

use sts_server::server::{Foundation, Server, Surroundings};
use sts_tests::Harness;
use sts_tests::faulty_store::{FaultyStore, StoreFault};
use tokio::net::TcpListener;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_recorder_whose_store_panics_takes_the_server_down() {
    let harness = Harness::start().await;
    let store = FaultyStore::new(Arc::clone(&harness.store));
    let surroundings =
        Surroundings { clock: Arc::new(harness.clock.clone()), entropy: Arc::new(sts_jose::SystemEntropy) };
    let foundation = Foundation::lay(&harness.config, surroundings).await.expect("a database");
    let foundation = Foundation { store: Arc::new(store.clone()), ..foundation };
    let listener = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listeners = [listener().await, listener().await];
    let mut server = Server::start_with(&harness.config, foundation, listeners).await.expect("a server");
    let wire = harness.wire().at(format!("http://{}", server.public()));
    harness.exchange().over(&wire).send().await.token();

    store.fail(Some(StoreFault::Panics));
    let answer = harness.exchange().over(&wire).send().await;
    assert_eq!((answer.status, answer.error()), (503, "temporarily_unavailable"), "{}", answer.text());
    let ended = tokio::time::timeout(PATIENCE, server.failed()).await;
    assert!(ended.is_ok(), "it goes on without its recorder");
    server.stop().await;
}
