//! Proofs are spent: each is accepted once.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use serde_json::json;
use sts_client::dedup::{
    Begun, CallerKey, DedupError, DedupKey, DedupStore, Held, MemoryDedupStore, MemoryLimits, Operation, Spend, Ticket,
};
use sts_client::inbound::{Issuer, Verifier};
use sts_jose::Algorithm;
use sts_jose::dpop::access_token_hash;
use sts_tests::TestKey;

use super::{PROOF, PUBLIC_URL, World};

#[tokio::test]
async fn a_proof_is_accepted_once_by_all_that_share_a_store() {
    let clock = sts_jose::ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap());
    let store = Arc::new(MemoryDedupStore::new(Arc::new(clock), MemoryLimits::default()));
    let world = World::with(|builder| builder.replays(store.clone())).await;
    // Another replica, or the same one after a restart.
    let replica = Verifier::builder(["inventory-agent"])
        .issuer(Issuer::new(world.agent.idp.url()).tenant_claim("org_id"))
        .public_url(PUBLIC_URL.parse().unwrap())
        .replays(store)
        .clock(Arc::new(world.agent.clock.clone()))
        .build()
        .unwrap();
    let parts = world.draft().parts();
    replica.verify_request(&parts).await.unwrap();
    world.refused("at the other replica", parts.clone(), PROOF, "proof_replayed").await;
    assert_eq!(replica.verify_request(&parts).await.unwrap_err().reason(), "proof_replayed");
    // A proof that was refused is not spent.
    let mut draft = world.draft();
    draft.method = Method::POST;
    world.refused("for another request", draft.parts(), PROOF, "proof_of_another_request").await;
    draft.method = Method::GET;
    world.served("for its own", draft.parts()).await;
    // Two keys may choose the same jti.
    let second = TestKey::new(Algorithm::Es256);
    let mut of_second = world.draft();
    of_second.claims["jti"] = draft.claims["jti"].clone();
    of_second.token = world.token(&json!({ "jkt": second.kid() }));
    of_second.claims["ath"] = json!(access_token_hash(&of_second.token));
    of_second.header["jwk"] = World::jwk(&second);
    of_second.key = second;
    world.served("of another key", of_second.parts()).await;
}

#[tokio::test]
async fn a_file_of_agents_names_the_store_that_replicas_share() {
    let folder = tempfile::tempdir().unwrap();
    let (url, world) = (folder.path().join("url"), World::with(|builder| builder).await);
    std::fs::write(&url, format!("sqlite://{}\n", folder.path().join("replays.db").display())).unwrap();
    let replica = || {
        let text = format!(
            "[inbound]\naudience = [\"inventory-agent\"]\npublic_url = \"{PUBLIC_URL}\"\nreplay_store_url_file = {url:?}\n\
             issuers = []"
        );
        let issuer = Issuer::new(world.agent.idp.url()).tenant_claim("org_id");
        let builder = Verifier::from_toml(&text).map(|builder| builder.issuer(issuer));
        builder.map(|builder| builder.clock(Arc::new(world.agent.clock.clone())).build().unwrap())
    };
    let (one, other) = (replica().unwrap(), replica().unwrap());
    let parts = world.draft().parts();
    one.verify_request(&parts).await.unwrap();
    for replica in [one, other] {
        assert_eq!(replica.verify_request(&parts).await.unwrap_err().reason(), "proof_replayed");
    }
    // A database that cannot be reached now may be reached later.
    std::fs::write(&url, "sqlite:///nonexistent/replays.db").unwrap();
    assert_eq!(replica().unwrap().verify_request(&parts).await.unwrap_err().reason(), "replay_store_unavailable");
    for unknown in ["mysql://db.example/replays", "", "replays.db"] {
        std::fs::write(&url, unknown).unwrap();
        assert!(replica().unwrap_err().to_string().contains("replay_store_url_file"), "{unknown}");
    }
}

#[tokio::test]
async fn of_many_that_present_one_proof_at_once_one_is_served() {
    let world = World::start().await;
    let parts = world.draft().parts();
    let answers = futures_util::future::join_all((0..16).map(|_| world.agent.verifier.verify_request(&parts))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

/// A store that cannot be reached.
#[derive(Debug)]
struct Unreachable;

fn unreachable<T>() -> Result<T, DedupError> {
    Err(DedupError::Unavailable("no connection".into()))
}

#[async_trait::async_trait]
impl DedupStore for Unreachable {
    async fn spend(&self, _: DedupKey, _: CallerKey, _: Timestamp) -> Result<Spend, DedupError> {
        unreachable()
    }
    async fn begin(&self, _: &Operation) -> Result<Begun, DedupError> {
        unreachable()
    }
    async fn renew(&self, _: &Ticket, _: std::time::Duration) -> Result<Held, DedupError> {
        unreachable()
    }
    async fn finish(&self, _: &Ticket, _: &[u8]) -> Result<Held, DedupError> {
        unreachable()
    }
    async fn abandon(&self, _: &Ticket) -> Result<Held, DedupError> {
        unreachable()
    }
    async fn purge(&self) -> Result<u64, DedupError> {
        unreachable()
    }
}

#[tokio::test]
async fn while_the_store_of_proofs_is_out_of_reach_nothing_bound_is_served() {
    let world = World::with(|builder| builder.replays(Arc::new(Unreachable))).await;
    let answer = world.send(world.draft().parts()).await;
    assert_eq!((answer.status, answer.error()), (503, "temporarily_unavailable"));
    assert!(!answer.header("retry-after").is_empty());
    world.agent.served("a bearer token", world.agent.request(&json!({}))).await;
}

#[tokio::test]
async fn a_caller_that_sends_many_proofs_leaves_room_for_others() {
    let clock = Arc::new(sts_jose::ManualClock::new(Timestamp::from_second(1_800_000_000).unwrap()));
    let limits = MemoryLimits { entries: 4, ..MemoryLimits::default() };
    let world = World::with(|builder| builder.replays(Arc::new(MemoryDedupStore::new(clock, limits)))).await;
    for status in [200, 200, 503, 503] {
        assert_eq!(world.send(world.draft().parts()).await.status, status);
    }
    let bob = World { key: TestKey::new(Algorithm::Es256), agent: world.agent };
    bob.served("another caller", bob.draft().parts()).await;
}
