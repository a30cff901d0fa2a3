//! The life of signing keys, second by second of a clock that the test moves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sts_jose::{Algorithm, Clock as _, Entropy, KeySet, ManualClock, SystemClock, SystemEntropy, UnverifiedToken};
use sts_server::keys::{self, KeyLifeError, KeyPolicy, KeyRing, MasterKey, Rotation};
use sts_server::storage::{self, KeyChanges, KeyState, StorageError, Store};
use sts_server::ttl::Ttl;
use sts_tests::{Harness, Replica, keyring};
use tempfile::TempDir;

/// How long the rotations go on, in seconds.
const SECONDS: u64 = 120;
/// How often keys rotate, in seconds.
const ROTATE_EVERY: u64 = 10;
/// How long a verifier keeps the keys, in seconds.
const CACHED: u64 = 5;
/// The verifiers: one for each second of that time.
const VERIFIERS: u64 = CACHED;
/// How many of the last tokens every verifier verifies each second.
const LAST_TOKENS: usize = 8;

/// Who caches our keys.
struct Verifier {
    keys: KeySet,
    reads_at: u64,
}

impl Verifier {
    async fn read(harness: &Harness, now: u64) -> Self {
        let keys = KeySet::parse(&harness.get("/oauth2/jwks").await.body).expect("a key set");
        Self { keys, reads_at: now + CACHED }
    }

    fn verifies(&self, token: &str) -> bool {
        let token = UnverifiedToken::parse(token).expect("a token");
        let key = self.keys.find(token.header().kid.as_deref(), token.header().algorithm);
        key.is_some_and(|key| token.verify(key).is_ok())
    }
}

fn no_audit(_changes: &KeyChanges) -> Vec<sts_server::storage::AuditRow> {
    Vec::new()
}

/// Two tokens of each server.
async fn issue(harness: &Harness, replica: &Replica) -> Vec<String> {
    let [first, second] = [harness.exchange(), harness.exchange()];
    let [third, fourth] = [harness.exchange().at(&replica.wire), harness.exchange().at(&replica.wire)];
    let answers = tokio::join!(first.send(), second.send(), third.send(), fourth.send());
    [answers.0, answers.1, answers.2, answers.3].map(|answer| answer.token().to_owned()).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotating_every_ten_seconds_fails_no_verifier_that_caches_for_five() {
    let harness = Harness::start().await;
    let replica = harness.replica().await;
    let master = MasterKey::read(&harness.config.keys.master_key_file).expect("a master key");
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let policy = KeyPolicy {
        store: &*harness.store,
        master: &master,
        clock: &harness.clock,
        entropy: &entropy,
        max_ttl: harness.config.limits.max_ttl,
    };
    let mut verifiers = Vec::new();
    for phase in 0..VERIFIERS {
        verifiers.push(Verifier { reads_at: 1 + phase, ..Verifier::read(&harness, 0).await });
    }
    let (mut tokens, mut verified, mut signed_by) = (VecDeque::new(), 0, std::collections::HashSet::new());
    for now in 1..=SECONDS {
        harness.advance(1);
        // A rotation falls between the answers of one server and those of another, which hears of it later.
        tokens.extend(issue(&harness, &replica).await);
        if now.is_multiple_of(ROTATE_EVERY) {
            let rotated = keys::rotate(&policy, Some(Algorithm::Es256), Rotation::Now, &mut no_audit).await;
            rotated.expect("a database");
            keys::maintain(&policy, harness.config.keys.rotate_every, &mut no_audit).await.expect("a database");
            harness.refresh().await;
        }
        tokens.extend(issue(&harness, &replica).await);
        replica.server.sts().refresh().await.expect("a database");
        for verifier in verifiers.iter_mut().filter(|verifier| verifier.reads_at == now) {
            *verifier = Verifier::read(&harness, now).await;
        }
        tokens.drain(..tokens.len().saturating_sub(LAST_TOKENS));
        for token in &tokens {
            let token: &String = token;
            signed_by.extend(UnverifiedToken::parse(token).expect("a token").header().kid.clone());
            assert!(verifiers.iter().all(|verifier| verifier.verifies(token)), "{now} s");
            verified += verifiers.len();
        }
    }
    assert!(verified > 1000, "{verified}");
    assert!(signed_by.len() >= 12, "{}: every rotation was seen", signed_by.len());
    replica.server.stop().await;
}

#[tokio::test]
async fn the_keys_that_sign_are_published_first_and_a_rotation_beyond_fifty_keys_is_refused() {
    let keys_of = Keys::new().await;
    keys::ensure(&keys_of.server(15), &mut no_audit).await.expect("a database");
    let rotate = async || keys::rotate(&keys_of.server(15), None, Rotation::Now, &mut no_audit).await;
    let mut rotations = 0;
    let refused = loop {
        match rotate().await {
            Ok(()) => rotations += 1,
            Err(error) => break error,
        }
        keys_of.advance(SignedDuration::from_secs(1));
    };
    assert!(matches!(refused, KeyLifeError::TooMany { .. }), "{refused:?}");
    assert_eq!(rotations, 14, "6 keys, and 3 more with each rotation");

    let stored = keys_of.store.keys().await.expect("a database");
    let (ring, faults) = KeyRing::of(&stored, &keys_of.master, &KeyRing::default());
    assert_eq!(faults, []);
    let rows = stored.all();
    let published: Vec<&str> =
        ring.jwks()["keys"].as_array().into_iter().flatten().flat_map(|key| key["kid"].as_str()).collect();
    let states = published.iter().map(|kid| rows.iter().find(|row| row.kid == *kid).expect("a row"));
    let states: Vec<_> = states.map(|row| (row.state, row.state_since)).collect();
    assert!(states[..3].iter().all(|(state, _)| *state == KeyState::Active), "{states:?}");
    assert!(states[3..6].iter().all(|(state, _)| *state == KeyState::Next), "{states:?}");
    assert!(states[6..].is_sorted_by(|(_, one), (_, next)| one >= next), "the newest first: {states:?}");

    let one = keys::rotate(&keys_of.server(15), Some(Algorithm::Es256), Rotation::Now, &mut no_audit).await;
    one.expect("48 keys and one more are not too many");
    keys::revoke(&keys_of.server(15), published[0], &mut no_audit).await.expect("revoking is never refused");
    keys_of.advance(SignedDuration::from_mins(16));
    keys_of.maintain(15).await;
    rotate().await.expect("the retired keys have gone");
}

/// A database with keys in it, and a clock.
struct Keys {
    store: Arc<dyn Store>,
    master: MasterKey,
    url: String,
    entropy: Arc<dyn Entropy>,
    clock: ManualClock,
    _directory: TempDir,
}

impl Keys {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}", directory.path().join("sts.db").display());
        let master = MasterKey::new(&[7; 32]).expect("a key");
        let store = storage::open(&url, 1, keyring::row_codes(&master)).await.expect("a database");
        store.migrate().await.expect("a schema");

        Self {
            store,
            master,
            url,
            entropy: Arc::new(SystemEntropy),
            clock: ManualClock::new(whole(SystemClock.now())),
            _directory: directory,
        }
    }

    /// The database, as a server under this master key opens it.
    async fn opened_under(&self, master: &MasterKey) -> Arc<dyn Store> {
        storage::open(&self.url, 1, keyring::row_codes(master)).await.expect("a database")
    }

    /// What a server with this `max_ttl` does.
    fn server(&self, minutes: u16) -> KeyPolicy<'_> {
        self.under(&self.master, minutes)
    }

    fn under<'a>(&'a self, master: &'a MasterKey, minutes: u16) -> KeyPolicy<'a> {
        KeyPolicy {
            store: &*self.store,
            master,
            clock: &self.clock,
            entropy: &self.entropy,
            max_ttl: Ttl::from_minutes(minutes),
        }
    }

    async fn maintain(&self, minutes: u16) {
        keys::maintain(&self.server(minutes), "30d".parse().expect("a span"), &mut no_audit).await.expect("a database");
    }

    async fn retired(&self) -> usize {
        let rows = self.store.keys().await.expect("a database").all();
        rows.iter().filter(|row| row.state == KeyState::Retired).count()
    }

    fn advance(&self, span: SignedDuration) {
        self.clock.advance(Duration::from_secs(span.as_secs().unsigned_abs()));
    }
}

