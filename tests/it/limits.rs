//! What the server does not go beyond, and that whoever meets a limit is told when to come back (docs/limits.md).

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use http::HeaderMap;
use sts_jose::{Clock as _, SystemEntropy};
use sts_server::error_kind::ErrorKind;
use sts_server::keys::MasterKey;
use sts_server::record::{Event, EventKind};
use sts_server::service::{Parts, Sts};
use sts_server::storage::AuditFilter;
use sts_tests::faulty_store::{FaultyStore, StoreFault};
use sts_tests::world::Node;
use sts_tests::{Answer, Credentials, Harness, Setup, refuses};
use tokio::task::JoinSet;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// More requests than wait for the database at once (4096), and are taken in its first turn (256).
const TOO_MANY: usize = 4096 + 256 + TURNED_AWAY;
const TURNED_AWAY: usize = 40;

/// A server on a harness's database, whose store fails when it is told to.
pub(crate) async fn faulty(harness: &Harness) -> (Node, FaultyStore) {
    let store = FaultyStore::new(Arc::clone(&harness.store));
    let parts = Parts {
        store: Arc::new(store.clone()),
        master: Arc::new(MasterKey::read(&harness.config.keys.master_key_file).expect("a master key")),
        clock: Arc::new(harness.clock.clone()),
        entropy: Arc::new(SystemEntropy),
    };
    let sts = Arc::new(Sts::start(&harness.config, parts).await.expect("a service"));
    (Node::new(sts, &harness.config), store)
}

/// A request of `coordinator` for a token of its own.
pub(crate) fn own_token(harness: &Harness) -> Vec<(String, String)> {
    let secret = harness.secret("coordinator");
    let form = [
        ("grant_type", "client_credentials"),
        ("audience", "inventory"),
        ("client_id", "coordinator"),
        ("client_secret", &secret),
    ];
    form.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Asks again and again until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asked).await.is_ok(), "{what}");
}

fn wait(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().expect("whole seconds")
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_slowed_down_and_others_are_not() {
    let harness = Setup::default().option("LIMITS__REQUESTS_PER_MINUTE_PER_CLIENT", "3").start().await;
    let token = harness.first_hop().await;
    // What policy refuses counts too.
    harness
        .assert_refused("refused", harness.exchange().set("audience", "x"), ErrorKind::Target, "target_unknown")
        .await;
    assert_eq!(harness.introspect("coordinator", &token).send().await.status, 200);
    let events = harness.audit_count().await;
    for request in [harness.exchange(), harness.client_credentials(), harness.revoke("coordinator", &token)] {
        let answer = request.send().await;
        refuses("one too many", &answer, ErrorKind::TooMany);
        assert!((1..=60).contains(&wait(&answer)), "{:?}", answer.headers);
    }
    assert_eq!(harness.audit_count().await, events, "the database is what the limit spares");
    assert_eq!(harness.introspect("inventory", &token).send().await.json["active"], true);
    let wrong = Credentials::Basic("coordinator".to_owned(), "not-the-secret-of-coordinator".to_owned());
    refuses("somebody else", &harness.exchange().authenticated(wrong).send().await, ErrorKind::Client);
}

#[tokio::test]
async fn a_source_that_asks_too_often_is_slowed_down_whatever_it_asks() {
    let setup = Setup::default().option("LIMITS__REQUESTS_PER_MINUTE_PER_SOURCE", "3");
    let harness = setup.option("LISTEN__TRUSTED_PROXIES", "127.0.0.1").start().await;
    let token = harness.first_hop().await;
    refuses("a failure", &harness.exchange().authenticated(Credentials::None).send().await, ErrorKind::Client);
    assert_eq!(harness.introspect("inventory", &token).send().await.status, 200);
    for request in [harness.exchange(), harness.introspect("warehouse", &token), harness.exchange().body("?")] {
        let answer = request.send().await;
        refuses("one too many", &answer, ErrorKind::TooMany);
        assert!((1..=60).contains(&wait(&answer)), "{:?}", answer.headers);
    }
    harness.exchange().header("x-forwarded-for", "203.0.113.9").send().await.token();
    assert_eq!(harness.get("/oauth2/jwks").await.status, 200);
}

#[tokio::test]
async fn the_addresses_of_one_ipv6_subnet_are_one_source() {
    for option in ["LIMITS__REQUESTS_PER_MINUTE_PER_SOURCE", "LIMITS__FAILED_ATTEMPTS_PER_MINUTE"] {
        let setup = Setup::default().option(option, "2").option("LISTEN__TRUSTED_PROXIES", "127.0.0.1");
        let harness = setup.start().await;
        let failure = || harness.exchange().authenticated(Credentials::None);
        for source in ["2001:db8::1", "2001:db8::ffff:2"] {
            refuses(option, &failure().header("x-forwarded-for", source).send().await, ErrorKind::Client);
        }
        refuses(option, &failure().header("x-forwarded-for", "2001:db8::3").send().await, ErrorKind::TooMany);
        refuses(option, &failure().header("x-forwarded-for", "2001:db8:0:1::3").send().await, ErrorKind::Client);
    }
}

#[tokio::test]
async fn refusals_of_an_agent_beyond_its_bound_are_counted_into_one_event_and_its_successes_are_served() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let harness = setup.option("LIMITS__REFUSALS_PER_MINUTE_PER_CLIENT", "2").start().await;
        let unknown = || harness.exchange().set("audience", "nobody");
        for _ in 0..2 {
            harness.assert_refused("within the bound", unknown(), ErrorKind::Target, "target_unknown").await;
        }
        let before = harness.audit_count().await;
        for request in [unknown(), unknown(), harness.exchange().set("scope", "more")] {
            let answer = request.send().await;
            refuses("beyond the bound", &answer, ErrorKind::TooMany);
            assert!(wait(&answer) <= 60, "{}", wait(&answer));
        }
        assert_eq!(harness.audit_count().await, before, "none of them is stored");
        harness.exchange().send().await.token();
        let other = harness.exchange_by("inventory", &harness.first_hop().await, "nobody");
        harness.assert_refused("another agent", other, ErrorKind::Target, "target_unknown").await;

        let before = harness.audit_count().await;
        harness.server.sts().record_suppressed_refusals().await;
        assert_eq!(harness.audit_count().await, before, "a minute has not passed");
        harness.advance(60);
        harness.server.sts().record_suppressed_refusals().await;
        harness.server.sts().record_last_suppressed_refusals().await;
        assert_eq!(harness.audit_count().await, before + 1, "one event for all of them");
        let since = AuditFilter { since: Some(harness.clock.now()), ..AuditFilter::default() };
        let rows = harness.store.audit(&since, 10).await.expect("the audit log").rows;
        let event: Event = serde_json::from_str(&rows.first().expect("an event").row.body).expect("an event");
        assert_eq!(event.event, EventKind::RefusalsSuppressed);
        assert_eq!((event.client_id.as_deref(), event.count), (Some("coordinator"), Some(3)));
        assert_eq!(event.reason.as_deref(), Some("target_unknown"));
        assert!(event.detail.is_some_and(|detail| detail.ends_with("2 target_unknown, 1 scope_beyond")), "the reasons");
    }
}

