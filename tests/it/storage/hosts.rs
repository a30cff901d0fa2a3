//! Several hosts of a database, and a password that changes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use sts_server::storage::{self, Location, RevocationKind, Store};
use sts_tests::postgres::Cluster;

use super::forwarder::Forwarder;
use super::rows::{audit, codes, record_after_outage, record_tokens, revocation, token};

/// The longest that anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// An address at which no server listens: it was free a moment ago.
fn nowhere() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

async fn works(store: &Arc<dyn Store>, name: &str) {
    record_after_outage(&**store, token(name, None)).await;
    store.revoke(&revocation(RevocationKind::Agent, None, name), &[audit(name, 1)]).await.unwrap();
    assert!(store.token(name).await.unwrap().is_some());
    store.entries().await.unwrap();
    assert!(store.for_operators().unwrap().entries().await.is_ok());
}

/// Waits until the condition holds.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.expect("it takes too long");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_that_takes_writes_is_used_and_a_promoted_standby_is_found() {
    let primary = Cluster::start().await;
    let database = primary.database().await;
    let standby = primary.standby(primary.address()).await;
    let hosts = [nowhere(), standby.address(), primary.address()];
    let store = storage::open(&database.url_at(&hosts, "target_session_attrs=read-write"), 4, codes()).await.unwrap();
    store.migrate().await.unwrap();
    works(&store, "before").await;
    until(async || {
        let copy = standby.url_of_copy(&database);
        let Ok(mut connection) = PgConnection::connect(copy.as_str()).await else { return false };
        let tokens = sqlx::query_scalar("SELECT COUNT(*) FROM tokens").fetch_one(&mut connection).await;
        matches!(tokens, Ok(1_i64))
    })
    .await;

    primary.kill().await;
    let error = record_tokens(&*store, vec![token("between", None)]).await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    standby.promote().await;
    until(async || store.state().await.is_ok()).await;
    works(&store, "after").await;
    assert!(store.token("before").await.unwrap().is_some());
    let followed = tokio::time::timeout(PATIENCE, store.changed()).await;
    assert!(followed.is_ok(), "the new primary announces nothing");
}

#[tokio::test]
async fn hosts_that_cannot_be_used_are_named_without_the_password() {
    let primary = Cluster::start().await;
    let database = primary.database().await;
    let standby = primary.standby(primary.address()).await;
    let silent = nowhere();
    let hosts = [silent, standby.address()];
    let url = database.url_at(&hosts, "target_session_attrs=read-write").replace("postgres@", "postgres:very-secret@");
    let store = storage::open(&url, 1, codes()).await.unwrap();
    for error in [
        store.migrate().await.unwrap_err(),
        store.state().await.unwrap_err(),
        record_tokens(&*store, vec![token("a", None)]).await.unwrap_err(),
    ] {
        assert!(error.is_outage(), "{error:?}");
        let text = sts_jose::error_chain(&error);
        for part in [format!("{silent}: "), format!("{}: takes no writes", standby.address())] {
            assert!(text.contains(&part), "{part} is not in {text}");
        }
        assert!(!format!("{text}{error:?}").contains("very-secret"), "{text}");
    }
}

#[tokio::test]
async fn the_password_file_is_read_at_each_connect() {
    let cluster = Cluster::start().await;
    let database = cluster.database().await;
    let mut administrator = PgConnection::connect(database.url()).await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut set_password = async |password: &str| {
        let statement = format!("ALTER ROLE agent_sts PASSWORD '{password}'");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut administrator).await.unwrap();
    };
    cluster.execute("CREATE ROLE agent_sts LOGIN SUPERUSER").await;
    set_password("first").await;
    cluster.require_password_of("agent_sts").await;
    let location = Location {
        password_file: Some(file.path().to_owned()),
        ..Location::new(&database.url().replace("postgres@", "agent_sts@"), 4)
    };
    let store = storage::open_at(&location, codes()).await.unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    store.migrate().await.unwrap();
    works(&store, "first").await;

    set_password("second").await;
    cluster.restart().await;
    let error = store.state().await.unwrap_err();
    assert!(error.is_outage(), "the file may be replaced: {error:?}");
    let text = sts_jose::error_chain(&error);
    assert!(text.contains("password authentication failed") && !text.contains("first"), "{text}");
    assert!(text.contains(&cluster.address().to_string()), "{text}");
    let url = database.url().replace("postgres@", "agent_sts:first@");
    let without_file = storage::open(&url, 1, codes()).await.unwrap();
    assert!(!without_file.state().await.unwrap_err().is_outage());
    std::fs::write(file.path(), "second\n").unwrap();
    works(&store, "second").await;

    std::fs::write(file.path(), "two\nlines\n").unwrap();
    cluster.restart().await;
    let text = sts_jose::error_chain(&store.state().await.unwrap_err());
    assert!(text.contains("must hold one line") && !text.contains("two"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_name_that_leads_to_a_standby_is_not_used() {
    let primary = Cluster::start().await;
    let database = primary.database().await;
    storage::open(database.url(), 1, codes()).await.unwrap().migrate().await.unwrap();
    let standby = primary.standby(primary.address()).await;
    let name = Forwarder::to(standby.address()).await;
    let store = storage::open(&database.url_at(&[name.address()], ""), 4, codes()).await.unwrap();
    let error = store.state().await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    assert!(sts_jose::error_chain(&error).contains("takes no writes"), "{error:?}");
    let reading = database.url_at(&[standby.address()], "target_session_attrs=any");
    storage::open(&reading, 2, codes()).await.unwrap().state().await.unwrap();

    name.lead_to(primary.address());
    store.state().await.unwrap();
    works(&store, "primary").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_host_takes_no_writes_any_more_is_given_up() {
    let cluster = Cluster::start().await;
    let database = cluster.database().await;
    let store = storage::open(database.url(), 4, codes()).await.unwrap();
    store.migrate().await.unwrap();
    works(&store, "before").await;
    cluster.execute("ALTER SYSTEM SET default_transaction_read_only = on").await;
    cluster.execute("SELECT pg_reload_conf()").await;
    until(async || store.state().await.is_err()).await;
    let error = store.state().await.unwrap_err();
    assert!(error.is_outage(), "{error:?}");
    cluster.execute("ALTER SYSTEM RESET default_transaction_read_only").await;
    cluster.execute("SELECT pg_reload_conf()").await;
    until(async || store.state().await.is_ok()).await;
    works(&store, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_host_may_answer_while_the_others_are_tried() {
    let cluster = Cluster::start().await;
    let database = cluster.database().await;
    let slow = Forwarder::holding().await;
    let other = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let hosts = [slow.address(), other.local_addr().unwrap()];
    let store = storage::open(&database.url_at(&hosts, ""), 1, codes()).await.unwrap();
    let migrated = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.migrate().await }
    });
    let _tried = other.accept().await.unwrap();
    slow.lead_to(cluster.address());
    migrated.await.unwrap().unwrap();
}
