//! [`Idempotency::run`], for work that is no HTTP handler; leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use sts_client::dedup::{MemoryDedupStore, MemoryLimits};
use sts_client::events::{Boundary, BoundaryOutcome, Event, EventSink, EventSinks, Guard, Recorded, Reference};
use sts_client::idempotency::{Attempt, Fingerprint, Idempotency, NotRun, Repeatable, Work};
use sts_client::{Caller, IdempotencyKey};
use sts_jose::{Clock, SystemClock};
use tokio::sync::Notify;

use super::{Agent, memory};

async fn caller(agent: &Agent) -> Caller {
    agent.verifier.verify(&agent.headers_of(&json!({}))).await.unwrap()
}

fn repeatable<'a>(caller: &'a Caller, key: &'a IdempotencyKey, body: u8) -> Repeatable<'a> {
    Repeatable { caller, route: "reserve", key, fingerprint: Fingerprint::of([[body]]) }
}

fn key() -> IdempotencyKey {
    IdempotencyKey::from_text("k").unwrap()
}

#[tokio::test]
async fn work_is_done_once_and_told_again() {
    let agent = Agent::start().await;
    let (caller, key) = (caller(&agent).await, key());
    let idempotency = Idempotency::new(memory(&agent.clock));
    let work = |outcome: &'static [u8]| move |_: Attempt| async move { Work::Final(outcome.to_vec()) };
    let first = idempotency.run(repeatable(&caller, &key, 1), work(b"one")).await.unwrap();
    assert_eq!((first.outcome.as_slice(), first.replayed), (b"one".as_slice(), false));
    let again = idempotency.run(repeatable(&caller, &key, 1), work(b"two")).await.unwrap();
    assert_eq!((again.outcome.as_slice(), again.replayed), (b"one".as_slice(), true));
    let other = idempotency.run(repeatable(&caller, &key, 2), work(b"three")).await;
    assert!(matches!(other, Err(NotRun::Conflict)), "{other:?}");
}

#[tokio::test]
async fn work_whose_outcome_is_not_kept_is_done_once_and_told_once() {
    let agent = Agent::start().await;
    let (caller, key) = (caller(&agent).await, key());
    let idempotency = Idempotency::new(memory(&agent.clock)).max_outcome_bytes(3);
    let unrepeatable = |_: Attempt| async { Work::Unrepeatable(b"a secret".to_vec()) };
    let first = idempotency.run(repeatable(&caller, &key, 1), unrepeatable).await.unwrap();
    assert_eq!((first.outcome.as_slice(), first.replayed), (b"a secret".as_slice(), false));
    let again = idempotency.run(repeatable(&caller, &key, 1), unrepeatable).await;
    assert!(matches!(again, Err(NotRun::NotKept)), "{again:?}");

    let other = IdempotencyKey::from_text("long").unwrap();
    let long = |_: Attempt| async { Work::Final(b"long".to_vec()) };
    assert_eq!(idempotency.run(repeatable(&caller, &other, 1), long).await.unwrap().outcome, b"long");
    let again = idempotency.run(repeatable(&caller, &other, 1), long).await;
    assert!(matches!(again, Err(NotRun::NotKept)), "{again:?}");
}

#[tokio::test]
async fn what_happens_to_work_is_told_boundary_by_boundary() {
    let agent = Agent::start().await;
    let (caller, key) = (caller(&agent).await, key());
    let recorded = Arc::new(Recorded::default());
    let idempotency = Idempotency::new(memory(&agent.clock)).clock(Arc::new(agent.clock.clone()));
    let idempotency = idempotency.events(EventSinks::to(Arc::clone(&recorded) as Arc<dyn EventSink>));
    let done = |_: Attempt| async { Work::Final(b"done".to_vec()) };
    let broken = |_: Attempt| async { panic!("as told") };
    let replayed = async || idempotency.run(repeatable(&caller, &key, 1), done).await.unwrap().replayed;
    assert_eq!((replayed().await, replayed().await), (false, true));
    idempotency.run(repeatable(&caller, &key, 2), done).await.unwrap_err();
    let other = IdempotencyKey::from_text("other").unwrap();
    idempotency.run(repeatable(&caller, &other, 1), broken).await.unwrap_err();
    let passed = BoundaryOutcome::Passed;
    let events = recorded.take();
    assert_eq!(
        events.iter().map(|event| (event.boundary, event.outcome)).collect::<Vec<_>>(),
        [
            (Boundary::Replay, passed),
            (Boundary::Invoked, passed),
            (Boundary::Answered, passed),
            (Boundary::Replay, passed),
            (Boundary::Answered, passed),
            (Boundary::Replay, BoundaryOutcome::Refused("conflict")),
            (Boundary::Replay, passed),
            (Boundary::Invoked, BoundaryOutcome::Unavailable("broken")),
        ]
    );
    assert!(events.iter().all(|event| event.guard == Guard::Idempotency && event.at == agent.clock.now()));
    assert_eq!(events[0].about.idempotency_key, Some(Reference::of("k")));
    assert_eq!(events[0].about.tenant_id.as_ref(), caller.tenant());
}

#[tokio::test]
async fn a_sink_that_panics_loses_its_events_and_not_the_work() {
    #[derive(Debug)]
    struct Broken;
    impl EventSink for Broken {
        fn record(&self, _: &Event) {
            panic!("as told")
        }
    }
    let agent = Agent::start().await;
    let (caller, key) = (caller(&agent).await, key());
    let recorded = Arc::new(Recorded::default());
    let sinks = EventSinks::to(Arc::new(Broken)).and(Arc::clone(&recorded) as Arc<dyn EventSink>);
    let idempotency = Idempotency::new(memory(&agent.clock)).events(sinks);
    let done = |_: Attempt| async { Work::Final(b"done".to_vec()) };
    assert_eq!(idempotency.run(repeatable(&caller, &key, 1), done).await.unwrap().outcome, b"done");
    assert_eq!(recorded.take().len(), 3);
}

#[tokio::test]
async fn work_that_goes_on_for_longer_than_its_lease_is_not_done_twice() {
    // The store goes by the real clock, and the lease is short enough to end many times over.
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(MemoryDedupStore::new(clock, MemoryLimits::default()));
    let agent = Agent::start().await;
    let (caller, key) = (caller(&agent).await, key());
    let lease = Duration::from_millis(300);
    let idempotency = Idempotency::new(store).lease(lease);
    let (runs, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let work = {
        let (runs, end) = (Arc::clone(&runs), Arc::clone(&end));
        move |_: Attempt| async move {
            runs.fetch_add(1, Ordering::SeqCst);
            end.notified().await;
            Work::Final(b"done".to_vec())
        }
    };
    let first = tokio::spawn({
        let (idempotency, caller, key, work) = (idempotency.clone(), caller.clone(), key.clone(), work.clone());
        async move { idempotency.run(repeatable(&caller, &key, 1), work).await }
    });
    while runs.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let began = SystemClock.now();
    while Duration::try_from(SystemClock.now().duration_since(began)).unwrap() < lease * 3 {
        match idempotency.run(repeatable(&caller, &key, 1), work.clone()).await {
            Err(NotRun::InFlight { .. }) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
        if first.is_finished() {
            panic!("it has not been told to end");
        }
    }
    end.notify_one();
    assert_eq!(first.await.unwrap().unwrap().outcome, b"done");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}
