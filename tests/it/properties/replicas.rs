//! Three servers that start together on one empty database.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use sts_jose::{Clock as _, SystemClock, SystemEntropy};
use sts_server::admin::By;
use sts_server::config::Config;
use sts_server::record::{Event, EventKind};
use sts_server::registry::RegistryFile;
use sts_server::server::{Foundation, Server, Surroundings};
use sts_server::storage::AuditFilter;
use sts_tests::invariants::check_invariants;
use sts_tests::model::{Model, OUR_ISSUER};
use sts_tests::world::{Node, Site};
use tokio::net::TcpListener;

use super::small::{BACK, FRONT, MIDDLE, about, by_secret, exchanged, model, user_token_at};

const REPLICAS: usize = 3;
/// How many chains begin at each server while it starts.
const CHAINS: usize = 8;
/// Within this, a change on one server holds on the others.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);

fn surroundings() -> Surroundings {
    Surroundings { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
}

/// Starts a server and uses it at once.
async fn start(config: Config) -> (Server, Node) {
    let listeners = [listen().await, listen().await];
    let server = Server::start_on(&config, surroundings(), listeners).await.expect("a server");
    let node = Node::new(Arc::clone(server.sts()), &config);
    for _ in 0..CHAINS {
        two_hops(&node, &node).await;
    }
    (server, node)
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

/// A chain whose hops are at two servers; the token of the first hop.
async fn two_hops(first: &Node, second: &Node) -> String {
    let user = user_token_at(SystemClock.now(), "alice", FRONT);
    let answer = exchanged(first, FRONT, &user, MIDDLE).await;
    let token = answer.token().to_owned();
    let answer = exchanged(second, MIDDLE, &token, BACK).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    token
}

/// Fails unless something comes true in time.
async fn soon(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(FOLLOWED_WITHIN, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_that_start_on_an_empty_database_are_one() {
    let site = Site::postgres(&model()).await;
    let starting: Vec<_> = (0..REPLICAS).map(|_| tokio::spawn(start(site.config.clone()))).collect();
    let (mut servers, mut nodes) = (Vec::new(), Vec::new());
    for replica in starting {
        let (server, node) = replica.await.expect("no request fails");
        servers.push(server);
        nodes.push(node);
    }
    they_have_one_schema_and_one_key_set(&site, &nodes).await;
    for first in &nodes {
        for second in &nodes {
            two_hops(first, second).await;
        }
    }
    a_revocation_is_followed(&nodes).await;
    a_registry_change_is_followed(&site, &nodes).await;

    let foundation = Foundation::lay(&site.config, surroundings()).await.unwrap();
    let issued = check_invariants(&*foundation.store, &foundation.master, OUR_ISSUER).await.unwrap();
    assert!(issued.len() >= 2 * (REPLICAS * CHAINS + REPLICAS * REPLICAS));
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_on_a_database_without_announcements_follow_by_looking() {
    let site = Site::postgres(&model()).await;
    announce_nothing(&site.config.database.url).await;
    let (mut servers, mut nodes) = (Vec::new(), Vec::new());
    for _ in 0..REPLICAS {
        let (server, node) = start(site.config.clone()).await;
        servers.push(server);
        nodes.push(node);
    }
    a_revocation_is_followed(&nodes).await;
    a_registry_change_is_followed(&site, &nodes).await;
    for server in servers {
        server.stop().await;
    }
}

/// Lets the database refuse what announces, as one does that only resembles `PostgreSQL`.
async fn announce_nothing(url: &str) {
    let mut database = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(
        "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION USING ERRCODE = ''feature_not_supported''; END';
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$",
    )
    .execute(&mut database)
    .await
    .unwrap();
}

async fn they_have_one_schema_and_one_key_set(site: &Site, nodes: &[Node]) {
    let mut database = PgConnection::connect(&site.config.database.url).await.unwrap();
    let migrations: Vec<bool> =
        sqlx::query_scalar("SELECT success FROM _sqlx_migrations").fetch_all(&mut database).await.unwrap();
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/postgres")).unwrap().count();
    assert_eq!(migrations, vec![true; files]);

    let key_set = nodes[0].get("/oauth2/jwks").await.json;
    // An active key and the next one, of each of three algorithms.
    assert_eq!(key_set["keys"].as_array().map(Vec::len), Some(6), "{key_set}");
    for node in nodes {
        assert_eq!(node.get("/oauth2/jwks").await.json, key_set);
    }
    let foundation = Foundation::lay(&site.config, surroundings()).await.unwrap();
    let rows = foundation.store.audit(&AuditFilter::default(), 1000).await.unwrap().rows;
    let events: Vec<Event> = rows.iter().map(|row| serde_json::from_str(&row.row.body).unwrap()).collect();
    for kind in [EventKind::KeysChanged, EventKind::RegistryChanged] {
        assert_eq!(events.iter().filter(|event| event.event == kind).count(), 1, "{kind:?}");
    }
}

async fn a_revocation_is_followed(nodes: &[Node]) {
    let token = two_hops(&nodes[0], &nodes[1]).await;
    let is_active = async |node: &Node| {
        let form = [by_secret(MIDDLE), about(&token)].concat();
        node.post("/oauth2/introspect", &form, &HeaderMap::new()).await.json["active"] == Value::Bool(true)
    };
    for node in nodes {
        assert!(is_active(node).await);
    }
    let form = [by_secret(FRONT), about(&token)].concat();
    assert_eq!(nodes[2].post("/oauth2/revoke", &form, &HeaderMap::new()).await.status, 200);
    assert!(!is_active(&nodes[2]).await, "it holds at once where it was asked for");
    for node in nodes {
        // Whoever has not heard of it finds out when it records.
        assert_eq!(exchanged(node, MIDDLE, &token, BACK).await.error(), "invalid_request");
    }
    soon("a revocation", async || {
        let mut active = 0;
        for node in nodes {
            active += usize::from(is_active(node).await);
        }
        active == 0
    })
    .await;
}

async fn a_registry_change_is_followed(site: &Site, nodes: &[Node]) {
    let user = user_token_at(SystemClock.now(), "bob", FRONT);
    let token = exchanged(&nodes[0], FRONT, &user, MIDDLE).await.token().to_owned();
    let mut changed: Model = model();
    changed.delegations.retain(|delegation| delegation.target != BACK);
    let path = site.config.registry.clone().unwrap();
    std::fs::write(&path, changed.to_toml()).unwrap();
    let foundation = Foundation::lay(&site.config, surroundings()).await.unwrap();
    let administration = foundation.administration(&site.config);
    administration.apply(&RegistryFile::read(&path), &By::default()).await.unwrap();
    soon("a change of the registry", async || {
        let mut followed = 0;
        for node in nodes {
            let answer = exchanged(node, MIDDLE, &token, BACK).await;
            assert!(answer.status == 200 || answer.error() == "invalid_target", "{}", answer.text());
            followed += usize::from(answer.status == 400);
        }
        followed == nodes.len()
    })
    .await;
}
