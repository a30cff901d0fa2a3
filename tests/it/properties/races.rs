//! Exchanges racing a revocation: once it has returned, no request yields a token any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::HeaderMap;
use serde_json::Value;
use sts_server::storage::{EntryChange, EntryKind, EntryRow, RevocationKind, RevocationRow};
use sts_tests::Answer;
use sts_tests::invariants::check_invariants;
use sts_tests::model::OUR_ISSUER;
use sts_tests::world::{Node, World};
use tokio::task::JoinSet;

use super::small::{BACK, FRONT, MIDDLE, about, by_secret, exchanged, model, user_token};

/// How many agents ask at once, on two servers.
const RACERS: usize = 6;
/// How many requests each sends at most.
const MAX_REQUESTS: usize = 400;
/// How many tokens there are when the revocation begins.
const HEAD_START: usize = 8;

/// What is revoked, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// The parent, by whom it was issued to, at the endpoint.
    TokenAtEndpoint,
    /// The parent, or what it is about, by an operator.
    ByOperator(RevocationKind),
}

const ALL: [What; 6] = [
    What::TokenAtEndpoint,
    What::ByOperator(RevocationKind::Token),
    What::ByOperator(RevocationKind::Transaction),
    What::ByOperator(RevocationKind::Subject),
    What::ByOperator(RevocationKind::Agent),
    What::ByOperator(RevocationKind::Tenant),
];

/// What racers tell each other.
#[derive(Debug, Default)]
struct Race {
    issued: AtomicUsize,
    has_returned: AtomicBool,
}

/// The tokens that one racer received, until it was refused.
async fn run(node: Node, parent: String, race: Arc<Race>) -> Vec<String> {
    let mut received = Vec::new();
    for _ in 0..MAX_REQUESTS {
        let after = race.has_returned.load(Ordering::SeqCst);
        let answer = exchanged(&node, MIDDLE, &parent, BACK).await;
        match (answer.status, answer.error()) {
            (200, _) => {
                assert!(!after, "a token after the revocation had returned");
                received.push(answer.token().to_owned());
                race.issued.fetch_add(1, Ordering::SeqCst);
            }
            (400, "invalid_request") => return received,
            _ => panic!("{} {}", answer.status, answer.text()),
        }
    }
    panic!("{MAX_REQUESTS} requests, and no revocation");
}

async fn revoke(what: What, world: &World, node: &Node, parent: &Answer) {
    let claims = parent.claims();
    let text = |claim: &Value| claim.as_str().unwrap().to_owned();
    let (kind, issuer, value) = match what {
        What::TokenAtEndpoint => {
            let form = [by_secret(FRONT), about(parent.token())].concat();
            let answer = node.post("/oauth2/revoke", &form, &HeaderMap::new()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            return;
        }
        What::ByOperator(kind @ (RevocationKind::Token | RevocationKind::TokenAlone)) => {
            (kind, Some(OUR_ISSUER.to_owned()), text(&claims["jti"]))
        }
        What::ByOperator(kind @ RevocationKind::Transaction) => (kind, None, text(&claims["txn"])),
        What::ByOperator(kind @ RevocationKind::Subject) => {
            (kind, Some(text(&claims["sub_id"]["iss"])), text(&claims["sub_id"]["sub"]))
        }
        What::ByOperator(kind @ RevocationKind::Agent) => (kind, None, model().agents[MIDDLE].id.clone()),
        What::ByOperator(kind @ RevocationKind::Tenant) => (kind, None, text(&claims["tenant_id"])),
    };
    let at = world.now();
    let expires_at = at.checked_add(jiff::SignedDuration::from_hours(48)).unwrap();
    let row = RevocationRow { kind, issuer, value, at, expires_at, version: 0, txn: None };
    world.store.revoke(&row, &[]).await.unwrap();
}

async fn raced(what: What, world: &World, nodes: &[Node; 2], user: &str) {
    let race = Arc::new(Race::default());
    let parent = exchanged(&nodes[0], FRONT, &user_token(world, user, FRONT), MIDDLE).await;
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        racers.spawn(run(nodes[racer % 2].clone(), parent.token().to_owned(), Arc::clone(&race)));
    }
    while race.issued.load(Ordering::SeqCst) < HEAD_START {
        tokio::task::yield_now().await;
    }
    revoke(what, world, &nodes[0], &parent).await;
    race.has_returned.store(true, Ordering::SeqCst);
    let received = racers.join_all().await.concat();
    assert!(received.len() >= HEAD_START, "{what:?}");
    none_is_good(what, world, nodes, &received).await;
    one_row_covers_them(what, world, &parent).await;
}

