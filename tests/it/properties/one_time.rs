//! I7: a one-time value is accepted once, across replicas and restarts.

use std::sync::Arc;

use http::HeaderMap;
use sts_tests::Answer;
use sts_tests::invariants::check_invariants;
use sts_tests::model::OUR_ISSUER;
use sts_tests::world::{Node, World};
use tokio::task::JoinSet;

use super::small::{Form, MIDDLE, SIGNER, about, assertion, by_assertion, exchange, model, user_token};

/// How many requests race with one assertion.
const RACERS: usize = 50;
/// How many assertions are raced.
const ROUNDS: usize = 4;

/// A way to use an assertion.
#[derive(Debug, Clone, Copy)]
enum Use {
    Exchange,
    /// Refused for another reason, which spends the assertion all the same.
    RefusedExchange,
    Introspection,
    Revocation,
}

const USES: [Use; 4] = [Use::Exchange, Use::RefusedExchange, Use::Introspection, Use::Revocation];

async fn send(node: &Node, world: &World, using: Use, assertion: &str) -> Answer {
    let token = user_token(world, "alice", SIGNER);
    let (path, mut form): (_, Form) = match using {
        Use::Exchange | Use::RefusedExchange => ("/oauth2/token", exchange(&token, MIDDLE)),
        Use::Introspection => ("/oauth2/introspect", about(&token)),
        Use::Revocation => ("/oauth2/revoke", about(&token)),
    };
    if let Use::RefusedExchange = using {
        form.push(("scope".to_owned(), "more".to_owned()));
    }
    node.post(path, &[form, by_assertion(assertion)].concat(), &HeaderMap::new()).await
}

fn is_accepted(answer: &Answer) -> bool {
    match (answer.status, answer.error()) {
        (200, _) | (400, "invalid_scope") => true,
        (401, "invalid_client") => false,
        _ => panic!("{} {}", answer.status, answer.text()),
    }
}

async fn a_raced_assertion_is_accepted_once(world: World) {
    let world = Arc::new(world);
    let nodes = [world.node().await, world.another_node().await];
    for round in 0..ROUNDS {
        let assertion = assertion(&world, &format!("jti-{round}"));
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            // The first round is of exchanges alone, the others of everything.
            let using = if round == 0 { Use::Exchange } else { USES[racer % USES.len()] };
            let node = nodes[racer / USES.len() % nodes.len()].clone();
            let (world, assertion) = (Arc::clone(&world), assertion.clone());
            racers.spawn(async move { send(&node, &world, using, &assertion).await });
        }
        let answers = racers.join_all().await;
        assert_eq!(answers.iter().filter(|answer| is_accepted(answer)).count(), 1, "round {round}");
        let restarted = world.another_node().await;
        for using in USES {
            assert!(!is_accepted(&send(&restarted, &world, using, &assertion).await), "{using:?} after a restart");
        }
    }
    let issued = check_invariants(&*world.store, &world.master, OUR_ISSUER).await.unwrap();
    assert!((1..=ROUNDS).contains(&issued.len()), "{issued:?}");
    twins_are_two(&world, &nodes[0]).await;
}

/// The valid twin: another `jti` is another assertion.
async fn twins_are_two(world: &World, node: &Node) {
    for jti in ["twin", "another"] {
        assert!(is_accepted(&send(node, world, Use::Exchange, &assertion(world, jti)).await), "{jti}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_an_assertion_is_accepted_once_sqlite() {
    a_raced_assertion_is_accepted_once(World::sqlite(&model()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_an_assertion_is_accepted_once_postgres() {
    a_raced_assertion_is_accepted_once(World::postgres(&model()).await).await;
}
