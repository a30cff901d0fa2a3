//! Handlers: each operation is done once, even if its caller hangs up and however long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;
use sts_client::dedup::{
    Begun, CallerKey, DedupError, DedupKey, DedupStore, Held, MemoryDedupStore, MemoryLimits, Operation, Spend, Ticket,
};
use sts_client::envelope::{Capability, MAX_ANSWER_BYTES, OpenError, Opened, Reason, SealError, ServeError};
use sts_jose::Clock;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::{Drafted, Refund, World, draft, refund};

/// A handler that counts, and ends when it is told to.
#[derive(Clone, Default)]
struct Slow {
    begun: Arc<AtomicU32>,
    end: Arc<Notify>,
}

impl Slow {
    async fn draft(self, _refund: Refund) -> Result<Drafted, std::convert::Infallible> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.end.notified().await;
        Ok(Drafted { draft: format!("draft-{number}") })
    }

    async fn has_begun(&self) {
        while self.begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Opens the operation again until it is no longer held, which takes a few turns of the runtime.
async fn open_when_free(world: &World, headers: &http::HeaderMap) -> Opened {
    for _ in 0..1_000 {
        match world.open(&world.seal(headers, "refund-1").await.envelope, headers).await {
            Ok(opened) => return opened,
            Err(OpenError::InFlight { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the operation is held and nobody is doing it");
}

#[tokio::test]
async fn a_handler_whose_caller_hung_up_ends_and_its_answer_is_kept() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let slow = Slow::default();
    let opened = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    let handler = slow.clone();
    let caller = tokio::spawn(opened.serve(|refund| handler.draft(refund)));
    slow.has_begun().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    let meanwhile = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap_err();
    assert!(matches!(meanwhile, OpenError::InFlight { .. }), "{meanwhile:?}");
    slow.end.notify_one();
    let again = open_when_free(&world, &headers).await;
    assert!(again.is_repeated());
    again.serve(draft).await.unwrap();
    assert_eq!(slow.begun.load(Ordering::SeqCst), 1);
}

/// A clock that goes with tokio's.
#[derive(Debug)]
struct Running(Instant);

impl Clock for Running {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap().checked_add(self.0.elapsed()).unwrap()
    }
}

#[tokio::test]
async fn a_handler_that_takes_longer_than_its_lease_is_done_once() {
    let lease = Duration::from_secs(300);
    let store = MemoryDedupStore::new(Arc::new(Running(Instant::now())), MemoryLimits::default());
    let world = World::with(|ledger| ledger.once(Arc::new(store)).lease(lease)).await;
    let headers = world.token(&json!({}));
    let slow = Slow::default();
    let opened = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    let handler = slow.clone();
    let serving = tokio::spawn(opened.serve(|refund| handler.draft(refund)));
    slow.has_begun().await;
    tokio::time::pause();
    // Time stands still but for this: every third of a lease, more than three leases long.
    for _ in 0..10 {
        tokio::time::advance(lease / 3).await;
        let error = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap_err();
        assert!(matches!(error, OpenError::InFlight { .. }), "{error:?}");
    }
    tokio::time::resume();
    slow.end.notify_one();
    serving.await.unwrap().unwrap();
    assert!(open_when_free(&world, &headers).await.is_repeated());
    assert_eq!(slow.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_opened_message_that_nobody_answers_gives_its_operation_up() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let opened = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    drop(opened);
    let again = open_when_free(&world, &headers).await;
    assert!(!again.is_repeated());
    again.serve(draft).await.unwrap();
}

/// A store whose answer to `begin` waits for a permit.
#[derive(Debug)]
struct Hesitant {
    store: MemoryDedupStore,
    begun: AtomicU32,
    answers: Semaphore,
}

#[async_trait]
impl DedupStore for Hesitant {
    async fn spend(&self, key: DedupKey, caller: CallerKey, expires_at: Timestamp) -> Result<Spend, DedupError> {
        self.store.spend(key, caller, expires_at).await
    }

    async fn begin(&self, operation: &Operation) -> Result<Begun, DedupError> {
        let begun = self.store.begin(operation).await;
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _permit = self.answers.acquire().await.unwrap();
        begun
    }

    async fn renew(&self, ticket: &Ticket, lease: Duration) -> Result<Held, DedupError> {
        self.store.renew(ticket, lease).await
    }

    async fn finish(&self, ticket: &Ticket, outcome: &[u8]) -> Result<Held, DedupError> {
        self.store.finish(ticket, outcome).await
    }

    async fn abandon(&self, ticket: &Ticket) -> Result<Held, DedupError> {
        self.store.abandon(ticket).await
    }

    async fn purge(&self) -> Result<u64, DedupError> {
        self.store.purge().await
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_while_the_store_is_asked_leaves_nothing_held() {
    let store = MemoryDedupStore::new(Arc::new(Running(Instant::now())), MemoryLimits::default());
    let store = Arc::new(Hesitant { store, begun: AtomicU32::new(0), answers: Semaphore::new(0) });
    let world = World::with(|ledger| ledger.once(Arc::clone(&store) as Arc<_>)).await;
    let headers = world.token(&json!({}));
    let envelope = world.seal(&headers, "refund-1").await.envelope;
    let (ledger, delegation) = (world.ledger.clone(), world.delegation(&headers).await);
    let caller = tokio::spawn(async move { ledger.open(&envelope, &delegation).await });
    while store.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    store.answers.add_permits(1);
    open_when_free(&world, &headers).await.serve(draft).await.unwrap();
}

#[tokio::test]
async fn a_handler_that_panics_is_an_error_and_is_done_again() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let opened = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    let served = opened.serve(async |_: Refund| -> Result<Drafted, std::fmt::Error> { panic!("as told") }).await;
    assert!(matches!(served, Err(ServeError::Panicked)), "{served:?}");
    let again = open_when_free(&world, &headers).await;
    assert!(!again.is_repeated());
    again.serve(draft).await.unwrap();
}

#[tokio::test]
async fn an_operation_whose_answer_is_too_long_is_done_all_the_same() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let long = || Drafted { draft: "x".repeat(MAX_ANSWER_BYTES) };
    let opened = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    let served = opened.serve(async move |_: Refund| Ok::<_, std::fmt::Error>(long())).await;
    assert!(matches!(served, Err(ServeError::Seal(SealError::TooLarge))), "{served:?}");
    let opened = world.open(&world.seal(&headers, "refund-2").await.envelope, &headers).await.unwrap();
    assert!(matches!(opened.answer(&long()).await, Err(SealError::TooLarge)));
    for key in ["refund-1", "refund-2"] {
        let error = world.open(&world.seal(&headers, key).await.envelope, &headers).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::Replay), "{key}: done, and its answer not kept");
    }
}

/// An idempotency key is the caller's own: nobody can take another's in advance.
#[tokio::test]
async fn another_user_with_the_same_idempotency_key_is_another_operation() {
    let world = World::start().await;
    let callers = [json!({}), json!({ "sub": "bob" }), json!({ "tenant_id": "globex" })];
    for changes in &callers {
        let headers = world.token(changes);
        let opened = world.open(&world.seal(&headers, "order-7").await.envelope, &headers).await.unwrap();
        assert!(!opened.is_repeated(), "{changes}");
        opened.serve(draft).await.unwrap();
    }
    for changes in &callers {
        let headers = world.token(changes);
        let opened = world.open(&world.seal(&headers, "order-7").await.envelope, &headers).await.unwrap();
        assert!(opened.is_repeated(), "{changes}");
    }
}

#[tokio::test]
async fn an_answer_is_repeated_to_the_same_authority_alone() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap().serve(draft).await.unwrap();
    let other = world.token(&json!({ "scope": "ledger:use refund:draft refund:approve" }));
    world.refused("more scope", &world.seal(&other, "refund-1").await.envelope, &other, Reason::Replay).await;
    let other = world.token(&json!({ "roles": ["auditor"] }));
    world.refused("a role", &world.seal(&other, "refund-1").await.envelope, &other, Reason::Replay).await;
    let same = world.token(&json!({ "jti": "another" }));
    let again = world.open(&world.seal(&same, "refund-1").await.envelope, &same).await.unwrap();
    assert!(again.is_repeated());
}

/// What was refused for want of a scope is done once the scope is there.
#[tokio::test]
async fn an_operation_that_was_refused_may_be_asked_for_again_with_more_authority() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let sealed = world.seal_as(&headers, "refund-1", Capability::Read, &refund()).await;
    world.refused("no refund:read", &sealed.envelope, &headers, Reason::CapabilityNotDelegated).await;
    let more = world.token(&json!({ "scope": "ledger:use refund:draft refund:read" }));
    let payload = serde_json::to_vec(&refund()).unwrap();
    let message = sts_client::envelope::Message {
        capability: Capability::Read,
        scopes: "ledger:use refund:read".parse().unwrap(),
        trace_id: &sts_client::CorrelationId::from_text(super::TRACE_ID).unwrap(),
        idempotency_key: &sts_client::IdempotencyKey::from_text("refund-1").unwrap(),
        payload: &payload,
        payload_uri: None,
    };
    let sealed = world.billing.seal("ledger", &more, &message).await.unwrap();
    world.open(&sealed.envelope, &more).await.unwrap().serve(draft).await.unwrap();
}
