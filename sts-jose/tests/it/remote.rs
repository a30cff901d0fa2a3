//! When keys are fetched, and what a lookup answers meanwhile.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use jiff::Timestamp;
use serde_json::json;
use sts_jose::{
    Algorithm, Candidates, KeyLookupError, Location, MAX_KEY_AGE, ManualClock, RemoteConfig, RemoteKeySet, SigningKey,
    http_client,
};

use crate::server::{Reply, Server};
use crate::support::jwks;

pub(crate) struct Rig {
    pub(crate) key: SigningKey,
    pub(crate) clock: ManualClock,
    pub(crate) server: Server,
    pub(crate) remote: RemoteKeySet,
}

pub(crate) fn config(server: &Server, clock: &ManualClock) -> RemoteConfig {
    RemoteConfig {
        issuer: server.base.clone(),
        location: Location::JwksUri(format!("{}/jwks", server.base).parse().unwrap()),
        http: http_client(None).unwrap().into(),
        bearer_token_file: None,
        allow_http: false,
        clock: Arc::new(clock.clone()),
    }
}

pub(crate) fn rig() -> Rig {
    rig_within(Duration::from_secs(5))
}

/// A rig whose refreshes may take `timeout`.
pub(crate) fn rig_within(timeout: Duration) -> Rig {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let server = Server::serving(jwks(&[&key]));
    let clock = ManualClock::new(Timestamp::new(1_000_000, 0).unwrap());
    let remote = RemoteKeySet::with_timeout(config(&server, &clock), timeout);
    Rig { key, clock, server, remote }
}

impl Rig {
    pub(crate) async fn find(&self, kid: &str) -> Result<Candidates, KeyLookupError> {
        self.remote.candidates(Some(kid), Algorithm::Es256).await
    }

    pub(crate) async fn known(&self) -> bool {
        self.find(self.key.kid()).await.is_ok()
    }

    pub(crate) fn break_down(&self) {
        self.server.answer(|_| Reply::Body(500, Vec::new()));
    }

    pub(crate) fn recover(&self) {
        let body = jwks(&[&self.key]);
        self.server.answer(move |_| Reply::Body(200, body.clone()));
    }
}

pub(crate) fn is_unknown(answer: &Result<Candidates, KeyLookupError>) -> bool {
    matches!(answer, Err(KeyLookupError::Unknown))
}

pub(crate) fn is_unavailable(answer: &Result<Candidates, KeyLookupError>) -> bool {
    matches!(answer, Err(KeyLookupError::Unavailable(_)))
}

#[tokio::test]
async fn keys_are_fetched_once_and_served_from_memory() {
    let rig = rig();
    for _ in 0..20 {
        assert!(rig.known().await);
        rig.clock.advance(Duration::from_secs(14));
    }
    assert_eq!(rig.server.paths(), ["/jwks"]);
    let health = rig.remote.health();
    assert_eq!((health.fetches, health.forced_refetches, health.failing), (1, 0, false));
    assert_eq!(health.fetched_at, Some(Timestamp::new(1_000_000, 0).unwrap()));
}

#[tokio::test]
async fn a_request_names_us_and_carries_nothing_else() {
    let rig = rig();
    assert!(rig.known().await);
    let request = rig.server.requests().remove(0);
    assert!(request.head.contains("user-agent: agent-sts\r\n"), "{}", request.head);
    for header in ["cookie", "referer", "authorization", "accept-encoding"] {
        assert!(!request.head.contains(header), "{}", request.head);
    }
}

