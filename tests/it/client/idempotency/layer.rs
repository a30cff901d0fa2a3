//! What a repetition is told.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request};
use sts_client::dedup::{DedupStore, PostgresDedupStore, SqliteDedupStore};
use sts_jose::{Clock as _, ManualClock, SystemClock};
use sts_tests::postgres;
use tokio::task::JoinSet;

use super::{Agent, memory, send};

#[tokio::test]
async fn a_repetition_is_told_the_same_and_has_no_effect() {
    let agent = Agent::start().await;
    let first = agent.send(agent.post("/reserve/tea?n=1", "k-1", "body")).await;
    assert_eq!((first.status, first.text()), (201, "1 4 Some(Attempt(1))".into()));
    assert_eq!((first.header("idempotency-replayed"), first.header("x-note")), ("", "first"));
    let again = agent.send(agent.post("/reserve/tea?n=1", "k-1", "body")).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    for kept in ["location", "content-type"] {
        assert_eq!(again.header(kept), first.header(kept), "{kept}");
        assert!(!again.header(kept).is_empty());
    }
    assert_eq!((again.header("set-cookie"), again.header("x-note")), ("", ""), "not kept");
    assert_eq!(again.header("x-correlation-id"), "corr-1");
    assert_eq!(agent.reserved(), 1);
    assert_eq!(agent.send(agent.post("/reserve/tea?n=1", "k-2", "body")).await.text(), "2 4 Some(Attempt(1))");
}

