//! Comparison of client secrets with the hashes in the registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use sts_jose::{Entropy, hex};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::Semaphore;

use super::{AuthenticationError, ClientContext, Failure};
use crate::config::{Argon2idCost, argon2id_cost};
use crate::registry::{Agent, AgentAuth, Registry, SecretHashes};

/// The maximum number of concurrent argon2 computations for agents. Each takes 19 MiB and a core
/// for some 20 ms. Secrets of operators run one by one.
const CONCURRENT: usize = 2;
/// The maximum number of secrets that are remembered as correct.
const MAX_KNOWN: usize = 10_000;
/// The longest accepted secret, in bytes. An empty secret never authenticates, even if the registry
/// holds its hash.
const MAX_SECRET_BYTES: usize = 1024;
/// The time that a secret waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// A hash that no secret matches, with the default cost. The secret of an unknown agent is compared
/// with it.
const NO_SECRET_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keQ$y5HFY3+UvY8XkyPtJY6sVvLjqHoC6kTGYVhNTvFOkNs";

/// Compares secrets, and limits the number of concurrent argon2 computations.
#[derive(Debug)]
pub struct SecretCheck {
    agents: Arc<Semaphore>,
    operators: Arc<Semaphore>,
    known: Known,
}

/// The queue of a secret. Operators have a separate queue, so a flood of agent secrets does not
/// block them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretQueue {
    /// The queue for the secrets of agents.
    Agents,
    /// The queue for the secrets of operators.
    Operators,
}

/// The last correct secret of each hash, so that it costs argon2 only once. It is stored as an HMAC
/// under a key that only this process has.
struct Known {
    key: hmac::Key,
    codes: Mutex<HashMap<String, hmac::Tag>>,
}

/// A possible reading of a request's credentials: an id and a secret.
pub(super) struct Presented {
    pub(super) id: Option<String>,
    pub(super) secret: SecretString,
}

/// Returns the agent that one of these pairs of id and secret authenticates. Every pair is compared
/// with as many hashes as any agent has. A wrong secret therefore takes as long as an unknown id,
/// and the time does not reveal which ids exist.
pub(super) async fn authenticate(
    context: &ClientContext<'_>,
    presented: &[Presented],
) -> Result<Arc<Agent>, AuthenticationError> {
    let candidates: Vec<Candidate<'_>> = presented.iter().filter_map(|pair| Candidate::of(context, pair)).collect();
    // Both pairs are always compared, even if the first matches.
    let matching: Vec<_> = candidates.iter().map(Candidate::by_digest).collect();
    if let Some(agent) = matching.into_iter().flatten().next() {
        return Ok(agent);
    }
    if let Some(agent) = candidates.iter().find_map(|candidate| candidate.remembered(context.secrets)) {
        return Ok(agent);
    }
    let Some(dummies) = Dummies::of(context.registry).filter(|_| !candidates.is_empty()) else {
        return Err(failure(context, presented).into());
    };
    for Candidate { agent, secret } in candidates {
        for number in 0..dummies.hashes_of_an_agent {
            let own = agent.and_then(|agent| agent.auth.as_ref()?.argon2_hashes().get(number));
            let own = own.filter(|hash| argon2id_cost(hash).is_ok());
            let hash = own.unwrap_or(&dummies.hash).clone();
            let matches = context.secrets.argon2_matches(SecretQueue::Agents, Some(hash), secret.clone()).await?;
            if let (true, Some(_), Some(agent)) = (matches, own, agent) {
                return Ok(Arc::clone(agent));
            }
        }
    }
    Err(failure(context, presented).into())
}

/// The number of argon2 computations that these pairs cost where none of them authenticates; one at least.
pub(super) fn cost(registry: &Registry, presented: &[Presented]) -> usize {
    let compared = presented.iter().filter(|pair| may_be_a_secret(&pair.secret)).count();
    let hashes = Dummies::of(registry).map_or(0, |dummies| dummies.hashes_of_an_agent);
    (compared * hashes).max(1)
}

/// A secret that is to be compared, and the agent whose it would be.
struct Candidate<'a> {
    agent: Option<&'a Arc<Agent>>,
    secret: &'a SecretString,
}

impl<'a> Candidate<'a> {
    /// Returns `None` for a secret that no agent can have.
    fn of(context: &ClientContext<'a>, Presented { id, secret }: &'a Presented) -> Option<Self> {
        let agent = id.as_deref().and_then(|id| context.agent(id));
        may_be_a_secret(secret).then_some(Self { agent, secret })
    }

    /// Returns the agent if one of its SHA-256 hashes matches the secret. This fast hash suffices
    /// for a random 256-bit secret, because such a secret cannot be guessed.
    fn by_digest(&self) -> Option<Arc<Agent>> {
        let digest = hexadecimal_digest(self.secret);
        let hashes = self.agent.and_then(|agent| Some(agent.auth.as_ref()?.sha256_hashes())).unwrap_or_default();
        let fits = |hash: &String| digest.as_bytes().ct_eq(hash.to_ascii_lowercase().as_bytes());
        let matches = hashes.iter().fold(Choice::from(0), |matches, hash| matches | fits(hash));
        self.agent.filter(|_| bool::from(matches)).map(Arc::clone)
    }

