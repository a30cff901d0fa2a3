//! A part of the server that ends takes the server down: it does not go on with a part missing.

use std::sync::Arc;
use std::time::Duration;

use sts_server::config::Config;
use sts_server::server::{Foundation, Server, StartError, Surroundings};
use sts_tests::Harness;
use sts_tests::faulty_store::{FaultyStore, StoreFault};
use tokio::net::TcpListener;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another server of this database, which it reaches through this store.
pub(crate) async fn serve(harness: &Harness, config: &Config, store: &FaultyStore) -> Server {
    start(harness, config, store).await.expect("a server")
}

async fn start(harness: &Harness, config: &Config, store: &FaultyStore) -> Result<Server, StartError> {
    let surroundings =
        Surroundings { clock: Arc::new(harness.clock.clone()), entropy: Arc::new(sts_jose::SystemEntropy) };
    let foundation = Foundation::lay(config, surroundings).await.expect("a database");
    let foundation = Foundation { store: Arc::new(store.clone()), ..foundation };
    let listener = async || TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let listeners = [listener().await, listener().await];
    Server::start_with(config, foundation, listeners).await
}

#[tokio::test]
async fn a_database_that_fails_in_the_middle_of_a_start_is_an_outage() {
    let harness = Harness::start().await;
    let store = FaultyStore::new(Arc::clone(&harness.store));
    let folder = tempfile::tempdir().expect("a folder");
    let registry = folder.path().join("registry.toml");
    std::fs::write(&registry, "[[agents]]\nid = \"auditor\"\n").expect("the folder is ours");
    let mut config = harness.config.clone();
    config.registry = Some(registry);
    let mut errors = Vec::new();
    for fault in [StoreFault::Everything, StoreFault::Keys, StoreFault::Entries, StoreFault::Revocations] {
        store.fail(Some(fault));
        let error = start(&harness, &config, &store).await.map(drop).expect_err("it cannot start");
        assert!(error.is_outage(), "{fault:?}: {error:?}");
        errors.push(error);
    }
    let [StartError::Storage(_), StartError::Keys(_), StartError::Registry { .. }, StartError::Snapshot(_)] = &*errors
    else {
        panic!("{errors:?}")
    };
    // A file at fault is none.
    store.fail(None);
    std::fs::write(config.registry.as_ref().expect("a path"), "[[agents]]\nid = 7\n").expect("the folder is ours");
    let error = start(&harness, &config, &store).await.map(drop).expect_err("it cannot start");
    assert!(!error.is_outage(), "{error:?}");
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