#[tokio::test]
async fn the_same_key_with_anything_else_is_409() {
    let agent = Agent::start().await;
    assert_eq!(agent.send(agent.post("/reserve/tea?n=1", "k", "body")).await.status, 201);
    let with_type = |content_type: Option<&str>| {
        let mut request = agent.post("/reserve/tea?n=1", "k", "body");
        match content_type {
            Some(content_type) => request.headers_mut().insert("content-type", content_type.parse().unwrap()),
            None => request.headers_mut().remove("content-type"),
        };
        request
    };
    let others = [
        ("the body", agent.post("/reserve/tea?n=1", "k", "other")),
        ("no body", agent.post("/reserve/tea?n=1", "k", "")),
        ("the query", agent.post("/reserve/tea?n=2", "k", "body")),
        ("no query", agent.post("/reserve/tea", "k", "body")),
        ("the content type", with_type(Some("text/html"))),
        ("no content type", with_type(None)),
    ];
    for (label, request) in others {
        let answer = agent.send(request).await;
        assert_eq!(answer.status, 409, "{label}");
        assert_eq!(answer.header("content-type"), "application/vnd.yaagents.conflict+json", "{label}");
        assert_eq!(
            (answer.json["type"].as_str(), answer.json["code"].as_str()),
            (Some("conflict"), Some("IDEMPOTENCY_KEY_REUSED"))
        );
        assert_eq!(answer.json["trace"]["correlationId"], "corr-1");
        assert_eq!(answer.header("retry-after"), "", "waiting helps nothing");
    }
    assert_eq!(agent.reserved(), 1);
    // Another route is another operation.
    assert_eq!(agent.send(agent.post("/reserve/coffee?n=1", "k", "body")).await.status, 201);
    let mut put = agent.post("/reserve/tea?n=1", "k", "body");
    *put.method_mut() = Method::PUT;
    assert_eq!(agent.send(put).await.status, 201);
    assert_eq!(agent.reserved(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_going_on_is_409_with_retry_after_and_then_told() {
    let agent = Arc::new(Agent::start().await);
    let first = tokio::spawn({
        let agent = Arc::clone(&agent);
        async move { agent.send(agent.post("/reserve/slow", "k", "")).await }
    });
    while agent.reserved() == 0 {
        tokio::task::yield_now().await;
    }
    let meanwhile = agent.send(agent.post("/reserve/slow", "k", "")).await;
    assert_eq!((meanwhile.status, meanwhile.json["code"].as_str()), (409, Some("IDEMPOTENCY_IN_FLIGHT")));
    assert_eq!(meanwhile.header("retry-after"), "5");
    assert_eq!(agent.send(agent.post("/reserve/slow", "k", "other")).await.json["code"], "IDEMPOTENCY_KEY_REUSED");
    agent.warehouse.gate.add_permits(1);
    assert_eq!(first.await.unwrap().status, 201);
    assert_eq!(agent.send(agent.post("/reserve/slow", "k", "")).await.header("idempotency-replayed"), "true");
    assert_eq!(agent.reserved(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_whose_caller_hung_up_ends_and_its_outcome_is_told_later() {
    let agent = Arc::new(Agent::start().await);
    let first = tokio::spawn({
        let agent = Arc::clone(&agent);
        async move { agent.send(agent.post("/reserve/slow", "k", "")).await }
    });
    while agent.reserved() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    agent.warehouse.gate.add_permits(1);
    let answer = loop {
        let answer = agent.send(agent.post("/reserve/slow", "k", "")).await;
        if answer.status != 409 {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((answer.status, answer.header("idempotency-replayed")), (201, "true"));
    assert_eq!(agent.reserved(), 1);
}

#[tokio::test]
async fn answers_that_stand_are_kept_and_those_that_do_not_are_done_again() {
    let agent = Agent::start().await;
    for (status, is_kept) in [
        (200, true),
        (204, true),
        (303, true),
        (400, true),
        (404, true),
        (409, true),
        (422, true),
        (401, false),
        (403, false),
        (408, false),
        (412, false),
        (424, false),
        (425, false),
        (429, false),
        (500, false),
        (502, false),
        (503, false),
        (504, false),
    ] {
        let path = format!("/reserve/{status}");
        let before = agent.reserved();
        for _ in 0..2 {
            assert_eq!(agent.send(agent.post(&path, "k", "")).await.status, status);
        }
        assert_eq!(agent.reserved() - before, if is_kept { 1 } else { 2 }, "{status}");
        assert_eq!(
            agent.send(agent.post(&path, "k", "other")).await.status,
            409,
            "{status}: the key stands for its body"
        );
    }
    let last = agent.send(agent.post("/reserve/503", "k", "")).await;
    assert!(last.text().ends_with("Some(Attempt(3))"), "a handler is told that it was tried before: {}", last.text());
}

#[tokio::test]
async fn a_handler_that_panics_is_500_and_is_done_again() {
    let agent = Agent::start().await;
    let broken = agent.send(agent.post("/reserve/panic", "k", "")).await;
    assert_eq!((broken.status, broken.json["type"].as_str()), (500, Some("error")));
    assert_eq!(agent.send(agent.post("/reserve/panic", "k", "")).await.status, 201);
}

#[tokio::test]
async fn an_answer_too_long_to_be_kept_passes_and_the_work_is_done_once() {
    let agent = Agent::start().await;
    let answer = agent.send(agent.post("/reserve/long", "k", "")).await;
    assert_eq!((answer.status, answer.body.len()), (200, 3 << 20));
    for _ in 0..2 {
        let answer = agent.send(agent.post("/reserve/long", "k", "")).await;
        assert_eq!((answer.status, answer.json["code"].as_str()), (409, Some("OUTCOME_NOT_KEPT")));
    }
    assert_eq!(agent.reserved(), 1);
}

#[tokio::test]
async fn what_is_safe_or_has_no_key_goes_on_as_it_is() {
    let agent = Agent::start().await;
    let mut get = agent.post("/stock", "k", "");
    *get.method_mut() = Method::GET;
    assert_eq!(agent.send(get).await.text(), "1");
    let mut get = agent.post("/stock", "k", "");
    *get.method_mut() = Method::GET;
    assert_eq!(agent.send(get).await.text(), "2");
    assert_eq!(agent.send(agent.post("/stock", "", "")).await.text(), "3");
    assert_eq!(agent.send(agent.post("/stock", "", "")).await.text(), "4");
}

/// Fifty at once, over two processes, and one after a restart.
async fn race(first: Arc<dyn DedupStore>, second: Arc<dyn DedupStore>) {
    let clock = ManualClock::new(SystemClock.now());
    let agent = Agent::with(Arc::clone(&first), clock, |layer| layer).await;
    let apps = [agent.app.clone(), agent.restarted(second)];
    let mut racers = JoinSet::new();
    for number in 0..50 {
        let (app, request) = (apps[number % 2].clone(), agent.post("/reserve/tea", "raced", "body"));
        racers.spawn(async move { send(&app, request).await });
    }
    let answers = racers.join_all().await;
    assert_eq!(agent.reserved(), 1, "one side effect");
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!done.is_empty() && done.iter().all(|answer| answer.body == done[0].body));
    assert!(answers.iter().all(|answer| answer.status == 201 || answer.json["code"] == "IDEMPOTENCY_IN_FLIGHT"));
    let restarted = agent.restarted(first);
    let later = send(&restarted, agent.post("/reserve/tea", "raced", "body")).await;
    assert_eq!((later.status, later.header("idempotency-replayed"), &later.body), (201, "true", &done[0].body));
    assert_eq!(agent.reserved(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_have_one_effect_in_memory() {
    let store = memory(&ManualClock::new(SystemClock.now()));
    race(Arc::clone(&store), store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_and_one_after_a_restart_have_one_effect_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("once.db").display());
    let open = async || Arc::new(SqliteDedupStore::open(&url).await.unwrap());
    race(open().await, open().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once_and_one_after_a_restart_have_one_effect_on_postgresql() {
    let database = postgres::database().await;
    let open = async || Arc::new(PostgresDedupStore::connect(database.url()).await.unwrap());
    race(open().await, open().await).await;
}

#[tokio::test]
async fn a_body_past_the_bound_is_refused_before_anything_is_done() {
    let clock = ManualClock::new(SystemClock.now());
    let agent = Agent::with(memory(&clock), clock, |layer| layer.max_body_bytes(10)).await;
    let answer = agent.send(agent.post("/reserve/tea", "k", "12345678901")).await;
    assert_eq!((answer.status, answer.json["code"].as_str()), (422, Some("BODY_TOO_LARGE")));
    assert_eq!(agent.send(agent.post("/reserve/tea", "k", "1234567890")).await.status, 201);
    let without_key: Request<Body> = agent.post("/reserve/tea", "", "12345678901");
    assert_eq!(agent.send(without_key).await.status, 201, "without a key it is not read");
}