/// What was received before is refused from now on, everywhere.
async fn none_is_good(what: What, world: &World, nodes: &[Node; 2], received: &[String]) {
    for node in nodes {
        node.sts.refresh().await.unwrap();
        for token in received {
            let form = [by_secret(BACK), about(token)].concat();
            let answer = node.post("/oauth2/introspect", &form, &HeaderMap::new()).await;
            assert_eq!(answer.body, b"{\"active\":false}", "{what:?}");
        }
    }
    let issued = check_invariants(&*world.store, &world.master, OUR_ISSUER).await.unwrap();
    assert!(issued.len() > received.len());
}

/// However many tokens were recorded below the one that was revoked, one row covers them.
async fn one_row_covers_them(what: What, world: &World, parent: &Answer) {
    let (What::TokenAtEndpoint | What::ByOperator(RevocationKind::Token)) = what else { return };
    let rows = world.store.revocations().await.unwrap().all();
    let revoked: Vec<&str> = rows.iter().map(|row| row.value.as_str()).collect();
    let jti = parent.claims()["jti"].as_str().unwrap().to_owned();
    assert_eq!(revoked.iter().filter(|value| **value == jti).count(), 1);
    assert!(revoked.len() <= 2, "one row for each token that these trials revoke: {revoked:?}");
}

/// Later users, agents and tenants are not of the past: a block ends a minute after it, which clocks may differ by.
async fn the_twin_passes(what: What, world: &World, nodes: &[Node; 2]) {
    world.clock.advance(std::time::Duration::from_secs(62));
    let token = exchanged(&nodes[1], FRONT, &user_token(world, "another", FRONT), MIDDLE).await;
    let answer = exchanged(&nodes[1], MIDDLE, token.token(), BACK).await;
    assert_eq!(answer.status, 200, "{what:?}: {}", answer.text());
}

async fn revocations_are_raced(world: World) {
    let nodes = [world.node().await, world.another_node().await];
    for (number, what) in ALL.into_iter().enumerate() {
        raced(what, &world, &nodes, &format!("user-{number}")).await;
        the_twin_passes(what, &world, &nodes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_yields_a_token_once_a_revocation_has_returned_sqlite() {
    revocations_are_raced(World::sqlite(&model()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_yields_a_token_once_a_revocation_has_returned_postgres() {
    revocations_are_raced(World::postgres(&model()).await).await;
}

/// A server that has not followed yet decides again: by what the registry says when the decision is committed.
async fn a_disabled_agent_gets_nothing(world: World) {
    let node = world.node().await;
    let user = user_token(&world, "alice", FRONT);
    assert_eq!(exchanged(&node, FRONT, &user, MIDDLE).await.status, 200);
    let stored = world.store.entries().await.unwrap();
    let version = stored.version;
    let disabled = |row: &EntryRow| row.kind == EntryKind::Agent && row.id == "front";
    let mut row = stored.all().into_iter().find(disabled).unwrap();
    row.disabled_by_admin = true;
    world.store.change_entries(version, &[EntryChange::Put(row)], &[]).await.unwrap();
    let known = node.sts.snapshot().registry.version();
    assert_eq!(known, version, "the server does not follow by itself here");
    assert_eq!(exchanged(&node, FRONT, &user, MIDDLE).await.status, 401);
    let issued = check_invariants(&*world.store, &world.master, OUR_ISSUER).await.unwrap();
    assert_eq!(issued.len(), 1);
}

#[tokio::test]
async fn a_decision_under_an_older_registry_is_made_again_on_both_databases() {
    a_disabled_agent_gets_nothing(World::sqlite(&model()).await).await;
    a_disabled_agent_gets_nothing(World::postgres(&model()).await).await;
}
