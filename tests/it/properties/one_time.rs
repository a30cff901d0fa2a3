//! I7: a one-time value is accepted once, across replicas and restarts.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use sts_jose::dpop::{ProofClaims, ProofKey, ProofUri};
use sts_tests::Answer;
use sts_tests::invariants::check_invariants;
use sts_tests::model::OUR_ISSUER;
use sts_tests::world::{Node, World};
use tokio::task::JoinSet;

use super::small::{
    FRONT, Form, MIDDLE, SIGNER, about, assertion, by_assertion, by_secret, exchange, model, user_token,
};

/// The number of requests that race with one value.
const RACERS: usize = 50;
/// How many values are raced.
const ROUNDS: usize = 4;

/// A value that is accepted once.
#[derive(Debug, Clone)]
enum OneTime {
    /// A client assertion.
    Assertion(String),
    /// The proof of a key (RFC 9449 §11.1), of an agent with a secret.
    Proof(String),
}

/// A way to use such a value.
#[derive(Debug, Clone, Copy)]
enum Use {
    Exchange,
    /// Refused for another reason, which spends the value all the same.
    RefusedExchange,
    Introspection,
    Revocation,
}

/// A kind of value, made with a name.
type Kind = fn(&World, &str) -> OneTime;

impl OneTime {
    fn assertion(world: &World, jti: &str) -> Self {
        Self::Assertion(assertion(world, jti))
    }

    fn proof(world: &World, jti: &str) -> Self {
        let uri = ProofUri::parse(&format!("{OUR_ISSUER}/oauth2/token")).unwrap();
        let (method, issued_at) = ("POST", world.now());
        let claims = ProofClaims { method, uri: &uri, issued_at, jti, ath: None, nonce: None };
        Self::Proof(ProofKey::generate().unwrap().prove(&claims).unwrap())
    }

    /// The ways to use it. The URL in a proof is that of one endpoint.
    fn uses(&self) -> &'static [Use] {
        match self {
            Self::Assertion(_) => &[Use::Exchange, Use::RefusedExchange, Use::Introspection, Use::Revocation],
            Self::Proof(_) => &[Use::Exchange, Use::RefusedExchange],
        }
    }

    fn credentials(&self) -> (Form, HeaderMap) {
        match self {
            Self::Assertion(assertion) => (by_assertion(assertion), HeaderMap::new()),
            Self::Proof(proof) => {
                let header = (HeaderName::from_static("dpop"), HeaderValue::from_str(proof).unwrap());
                (by_secret(FRONT), HeaderMap::from_iter([header]))
            }
        }
    }

    fn agent(&self) -> usize {
        match self {
            Self::Assertion(_) => SIGNER,
            Self::Proof(_) => FRONT,
        }
    }
}

async fn send(node: &Node, world: &World, using: Use, value: &OneTime) -> Answer {
    let token = user_token(world, "alice", value.agent());
    let (path, mut form): (_, Form) = match using {
        Use::Exchange | Use::RefusedExchange => ("/oauth2/token", exchange(&token, MIDDLE)),
        Use::Introspection => ("/oauth2/introspect", about(&token)),
        Use::Revocation => ("/oauth2/revoke", about(&token)),
    };
    if let Use::RefusedExchange = using {
        form.push(("scope".to_owned(), "more".to_owned()));
    }
    let (credentials, headers) = value.credentials();
    node.post(path, &[form, credentials].concat(), &headers).await
}

fn is_accepted(answer: &Answer) -> bool {
    match (answer.status, answer.error()) {
        (200, _) | (400, "invalid_scope") => true,
        (401, "invalid_client") | (400, "invalid_dpop_proof") => false,
        _ => panic!("{} {}", answer.status, answer.text()),
    }
}

async fn a_raced_value_is_accepted_once(world: World, kind: Kind) {
    let world = Arc::new(world);
    let nodes = [world.node().await, world.another_node().await];
    for round in 0..ROUNDS {
        let value = kind(&world, &format!("jti-{round}"));
        let uses = value.uses();
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            // The first round is of exchanges alone, the others of everything.
            let using = if round == 0 { Use::Exchange } else { uses[racer % uses.len()] };
            let node = nodes[racer / uses.len() % nodes.len()].clone();
            let (world, value) = (Arc::clone(&world), value.clone());
            racers.spawn(async move { send(&node, &world, using, &value).await });
        }
        let answers = racers.join_all().await;
        assert_eq!(answers.iter().filter(|answer| is_accepted(answer)).count(), 1, "round {round}");
        let restarted = world.another_node().await;
        for using in uses.iter().copied() {
            assert!(!is_accepted(&send(&restarted, &world, using, &value).await), "{using:?} after a restart");
        }
    }
    let issued = check_invariants(&*world.store, &world.master, OUR_ISSUER).await.unwrap();
    assert!((1..=ROUNDS).contains(&issued.len()), "{issued:?}");
    twins_are_two(&world, &nodes[0], kind).await;
}

/// The valid twin: another `jti` is another value.
async fn twins_are_two(world: &World, node: &Node, kind: Kind) {
    for jti in ["twin", "another"] {
        assert!(is_accepted(&send(node, world, Use::Exchange, &kind(world, jti)).await), "{jti}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_an_assertion_is_accepted_once_sqlite() {
    a_raced_value_is_accepted_once(World::sqlite(&model()).await, OneTime::assertion).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_an_assertion_is_accepted_once_postgres() {
    a_raced_value_is_accepted_once(World::postgres(&model()).await, OneTime::assertion).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_proof_is_accepted_once_sqlite() {
    a_raced_value_is_accepted_once(World::sqlite(&model()).await, OneTime::proof).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_proof_is_accepted_once_postgres() {
    a_raced_value_is_accepted_once(World::postgres(&model()).await, OneTime::proof).await;
}
