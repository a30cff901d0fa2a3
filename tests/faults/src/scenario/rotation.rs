//! Keys that rotate every ten seconds, under load, and verifiers that keep what they read for five.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sts_jose::{KeySet, UnverifiedToken};
use sts_tests::postgres;

use crate::load::Load;
use crate::trial::{Home, Trial};
use crate::{Outcome, Run};

const ROTATE_EVERY: Duration = Duration::from_secs(10);
/// How long a verifier keeps the keys.
const CACHED: Duration = Duration::from_secs(5);
/// How often a verifier verifies the last tokens.
const VERIFY_EVERY: Duration = Duration::from_millis(250);
/// Verifiers of each server, each of which reads the keys at another moment.
const VERIFIERS: u32 = 4;
/// How many clients ask, and how often.
const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(50);

pub(super) async fn every_ten_seconds(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 2, run.program.as_ref());
    trial.start().await;
    trial.ask(CLIENTS, Some(PACE));
    trial.tokens(1).await?;
    let verified = Arc::new(AtomicU64::new(0));
    for base in trial.load.bases() {
        for number in 0..VERIFIERS {
            let verifier =
                Verifier { base: base.clone(), load: Arc::clone(&trial.load), verified: Arc::clone(&verified) };
            trial.beside(verifier.run(CACHED * number / VERIFIERS));
        }
    }
    let rotations = run.pick(3, 30);
    for _ in 0..rotations {
        tokio::time::sleep(ROTATE_EVERY).await;
        let rotated = trial.folder.run(&["keys", "rotate", "--now", "--algorithm", "ES256"]).await;
        anyhow::ensure!(rotated.code == 0, "{rotated:?}");
    }
    tokio::time::sleep(ROTATE_EVERY).await;
    let count = verified.load(Ordering::Relaxed);
    anyhow::ensure!(count > 0, "nothing was verified");
    trial.notes.push(format!("{rotations} rotations, {count} verifications, 0 failed"));
    Ok(Outcome::Held(trial.end().await?))
}

/// Who keeps the keys of a server for a while, and verifies all tokens that come meanwhile, whichever server issued them.
struct Verifier {
    base: String,
    load: Arc<Load>,
    verified: Arc<AtomicU64>,
}

impl Verifier {
    async fn run(self, phase: Duration) {
        tokio::time::sleep(phase).await;
        let http = reqwest::Client::new();
        while !self.load.is_over() {
            match self.read(&http).await {
                Ok(keys) => self.verify_for_a_while(&keys).await,
                Err(error) => self.load.breach(format!("the keys of {}: {error:#}", self.base)),
            }
        }
    }

    async fn read(&self, http: &reqwest::Client) -> anyhow::Result<KeySet> {
        let answer = http.get(format!("{}/oauth2/jwks", self.base)).send().await?.error_for_status()?;
        Ok(KeySet::parse(&answer.bytes().await?)?)
    }

    async fn verify_for_a_while(&self, keys: &KeySet) {
        let turns = CACHED.as_millis() / VERIFY_EVERY.as_millis();
        for _ in 0..turns {
            for token in self.load.recent() {
                match verify(keys, &token) {
                    Ok(()) => drop(self.verified.fetch_add(1, Ordering::Relaxed)),
                    Err(why) => self.load.breach(format!("a token is not verified: {why}")),
                }
            }
            tokio::time::sleep(VERIFY_EVERY).await;
        }
    }
}

fn verify(keys: &KeySet, token: &str) -> Result<(), String> {
    let token = UnverifiedToken::parse(token).map_err(|error| error.to_string())?;
    let header = token.header();
    let key = keys.find(header.kid.as_deref(), header.algorithm).ok_or("its key is not in the set".to_owned())?;
    token.verify(key).map(drop).map_err(|error| error.to_string())
}