    /// Returns the agent if the secret has matched one of its argon2id hashes before.
    fn remembered(&self, secrets: &SecretCheck) -> Option<Arc<Agent>> {
        let agent = self.agent?;
        let hashes = agent.auth.as_ref()?.argon2_hashes();
        hashes.iter().any(|hash| secrets.known.is_right(hash, self.secret)).then(|| Arc::clone(agent))
    }
}

fn may_be_a_secret(secret: &SecretString) -> bool {
    (1..=MAX_SECRET_BYTES).contains(&secret.expose_secret().len())
}

/// Returns the reason for which none of these pairs authenticates.
fn failure(context: &ClientContext<'_>, presented: &[Presented]) -> Failure {
    let ids = || presented.iter().filter_map(|pair| pair.id.as_deref());
    let Some(agent) = ids().find_map(|id| context.registry.agent(id)) else { return Failure::UnknownAgent };
    if context.agent(&agent.id).is_none() {
        return Failure::DisabledAgent;
    }
    if presented.iter().all(|pair| !may_be_a_secret(&pair.secret)) {
        return Failure::SecretLength;
    }
    let has_secret = |auth: &AgentAuth| !auth.argon2_hashes().is_empty() || !auth.sha256_hashes().is_empty();
    if agent.auth.as_ref().is_some_and(has_secret) { Failure::Secret } else { Failure::NoSecret }
}

/// The comparisons that replace the missing hashes of an agent.
struct Dummies {
    /// A hash that no secret matches, with the highest cost in the registry.
    hash: String,
    /// The maximum number of argon2id hashes of any agent.
    hashes_of_an_agent: usize,
}

impl Dummies {
    /// Returns `None` if no agent has an argon2id hash.
    fn of(registry: &Registry) -> Option<Self> {
        let hashes = || registry.agents().filter_map(|agent| Some(agent.auth.as_ref()?.argon2_hashes()));
        let costs = hashes().flatten().filter_map(|hash| argon2id_cost(hash).ok());
        let costliest = costs.max_by_key(Argon2idCost::work)?;
        Some(Self {
            hash: NO_SECRET_HASH.replace(&Argon2idCost::standard().to_string(), &costliest.to_string()),
            hashes_of_an_agent: hashes().map(<[String]>::len).max().unwrap_or(0).min(SecretHashes::MAX),
        })
    }
}

pub(super) fn hexadecimal_digest(secret: &SecretString) -> String {
    hex(digest(&SHA256, secret.expose_secret().as_bytes()).as_ref())
}

impl Known {
    fn new(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), codes: Mutex::default() }
    }

    /// Returns true if this was the last correct secret of this hash.
    fn is_right(&self, hash: &str, secret: &SecretString) -> bool {
        let codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let code = codes.get(hash).copied();
        drop(codes);
        code.is_some_and(|code| hmac::verify(&self.key, secret.expose_secret().as_bytes(), code.as_ref()).is_ok())
    }

    fn remember(&self, hash: String, secret: &SecretString) {
        let code = hmac::sign(&self.key, secret.expose_secret().as_bytes());
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= MAX_KNOWN {
            codes.clear();
        }
        codes.insert(hash, code);
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

impl SecretCheck {
    /// Returns a check that remembers no secret.
    #[must_use]
    pub fn new(entropy: &dyn Entropy) -> Self {
        let [agents, operators] = [CONCURRENT, 1].map(|turns| Arc::new(Semaphore::new(turns)));
        Self { agents, operators, known: Known::new(entropy) }
    }

    /// Returns true if `secret` matches `hash`. Without a hash, it returns false after the same
    /// time. A remembered secret is accepted at once.
    ///
    /// # Errors
    /// [`AuthenticationError::Overloaded`] if the secret does not get its turn in time.
    pub(crate) async fn argon2_matches(
        &self,
        queue: SecretQueue,
        hash: Option<String>,
        secret: SecretString,
    ) -> Result<bool, AuthenticationError> {
        if hash.as_ref().is_some_and(|hash| self.known.is_right(hash, &secret)) {
            return Ok(true);
        }
        let turns = match queue {
            SecretQueue::Agents => &self.agents,
            SecretQueue::Operators => &self.operators,
        };
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(AuthenticationError::Overloaded) };
        let check = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let known = hash.as_deref().unwrap_or(NO_SECRET_HASH);
            let is_right = Argon2::default().verify_password(secret.expose_secret().as_bytes(), known).is_ok();
            hash.filter(|_| is_right).map(|hash| (hash, secret))
        });
        let right = check.await.or(Err(AuthenticationError::Overloaded))?;
        if let Some((hash, secret)) = &right {
            self.known.remember(hash.clone(), secret);
        }
        Ok(right.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_secret_is_none() {
        for (secret, fits) in [("", false), ("x", true), (&"x".repeat(MAX_SECRET_BYTES), true)] {
            assert_eq!(may_be_a_secret(&SecretString::from(secret)), fits);
        }
        assert!(!may_be_a_secret(&SecretString::from("x".repeat(MAX_SECRET_BYTES + 1))));
    }

    #[test]
    fn the_hash_of_no_secret_is_well_formed() {
        let outcome = Argon2::default().verify_password(b"secret", NO_SECRET_HASH);
        assert!(matches!(outcome, Err(argon2::password_hash::Error::PasswordInvalid)), "{outcome:?}");
        assert!(
            NO_SECRET_HASH.contains(&Argon2idCost::standard().to_string()),
            "its cost is replaced by that of others"
        );
    }
}
