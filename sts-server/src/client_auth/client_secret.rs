//! Secrets: how one is compared with what the registry knows of it.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::{AuthenticationError, Context, Failure};
use crate::config::{Argon2idCost, argon2id_cost};
use crate::registry::{Agent, AgentAuth, Registry};

/// How many argon2 computations run at once: each takes 19 MiB and a core for some 20 ms.
const CONCURRENT: usize = 2;
/// The longest secret that is looked at. An empty one never authenticates, even if the registry holds its hash.
const MAX_SECRET_BYTES: usize = 1024;
/// How long a secret waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// A hash of no secret, with the default cost: what an agent that does not exist is compared with.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keQ$y5HFY3+UvY8XkyPtJY6sVvLjqHoC6kTGYVhNTvFOkNs";

/// Compares secrets; bounds how many costly comparisons run at once.
#[derive(Debug)]
pub struct SecretCheck {
    turns: Arc<Semaphore>,
}

impl Default for SecretCheck {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(CONCURRENT)) }
    }
}

/// The agent of this id and secret. A wrong secret takes as long as an unknown id, so that time does not tell which ids exist.
pub(super) async fn authenticate(
    context: &Context<'_>,
    id: Option<&str>,
    secret: SecretString,
) -> Result<Arc<Agent>, AuthenticationError> {
    let agent = id.and_then(|id| context.agent(id));
    let known = agent.and_then(|agent| agent.auth.as_ref());
    if !may_be_a_secret(&secret) {
        return Err(failure(agent).into());
    }
    let digest = hexadecimal_digest(&secret);
    let matches_digest = known.is_some_and(|auth| digest_matches(auth, &digest));
    if let Some(agent) = agent.filter(|_| matches_digest) {
        return Ok(Arc::clone(agent));
    }
    if !any_argon2(context.registry) {
        return Err(failure(agent).into());
    }
    let hash = known.and_then(|auth| auth.client_secret_hash.clone()).filter(|hash| argon2id_cost(hash).is_ok());
    let hash = hash.or_else(|| costliest_dummy(context.registry));
    let matches_hash = context.secrets.argon2_matches(hash, secret).await?;
    match agent.filter(|_| matches_hash) {
        Some(agent) => Ok(Arc::clone(agent)),
        None => Err(failure(agent).into()),
    }
}

fn may_be_a_secret(secret: &SecretString) -> bool {
    (1..=MAX_SECRET_BYTES).contains(&secret.expose_secret().len())
}

fn failure(agent: Option<&Arc<Agent>>) -> Failure {
    if agent.is_some() { Failure::Secret } else { Failure::UnknownAgent }
}

fn any_argon2(registry: &Registry) -> bool {
    registry.agents().any(|agent| agent.auth.as_ref().is_some_and(|auth| auth.client_secret_hash.is_some()))
}

/// A hash of no secret that costs as much as the costliest of the registry.
fn costliest_dummy(registry: &Registry) -> Option<String> {
    let hashes = registry.agents().filter_map(|agent| agent.auth.as_ref()?.client_secret_hash.as_deref());
    let costliest = hashes.filter_map(|hash| argon2id_cost(hash).ok()).max_by_key(Argon2idCost::work)?;
    Some(NOBODY.replace(&Argon2idCost::standard().to_string(), &costliest.to_string()))
}

/// SHA-256 suffices for a random 256-bit secret: there is nothing to guess faster.
fn digest_matches(auth: &AgentAuth, digest: &str) -> bool {
    let Some(expected) = &auth.client_secret_sha256 else { return false };
    digest.as_bytes().ct_eq(expected.to_ascii_lowercase().as_bytes()).into()
}

fn hexadecimal_digest(secret: &SecretString) -> String {
    let digest = digest(&SHA256, secret.expose_secret().as_bytes());
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    digest.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)]).collect()
}

impl SecretCheck {
    /// Whether `secret` is the one of `hash`; without a hash, false after as long a time.
    ///
    /// # Errors
    /// [`AuthenticationError::Overloaded`] when its turn does not come.
    pub(crate) async fn argon2_matches(
        &self,
        hash: Option<String>,
        secret: SecretString,
    ) -> Result<bool, AuthenticationError> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(AuthenticationError::Overloaded) };
        let check = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
            Argon2::default().verify_password(secret.expose_secret().as_bytes(), hash.as_str()).is_ok() && known
        });
        check.await.or(Err(AuthenticationError::Overloaded))
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
    fn the_hash_of_nobody_is_well_formed() {
        let outcome = Argon2::default().verify_password(b"secret", NOBODY);
        assert!(matches!(outcome, Err(argon2::password_hash::Error::PasswordInvalid)), "{outcome:?}");
        assert!(NOBODY.contains(&Argon2idCost::standard().to_string()), "its cost is replaced by that of others");
    }
}
