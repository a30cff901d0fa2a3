//! A part of the server that ends takes the server down: it does not go on with a part missing.

use std::sync::Arc;
use std::time::Duration;

use sts_server::config::Config;
use sts_server::server::{Foundation, Server, Surroundings};
use sts_tests::Harness;
use sts_tests::faulty_store::{FaultyStore, StoreFault};
use tokio::net::TcpListener;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another server of this database, which it reaches through this store.
pub(crate) async fn serve(harness: &Harness, config: &Config, store: &FaultyStore) -> Server {
    let surroundings =
        Surroundings { clock: Arc::new(harness.clock.clone()), entropy: Arc::new(sts_jose::SystemEntropy) };
    let foundation = Foundation::lay(config, surroundings).await.expect("a database");
    let foundation = Foundation { store: Arc::new(store.clone()), ..foundation };
    let listener = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listeners = [listener().await, listener().await];
    Server::start_with(config, foundation, listeners).await.expect("a server")
}

#[tokio::test]
async fn a_search_of_the_audit_log_that_does_not_return_holds_up_neither_maintenance_nor_shutdown() {
    let harness = Harness::start().await;
    let store = FaultyStore::new(Arc::clone(&harness.store));
    store.fail(Some(StoreFault::SilentAudit));
    let mut config = harness.config.clone();
    config.audit.retain = Some("1h".parse().expect("a span"));
    let server = serve(&harness, &config, &store).await;
    let maintained = async {
        while store.purges() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, maintained).await.expect("it maintains nothing");
    tokio::time::timeout(PATIENCE, server.stop()).await.expect("it does not stop");
}

#[tokio::test]
async fn a_recorder_whose_store_panics_takes_the_server_down() {
    let harness = Harness::start().await;
    let store = FaultyStore::new(Arc::clone(&harness.store));
    let mut server = serve(&harness, &harness.config, &store).await;
    let wire = harness.wire().at(format!("http://{}", server.public()));
    harness.exchange().over(&wire).send().await.token();

    store.fail(Some(StoreFault::Panics));
    let answer = harness.exchange().over(&wire).send().await;
    assert_eq!((answer.status, answer.error()), (503, "temporarily_unavailable"), "{}", answer.text());
    let ended = tokio::time::timeout(PATIENCE, server.failed()).await;
    assert!(ended.is_ok(), "it goes on without its recorder");
    server.stop().await;
}
