//! Servers on one database: what they agree about whatever their clocks say, and what a client notices when they come and go.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sts_jose::{Clock as _, ManualClock, SystemClock};
use sts_server::error_kind::ErrorKind;
use sts_server::storage::{OneTimeValue, RecordRows, RevocationKind, Store};
use sts_tests::{Credentials, FormRequest, Harness, Setup, Wire};
use tokio::task::JoinSet;

/// Within this, every server has looked after its database: it does so every ten seconds.
const MAINTAINED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many clients ask while servers are restarted.
const CLIENTS: usize = 8;
/// How often each of two servers is restarted.
const RESTARTS: usize = 2;
/// How many answers are awaited before the next restart.
const ANSWERS_BETWEEN: usize = 40;
/// How often a client asks the other server when one is not there.
const ATTEMPTS: usize = 4;

fn later(seconds: i64) -> Timestamp {
    SystemClock.now().checked_add(SignedDuration::from_secs(seconds)).expect("a moment")
}

#[tokio::test]
async fn a_server_whose_clock_lies_over_a_minute_from_the_databases_is_not_ready_and_says_why() {
    let harness = Harness::start().await;
    for (ahead, is_ready) in [(0, true), (50, true), (70, false), (10, true), (-50, true), (-70, false), (0, true)] {
        harness.clock.set(later(ahead));
        harness.refresh().await;
        assert_eq!(harness.get("/readyz").await.status, if is_ready { 200 } else { 503 }, "{ahead} s ahead");
        assert_eq!(harness.get("/healthz").await.status, 200, "{ahead} s ahead");
    }
    let log = harness.own_log();
    assert_eq!(log.matches("differ by more than 60 s").count(), 2, "{log}");
    assert_eq!(log.matches("agree again").count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_value_is_forgotten_by_the_databases_time_whatever_a_servers_clock_says() {
    let harness = Setup::default().postgres().start().await;
    let token = harness.first_hop().await;
    let assertion = harness.assertion_with(&json!({}));
    let spend = || harness.introspect("reporter", &token).authenticated(Credentials::Assertion(assertion.clone()));
    assert_eq!(spend().send().await.status, 200);

    let ahead = ManualClock::new(later(24 * 3600));
    let replica = harness.replica_at(&ahead).await;
    everything_dead_is_deleted(&*harness.store).await;
    assert_eq!(spend().send().await.status, 401, "where it was spent");
    let restarted = harness.replica().await;
    assert_eq!(spend().at(&restarted.wire).send().await.status, 401, "at a server that has started since");
    for replica in [replica, restarted] {
        replica.server.stop().await;
    }
}

/// Returns when a server has deleted what has expired.
async fn everything_dead_is_deleted(store: &dyn Store) {
    let dead =
        OneTimeValue { namespace: "test".to_owned(), value: "dead".to_owned(), expires_at: Timestamp::UNIX_EPOCH };
    let is_deleted = async || {
        let mut was_spent_now = false;
        let mut decide = |fresh: &sts_server::storage::Fresh| {
            was_spent_now = fresh.spent == [true];
            RecordRows::default()
        };
        store.record(&[], std::slice::from_ref(&dead), &mut decide).await.expect("a database");
        was_spent_now
    };
    assert!(is_deleted().await, "nobody has spent it before");
    let waiting = async {
        while !is_deleted().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(MAINTAINED_WITHIN, waiting).await.expect("servers look after their database");
}

/// What the clients of a rolling restart go by.
#[derive(Debug)]
struct Load {
    /// The way to each server; of one that is stopped, the way to where it was.
    wires: [Mutex<Wire>; 2],
    answers: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    /// Asks one server, and the other if that one is not there; again and again.
    async fn ask(&self, request: FormRequest, mut turn: usize) {
        while !self.is_over.load(Ordering::Acquire) {
            self.ask_once(&request, turn).await;
            turn += 1;
        }
    }

    async fn ask_once(&self, request: &FormRequest, turn: usize) {
        let mut refused = Vec::new();
        for attempt in turn..turn + ATTEMPTS {
            let wire = self.wires[attempt % self.wires.len()].lock().expect("nobody panics").clone();
            match request.clone().at(&wire).try_send().await {
                Ok(answer) => {
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    self.answers.fetch_add(1, Ordering::AcqRel);
                    return;
                }
                Err(error) => refused.push(error),
            }
        }
        panic!("no server answers: {refused:?}");
    }

    async fn answers_come(&self) {
        let enough = self.answers.load(Ordering::Acquire) + ANSWERS_BETWEEN;
        let coming = async {
            while self.answers.load(Ordering::Acquire) < enough {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(MAINTAINED_WITHIN, coming).await.expect("clients are answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_request() {
    let harness = Setup::default().postgres().start().await;
    let mut servers = [Some(harness.replica().await), Some(harness.replica().await)];
    let way = |slot: usize| servers[slot].as_ref().map(|replica| Mutex::new(replica.wire.clone())).expect("it runs");
    let load =
        Arc::new(Load { wires: [way(0), way(1)], answers: AtomicUsize::new(0), is_over: AtomicBool::new(false) });
    let mut clients = JoinSet::new();
    for turn in 0..CLIENTS {
        let (load, request) = (Arc::clone(&load), harness.exchange());
        clients.spawn(async move { load.ask(request, turn).await });
    }
    for slot in [0, 1].repeat(RESTARTS) {
        load.answers_come().await;
        servers[slot].take().expect("it runs").server.stop().await;
        load.answers_come().await;
        let started = harness.replica().await;
        *load.wires[slot].lock().expect("nobody panics") = started.wire.clone();
        servers[slot] = Some(started);
    }
    load.answers_come().await;
    load.is_over.store(true, Ordering::Release);
    while let Some(client) = clients.join_next().await {
        client.expect("no request fails");
    }
    let answers = i64::try_from(load.answers.load(Ordering::Acquire)).expect("a small number");
    assert!(harness.token_count().await >= answers, "what was answered is recorded");
    for replica in servers.into_iter().flatten() {
        replica.server.stop().await;
    }
}

#[tokio::test]
async fn a_block_stands_though_a_server_starts_and_applies_its_registry_file() {
    let harness = Harness::start().await;
    for (kind, value, reason) in [
        (RevocationKind::Subject, "alice", "subject_revoked"),
        (RevocationKind::Agent, "coordinator", "agent_revoked"),
        (RevocationKind::Tenant, "acme", "tenant_revoked"),
    ] {
        let (outside, token) = (harness.user_token(), harness.first_hop().await);
        harness.block(kind, None, value).await;
        let started = harness.replica().await;
        let anew = harness.exchange_by("coordinator", &outside, "inventory").at(&started.wire);
        harness.assert_refused("the chain begun anew", anew, ErrorKind::Token, reason).await;
        let on = harness.exchange_by("inventory", &token, "warehouse").at(&started.wire);
        harness.assert_refused("the chain gone on with", on, ErrorKind::Token, reason).await;
        let introspected = harness.introspect("inventory", &token).at(&started.wire).send().await;
        assert_eq!(introspected.text(), r#"{"active":false}"#, "{kind:?}");
        harness.store.lift(kind, None, value, &[]).await.expect("a database");
        harness.refresh().await;
        started.server.stop().await;
    }
}
