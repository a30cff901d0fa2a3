//! A message counts once, and so does an operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use sts_client::dedup::{DedupStore, MemoryDedupStore, MemoryLimits, PostgresDedupStore, SqliteDedupStore};
use sts_client::envelope::{Capability, Envelopes, Needs, OpenError, Peer, Reason};

use super::{Drafted, Refund, World, draft, later, refund};

#[tokio::test]
async fn a_message_is_opened_once() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let envelope = world.seal(&headers, "refund-1").await.envelope;
    world.open(&envelope, &headers).await.unwrap();
    world.refused("again", &envelope, &headers, Reason::Replay).await;
    // It is remembered for as long as it lives.
    later(&world, Duration::from_millis(59_999));
    world.refused("at its end", &envelope, &headers, Reason::Replay).await;
}

#[tokio::test]
async fn of_fifty_at_once_one_is_opened() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let envelope = world.seal(&headers, "refund-1").await.envelope;
    let opened = join_all((0..50).map(|_| world.open(&envelope, &headers))).await;
    assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1);
    assert_eq!(world.ledger.decryptions().succeeded, 1);
}

/// Another process of the same agent, with a store of its own making.
fn replica(world: &World, store: Arc<dyn DedupStore>) -> Envelopes {
    Envelopes::builder("ledger", world.ledger_keys.agent.clone())
        .audience("https://ledger.shop.example/")
        .peer(Peer::new("billing", world.billing_keys.source()))
        .capability(Capability::ToolCall, Needs::scopes([super::scope("refund:draft")]))
        .once(store)
        .clock(Arc::new(world.clock.clone()))
        .build()
        .unwrap()
}

/// Two replicas with one store.
#[tokio::test]
async fn another_replica_knows_what_was_seen() {
    let clock = sts_jose::ManualClock::new(jiff::Timestamp::from_second(1_800_000_000).unwrap());
    let store = Arc::new(MemoryDedupStore::new(Arc::new(clock), MemoryLimits::default()));
    let world = World::with(|ledger| ledger.once(Arc::clone(&store) as Arc<_>)).await;
    let headers = world.token(&json!({}));
    let envelope = world.seal(&headers, "refund-1").await.envelope;
    world.open(&envelope, &headers).await.unwrap();
    let delegation = world.delegation(&headers).await;
    let error = replica(&world, store).open(&envelope, &delegation).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Replay));
}

/// What was seen and answered before a restart, given the store before and after it.
async fn assert_remembered(before: Arc<dyn DedupStore>, after: Arc<dyn DedupStore>) {
    let world = World::with(|ledger| ledger.once(before)).await;
    let headers = world.token(&json!({}));
    let first = world.seal(&headers, "refund-1").await.envelope;
    world.open(&first, &headers).await.unwrap().serve(draft).await.unwrap();
    let (restarted, delegation) = (replica(&world, after), world.delegation(&headers).await);
    let error = restarted.open(&first, &delegation).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Replay));
    let again = world.seal(&headers, "refund-1").await.envelope;
    assert!(restarted.open(&again, &delegation).await.unwrap().is_repeated());
    let other = Refund { cents: 9_999, ..refund() };
    let other = world.seal_as(&headers, "refund-1", Capability::ToolCall, &other).await.envelope;
    let error = restarted.open(&other, &delegation).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Replay));
    assert_eq!(restarted.decryptions().succeeded, 0);
}

#[tokio::test]
async fn what_was_seen_is_known_after_a_restart_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("once.db").display());
    let open = async || Arc::new(SqliteDedupStore::open(&url).await.unwrap());
    assert_remembered(open().await, open().await).await;
}

#[tokio::test]
async fn what_was_seen_is_known_after_a_restart_on_postgres() {
    let database = sts_tests::postgres::database().await;
    let open = async || Arc::new(PostgresDedupStore::connect(database.url()).await.unwrap());
    assert_remembered(open().await, open().await).await;
}

#[tokio::test]
async fn an_idempotency_key_with_another_payload_is_refused_unread() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let first = world.seal(&headers, "refund-1").await.envelope;
    world.open(&first, &headers).await.unwrap().serve(draft).await.unwrap();
    let other = Refund { cents: 9_999, ..refund() };
    let other = world.seal_as(&headers, "refund-1", Capability::ToolCall, &other).await.envelope;
    world.refused("another payload", &other, &headers, Reason::Replay).await;
}

#[tokio::test]
async fn an_operation_that_is_tried_again_is_done_once_and_answered_alike() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let done = Arc::new(AtomicU32::default());
    for attempt in 1..=3 {
        let sealed = world.seal(&headers, "refund-1").await;
        let opened = world.open(&sealed.envelope, &headers).await.unwrap();
        assert_eq!(opened.is_repeated(), attempt > 1);
        let doing = Arc::clone(&done);
        let answer = opened.serve(async move |_: Refund| {
            let number = doing.fetch_add(1, Ordering::Relaxed) + 1;
            Ok::<_, std::convert::Infallible>(Drafted { draft: format!("draft-{number}") })
        });
        let drafted: Drafted = sealed.awaiting.open(&answer.await.unwrap()).await.unwrap();
        assert_eq!(drafted.draft, "draft-1");
    }
    assert_eq!(done.load(Ordering::Relaxed), 1);
    assert_eq!(world.ledger.decryptions().attempted, 1, "a repetition is not decrypted");
}

#[tokio::test]
async fn an_operation_that_is_being_done_is_no_refusal_and_no_second_start() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let first = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    let second = world.seal(&headers, "refund-1").await.envelope;
    let error = world.open(&second, &headers).await.unwrap_err();
    assert!(matches!(error, OpenError::InFlight { retry_after } if !retry_after.is_zero()), "{error:?}");
    assert_eq!(error.reason(), None);
    first.serve(draft).await.unwrap();
    let third = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    assert!(third.is_repeated());
}

#[tokio::test]
async fn an_operation_whose_handler_failed_may_begin_anew() {
    let world = World::start().await;
    let headers = world.token(&json!({}));
    let opened = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    opened.serve(async |_: Refund| Err::<Drafted, _>(std::fmt::Error)).await.unwrap_err();
    let opened = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    assert!(!opened.is_repeated());
    opened.serve(draft).await.unwrap();
}

/// A full store refuses nothing as a replay, and opens nothing.
#[tokio::test]
async fn a_store_that_is_full_is_no_refusal() {
    let clock = sts_jose::ManualClock::new(jiff::Timestamp::from_second(1_800_000_000).unwrap());
    let limits = MemoryLimits { entries: 3, ..MemoryLimits::default() };
    let store = Arc::new(MemoryDedupStore::new(Arc::new(clock), limits));
    let world = World::with(|ledger| ledger.once(store)).await;
    let headers = world.token(&json!({}));
    let _held = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    let error = world.open(&world.seal(&headers, "refund-2").await.envelope, &headers).await.unwrap_err();
    assert_eq!((error.reason(), error.as_str()), (None, "once_unavailable"));
}
