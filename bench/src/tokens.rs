//! Subject tokens, and the requests that present them: made before a round begins, so that the load costs as little as it can.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use serde_json::json;
use sts_jose::{Algorithm, Clock as _, Entropy as _, SystemClock, SystemEntropy};
use sts_tests::{TestKey, base64url};

/// How long a user's token lives, in seconds: longer than any run.
const LIFE_SECONDS: i64 = 4 * 3600;

/// Who signs users' tokens.
#[derive(Debug, Clone)]
pub struct Users {
    /// The issuer identifier.
    pub issuer: String,
    /// What it signs with, one key of each algorithm.
    pub keys: Vec<(Algorithm, Arc<TestKey>)>,
}

impl Users {
    /// So many tokens of `alice` of the tenant `acme`, no two alike, signed on all cores.
    ///
    /// # Panics
    /// When there is no key of that algorithm.
    #[must_use]
    pub fn tokens(&self, algorithm: Algorithm, count: usize) -> Vec<String> {
        let key = self.keys.iter().find(|(known, _)| *known == algorithm).map(|(_, key)| key).expect("a key");
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let part = |index: usize| {
            let (from, to) = (count * index / threads, count * (index + 1) / threads);
            (from..to).map(|_| self.token(key)).collect::<Vec<String>>()
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|index| scope.spawn(move || part(index))).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("signing does not panic")).collect()
        })
    }

    fn token(&self, key: &TestKey) -> String {
        let mut name = [0; 16];
        SystemEntropy.fill(&mut name);
        let now = SystemClock.now().as_second();
        key.sign(&json!({
            "iss": self.issuer, "sub": "alice", "aud": "web-app", "org_id": "acme",
            "iat": now, "exp": now + LIFE_SECONDS, "jti": base64url(name),
        }))
    }
}

/// The form of an exchange of `token` for one that is good for `audience`.
#[must_use]
pub fn exchange_form(token: &str, audience: &str) -> Bytes {
    // Nothing in a JWT or in these names needs encoding.
    Bytes::from(format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange\
         &subject_token_type=urn:ietf:params:oauth:token-type:access_token\
         &subject_token={token}&audience={audience}"
    ))
}