#[tokio::test]
async fn an_assertion_that_is_replayed_without_end_is_stored_within_the_bound() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let harness = setup.option("LIMITS__REFUSALS_PER_MINUTE_PER_CLIENT", "2").start().await;
        let request = harness.exchange_by("reporter", &harness.user_token(), "inventory");
        request.clone().send().await.token();
        let before = harness.audit_count().await;
        for _ in 0..3 {
            refuses("replayed", &request.clone().send().await, ErrorKind::Client);
        }
        for _ in 0..5 {
            refuses("replayed beyond the bound", &request.clone().send().await, ErrorKind::TooMany);
        }
        assert_eq!(harness.audit_count().await, before + 3, "the one that passes the bound is the last");
        let again = harness.exchange_by("reporter", &harness.user_token(), "inventory");
        again.clone().send().await.token();
        refuses("spent by the token", &again.clone().send().await, ErrorKind::TooMany);
        harness.server.sts().record_last_suppressed_refusals().await;
        assert_eq!(harness.audit_count().await, before + 5, "a token, and one event for all other refusals");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_before_the_database_turns_requests_away_and_loses_none() {
    let harness = Setup::default().option("LIMITS__REQUEST_TIMEOUT", "10m").start().await;
    let (node, store) = faulty(&harness).await;
    store.fail(Some(StoreFault::Stalls));
    let (node, form) = (Arc::new(node), own_token(&harness));
    let mut requests = JoinSet::new();
    for _ in 0..TOO_MANY {
        let (node, form) = (Arc::clone(&node), form.clone());
        requests.spawn(async move { node.post("/oauth2/token", &form, &HeaderMap::new()).await });
    }
    for _ in 0..TURNED_AWAY {
        let answer = tokio::time::timeout(PATIENCE, requests.join_next()).await.expect("turned away at once");
        let answer = answer.expect("more were sent").expect("no panic");
        refuses("no place in the queue", &answer, ErrorKind::TooMany);
        assert_eq!(wait(&answer), 1);
    }
    store.fail(None);
    let answers = tokio::time::timeout(PATIENCE, requests.join_all()).await.expect("all are answered");
    let mut tokens: i64 = 0;
    for answer in answers {
        if answer.status == 200 {
            tokens += 1;
        } else {
            refuses("no place in the queue", &answer, ErrorKind::TooMany);
        }
    }
    assert!(tokens >= 4096, "{tokens} waited");
    assert_eq!(harness.token_count().await, tokens, "what was answered is what was recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_takes_too_long_is_an_outage_and_what_is_being_committed_is_committed() {
    let setup = Setup::default().option("LIMITS__BODY_TIMEOUT", "1s").option("LIMITS__REQUEST_TIMEOUT", "2s");
    let harness = setup.start().await;
    let token = harness.first_hop().await;
    let (node, store) = faulty(&harness).await;
    store.fail(Some(StoreFault::Stalls));
    let answer = node.post("/oauth2/token", &own_token(&harness), &HeaderMap::new()).await;
    refuses("a commit that takes too long", &answer, ErrorKind::Unavailable);
    assert_eq!(wait(&answer), 1);
    let (client_id, client_secret) = ("coordinator".to_owned(), harness.secret("coordinator"));
    let form = [("token", token.clone()), ("client_id", client_id), ("client_secret", client_secret)];
    let form = form.map(|(name, value)| (name.to_owned(), value));
    let revoked = node.post("/oauth2/revoke", &form, &HeaderMap::new()).await;
    refuses("a revocation that takes too long", &revoked, ErrorKind::Unavailable);
    assert_eq!(harness.token_count().await, 1, "nothing is committed yet");
    store.fail(None);
    until("the token is recorded", async || harness.token_count().await == 2).await;
    until("the revocation holds", async || {
        harness.refresh().await;
        harness.introspect("inventory", &token).send().await.json["active"] == false
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_that_waits_too_long_while_others_are_committed_is_load_and_no_outage() {
    let setup = Setup::default().option("LIMITS__BODY_TIMEOUT", "1s").option("LIMITS__REQUEST_TIMEOUT", "4s");
    let harness = setup.start().await;
    let (node, store) = faulty(&harness).await;
    // A turn of the writer takes 256 decisions: the last of these wait for eight turns, of a second each.
    store.fail(Some(StoreFault::Slow(Duration::from_secs(1))));
    let (node, form) = (Arc::new(node), own_token(&harness));
    let mut requests = JoinSet::new();
    for _ in 0..8 * 256 {
        let (node, form) = (Arc::clone(&node), form.clone());
        requests.spawn(async move { node.post("/oauth2/token", &form, &HeaderMap::new()).await });
    }
    let answers = tokio::time::timeout(PATIENCE, requests.join_all()).await.expect("all are answered");
    let (tokens, turned_away): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(!tokens.is_empty() && !turned_away.is_empty(), "{} of {}", tokens.len(), turned_away.len());
    for answer in &turned_away {
        refuses("it waited too long", answer, ErrorKind::TooMany);
        assert_eq!(wait(answer), 1);
    }
    assert_eq!(harness.token_count().await, i64::try_from(tokens.len()).expect("a small number"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_a_refusal_though_it_cannot_be_recorded_in_time_and_is_recorded_later() {
    let setup = Setup::default().option("LIMITS__BODY_TIMEOUT", "1s").option("LIMITS__REQUEST_TIMEOUT", "2s");
    let harness = setup.start().await;
    let before = harness.audit_count().await;
    let (node, store) = faulty(&harness).await;
    store.fail(Some(StoreFault::Stalls));
    let form: Vec<_> = own_token(&harness).into_iter().chain([("scope".to_owned(), "more".to_owned())]).collect();
    let answer = node.post("/oauth2/token", &form, &HeaderMap::new()).await;
    refuses("it asks for more", &answer, ErrorKind::Scope);
    store.fail(None);
    until("the refusal is recorded", async || harness.audit_count().await == before + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_costly_secrets_at_once_are_turned_away() {
    let params = Params::new(64 * 1024, 6, 1, None).expect("parameters");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(b"a secret that a person chose").expect("a hash").to_string();
    let harness = Setup::default()
        .registry_with(move |registry, _| {
            registry.add(&format!("[[agents]]\nid = 'person'\nauth = {{ client_secret_hash = '{hash}' }}\n"));
        })
        .start()
        .await;
    let mut requests = JoinSet::new();
    for _ in 0..60 {
        let wrong = Credentials::Basic("person".to_owned(), "not-the-secret-of-that-person".to_owned());
        requests.spawn(harness.exchange().authenticated(wrong).send());
    }
    let answers = tokio::time::timeout(PATIENCE, requests.join_all()).await.expect("all are answered");
    let (checked, turned_away): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 401);
    assert!(!checked.is_empty(), "some are checked");
    assert!(!turned_away.is_empty(), "60 secrets are too many");
    for answer in turned_away {
        refuses("too many secrets", &answer, ErrorKind::TooMany);
        assert_eq!(wait(&answer), 1);
    }
    harness.exchange().send().await.token();
}