#[tokio::test]
async fn fifty_callers_share_one_fetch() {
    let rig = rig();
    let body = jwks(&[&rig.key]);
    let (release, released) = mpsc::channel::<()>();
    rig.server.answer(move |_| {
        released.recv().unwrap();
        Reply::Body(200, body.clone())
    });
    let callers = join_all((0..50).map(|_| rig.known()));
    // The callers are polled first, so that all of them wait before the server answers.
    let (answers, ()) = tokio::join!(callers, async { release.send(()).unwrap() });
    assert!(answers.into_iter().all(|known| known));
    assert_eq!(rig.server.paths().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads_share_one_fetch() {
    let rig = Arc::new(rig());
    let callers = (0..50).map(|_| {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move { rig.known().await })
    });
    assert!(join_all(callers.collect::<Vec<_>>()).await.into_iter().all(|known| known.unwrap()));
    assert_eq!(rig.server.paths().len(), 1);
}

#[tokio::test]
async fn a_fetch_outlives_the_caller_that_started_it() {
    let rig = rig();
    let body = jwks(&[&rig.key]);
    let (release, released) = mpsc::channel::<()>();
    rig.server.answer(move |_| {
        released.recv().unwrap();
        Reply::Body(200, body.clone())
    });
    let started = select(Box::pin(rig.known()), std::future::ready(())).await;
    let Either::Right(((), caller)) = started else { panic!("answered without a fetch") };
    drop(caller);
    release.send(()).unwrap();
    rig.remote.refresh().await.unwrap();
    assert_eq!(rig.remote.health().fetches, 1);
}

#[tokio::test]
async fn a_flood_of_unknown_kids_forces_one_refetch_in_thirty_seconds() {
    let rig = rig();
    assert!(rig.known().await);
    for round in 1..=3 {
        for number in 0..300 {
            let answer = rig.find(&format!("made-up-{round}-{number}")).await;
            assert!(is_unknown(&answer), "{answer:?}");
            rig.clock.advance(Duration::from_millis(99));
        }
        assert_eq!(rig.remote.health().forced_refetches, round);
        rig.clock.advance(Duration::from_millis(300));
    }
    let concurrent = join_all((0..300).map(|number| {
        let rig = &rig;
        async move { is_unknown(&rig.find(&format!("at-once-{number}")).await) }
    }));
    assert!(concurrent.await.into_iter().all(|unknown| unknown));
    assert_eq!(rig.remote.health().forced_refetches, 4);
    assert_eq!(rig.server.paths().len(), 5);
}

#[tokio::test]
async fn a_rotated_key_is_found_by_the_forced_refetch() {
    let rig = rig();
    assert!(rig.known().await);
    let next = SigningKey::generate(Algorithm::Es256).unwrap();
    let body = jwks(&[&next]);
    rig.server.answer(move |_| Reply::Body(200, body.clone()));
    assert!(rig.find(next.kid()).await.is_ok());
    assert!(is_unknown(&rig.find(rig.key.kid()).await), "a withdrawn key is gone with the next fetch");
    assert_eq!(rig.server.paths().len(), 2);
}

#[tokio::test]
async fn old_keys_are_refreshed_behind_the_callers_back() {
    let rig = rig();
    assert!(rig.known().await);
    let next = SigningKey::generate(Algorithm::Es256).unwrap();
    let (body, key) = (jwks(&[&rig.key, &next]), next.kid().to_owned());
    rig.server.answer(move |_| Reply::Body(200, body.clone()));
    rig.clock.advance(Duration::from_secs(300));
    assert!(join_all((0..20).map(|_| rig.known())).await.into_iter().all(|known| known));
    rig.remote.refresh().await.unwrap();
    assert_eq!(rig.server.paths().len(), 2, "refresh waited for the one fetch under way");
    assert!(rig.find(&key).await.is_ok());
    assert_eq!(rig.remote.health().forced_refetches, 0);
}

#[tokio::test]
async fn old_keys_are_kept_through_an_outage_of_a_day_and_no_longer() {
    let rig = rig();
    assert!(rig.known().await);
    rig.break_down();
    for hours in 1..24 {
        rig.clock.advance(Duration::from_secs(3_600));
        assert!(rig.known().await, "after {hours} hours");
        let _ = rig.remote.refresh().await;
    }
    rig.clock.advance(Duration::from_secs(3_600));
    assert!(is_unavailable(&rig.find(rig.key.kid()).await), "keys that were not confirmed for a day are an outage");
    let health = rig.remote.health();
    assert!(health.failing);
    assert_eq!(health.fetched_at, Some(Timestamp::new(1_000_000, 0).unwrap()));
    rig.recover();
    rig.clock.advance(Duration::from_secs(1));
    assert!(rig.known().await);
    assert!(!rig.remote.health().failing);
}

#[tokio::test]
async fn keys_not_asked_for_in_a_day_are_fetched_again_first() {
    let rig = rig();
    assert!(rig.known().await);
    let next = SigningKey::generate(Algorithm::Es256).unwrap();
    let body = jwks(&[&next]);
    rig.server.answer(move |_| Reply::Body(200, body.clone()));
    rig.clock.advance(MAX_KEY_AGE);
    assert!(is_unknown(&rig.find(rig.key.kid()).await));
    assert_eq!(rig.remote.health().forced_refetches, 0);
}

#[tokio::test]
async fn a_set_that_was_emptied_withdraws_its_keys_and_is_a_refusal_of_its_own() {
    let sets = ["{\"keys\":[]}", "{\"keys\":[{\"kty\":\"RSA\"},{\"kty\":\"oct\",\"k\":\"AA\"}]}"];
    for set in sets {
        let rig = rig();
        assert!(rig.known().await);
        rig.server.answer(|_| Reply::Body(200, set.into()));
        rig.remote.refresh().await.unwrap();
        for kid in [rig.key.kid(), "unknown"] {
            let answer = rig.find(kid).await;
            assert!(matches!(answer, Err(KeyLookupError::Unusable)), "{answer:?}");
        }
        assert!(rig.remote.health().failing, "the operator hears of it");
        rig.recover();
        rig.clock.advance(Duration::from_secs(30));
        assert!(rig.known().await);
        assert!(!rig.remote.health().failing);
    }
}

#[tokio::test]
async fn a_failing_background_refresh_is_repeated_every_thirty_seconds_and_not_for_each_caller() {
    let rig = rig();
    assert!(rig.known().await);
    rig.break_down();
    rig.clock.advance(Duration::from_secs(300));
    assert!(rig.known().await);
    assert!(rig.remote.refresh().await.is_err());
    for _ in 0..100 {
        assert!(rig.known().await);
        rig.clock.advance(Duration::from_millis(290));
    }
    assert_eq!(rig.remote.health().fetches, 2);
}

#[tokio::test]
async fn keys_that_were_never_loaded_are_an_outage_and_tried_once_a_second() {
    let rig = rig();
    rig.break_down();
    for _ in 0..10 {
        assert!(is_unavailable(&rig.find(rig.key.kid()).await));
    }
    assert_eq!(rig.server.paths().len(), 1);
    rig.clock.advance(Duration::from_secs(1));
    assert!(is_unavailable(&rig.find(rig.key.kid()).await));
    assert_eq!(rig.server.paths().len(), 2);
    rig.recover();
    assert!(is_unavailable(&rig.find(rig.key.kid()).await));
    rig.clock.advance(Duration::from_secs(1));
    assert!(rig.known().await);
    assert_eq!(rig.remote.health().forced_refetches, 0);
}

#[tokio::test]
async fn the_first_load_answers_an_unknown_kid_without_a_second_fetch() {
    let rig = rig();
    assert!(is_unknown(&rig.find("unknown").await));
    assert_eq!(rig.server.paths().len(), 1);
}

#[tokio::test]
async fn an_unknown_kid_is_an_outage_while_the_latest_fetch_failed() {
    let rig = rig();
    assert!(rig.known().await);
    rig.break_down();
    assert!(is_unavailable(&rig.find("unknown").await));
    for _ in 0..10 {
        assert!(is_unavailable(&rig.find("unknown").await));
        assert!(rig.known().await);
        rig.clock.advance(Duration::from_secs(2));
    }
    assert_eq!(rig.remote.health().forced_refetches, 1);
    rig.clock.advance(Duration::from_secs(10));
    assert!(is_unavailable(&rig.find("unknown").await));
    rig.recover();
    rig.clock.advance(Duration::from_secs(30));
    assert!(is_unknown(&rig.find("unknown").await));
    assert_eq!(rig.remote.health().forced_refetches, 3);
}

#[tokio::test]
async fn a_caller_that_joined_a_fetch_begun_too_early_forces_one_more() {
    let rig = rig();
    assert!(rig.known().await);
    let next = SigningKey::generate(Algorithm::Es256).unwrap();
    let answers = Mutex::new(vec![jwks(&[&rig.key, &next]), jwks(&[&rig.key])]);
    let (release, released) = mpsc::channel::<()>();
    rig.server.answer(move |_| {
        released.recv().unwrap();
        Reply::Body(200, answers.lock().unwrap().pop().unwrap())
    });
    let callers = async { tokio::join!(rig.remote.refresh(), rig.find(next.kid())) };
    let ((_, found), ()) = tokio::join!(callers, async {
        release.send(()).unwrap();
        release.send(()).unwrap();
    });
    assert!(found.is_ok());
    assert_eq!(rig.remote.health().forced_refetches, 1);
    assert_eq!(rig.server.paths().len(), 3);
}

#[tokio::test]
async fn a_clock_set_back_does_not_block_refetches() {
    let rig = rig();
    assert!(is_unknown(&rig.find("unknown").await));
    assert!(is_unknown(&rig.find("unknown").await));
    assert_eq!(rig.remote.health().forced_refetches, 1);
    rig.clock.set(Timestamp::new(1_000, 0).unwrap());
    assert!(is_unknown(&rig.find("unknown").await));
    assert_eq!(rig.remote.health().forced_refetches, 2);
}

#[tokio::test]
async fn a_key_of_another_algorithm_is_unknown() {
    let rig = rig();
    assert!(rig.known().await);
    let answer = rig.remote.candidates(Some(rig.key.kid()), Algorithm::Rs256).await;
    assert!(is_unknown(&answer), "{answer:?}");
    assert!(rig.remote.candidates(None, Algorithm::Es256).await.is_ok());
    assert_eq!(json!(rig.remote.health().fetches), 2);
}