/// True if nothing was changed because the master key is another one.
fn is_foreign<T>(outcome: &Result<T, KeyLifeError>) -> bool {
    matches!(outcome, Err(KeyLifeError::Foreign { .. } | KeyLifeError::Storage(StorageError::Foreign { .. })))
}

fn whole(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).expect("it was one before")
}

#[tokio::test]
async fn a_retired_key_stays_as_long_as_any_server_let_its_tokens_live_whatever_is_configured_now() {
    let keys_of = Keys::new().await;
    // One server lets tokens live for a quarter of an hour and makes the keys; another signs with them for two hours.
    keys::ensure(&keys_of.server(15), &mut no_audit).await.expect("a database");
    keys_of.maintain(120).await;
    let rotation = (Some(Algorithm::Es256), Rotation::Now);
    keys::rotate(&keys_of.server(15), rotation.0, rotation.1, &mut no_audit).await.expect("a database");

    keys_of.advance(SignedDuration::from_mins(120));
    keys_of.maintain(15).await;
    assert_eq!(keys_of.retired().await, 1, "a token of two hours may have been signed last");
    keys_of.advance(SignedDuration::from_secs(60));
    keys_of.maintain(15).await;
    assert_eq!(keys_of.retired().await, 0, "its life and the skew are over");
}

#[tokio::test]
async fn keys_are_sealed_anew_whole_or_not_at_all_and_never_again_under_the_old_master_key() {
    let keys_of = Keys::new().await;
    keys::ensure(&keys_of.server(15), &mut no_audit).await.expect("a database");
    let before = keys_of.store.keys().await.expect("a database");
    let [stranger, new] = [8, 9].map(|byte| MasterKey::new(&[byte; 32]).expect("a key"));

    let opened = keys_of.opened_under(&stranger).await;
    let by_a_stranger = keys::reseal(&KeyPolicy { store: &*opened, ..keys_of.under(&stranger, 15) }, &new, &[]).await;
    assert!(is_foreign(&by_a_stranger), "{by_a_stranger:?}");
    let under_the_same = keys::reseal(&keys_of.server(15), &keys_of.master, &[]).await;
    assert!(matches!(under_the_same, Err(KeyLifeError::SameMasterKey)), "{under_the_same:?}");
    assert_eq!(keys_of.store.keys().await.expect("a database"), before, "nothing has changed");

    assert_eq!(keys::reseal(&keys_of.server(15), &new, &[]).await.expect("a database"), before.rows.len());
    let rotate = async |master: &MasterKey| {
        let store = keys_of.opened_under(master).await;
        let policy = KeyPolicy { store: &*store, ..keys_of.under(master, 15) };
        keys::rotate(&policy, Some(Algorithm::Es256), Rotation::Now, &mut no_audit).await
    };
    let by_the_old = rotate(&keys_of.master).await;
    assert!(is_foreign(&by_the_old), "{by_the_old:?}");
    rotate(&new).await.expect("the new master key opens all keys");
}
