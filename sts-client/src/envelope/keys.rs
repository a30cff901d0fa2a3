//! An agent's own keys: a signing key, decryption keys, and the key set that it publishes.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use sts_jose::{Algorithm, SigningKey};

use super::jwe::{DecryptionKey, Gate, Undecryptable};
use super::key_error::AgentKeysError;

/// The keys of one agent, through rotation. [`AgentKeys::announce`] publishes the next pair,
/// [`AgentKeys::activate`] makes it the present pair, and [`AgentKeys::retire`] removes the former
/// pairs. Cloning is cheap and shares the keys.
///
/// Other agents cache a key set for up to five minutes. Announce a pair at least five minutes
/// before you activate it. After that, retire the former pairs no sooner than five minutes plus the
/// longest lifetime of a message.
///
/// ```
/// use sts_client::envelope::{AgentKeys, DecryptionKey};
/// use sts_client::{Algorithm, SigningKey};
///
/// let keys = AgentKeys::generate()?;
/// let published = || keys.jwks()["keys"].as_array().map_or(0, Vec::len);
/// assert_eq!(published(), 2);
/// keys.announce(SigningKey::generate(Algorithm::Es256)?, DecryptionKey::generate()?);
/// assert_eq!(published(), 4);
/// keys.activate(); // five minutes later
/// keys.retire(); // and once the last message of the former pair has expired
/// assert_eq!(published(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AgentKeys(Arc<RwLock<KeyState>>);

pub(super) struct KeyState {
    pub(super) next: Option<Pair>,
    pub(super) present: Pair,
    pub(super) former: Vec<Pair>,
}

/// A signing key and a decryption key.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) signing: Arc<SigningKey>,
    pub(super) decryption: Arc<DecryptionKey>,
}

impl AgentKeys {
    /// Takes the first keys of an agent.
    #[must_use]
    pub fn new(signing: SigningKey, decryption: DecryptionKey) -> Self {
        let present = Pair { signing: Arc::new(signing), decryption: Arc::new(decryption) };
        Self::of(KeyState { next: None, present, former: Vec::new() })
    }

    pub(super) fn of(state: KeyState) -> Self {
        Self(Arc::new(RwLock::new(state)))
    }

    /// Generates keys; ES256 signs. The keys exist only in this process: no other process, and not
    /// this agent after a restart, can decrypt messages and stored answers. Except in tests, use
    /// [`AgentKeys::load_or_create`].
    ///
    /// # Errors
    /// See [`AgentKeysError`].
    pub fn generate() -> Result<Self, AgentKeysError> {
        Ok(Self::new(SigningKey::generate(Algorithm::Es256)?, DecryptionKey::generate()?))
    }

    /// Returns the key set to publish: every public key that other agents may need. Encryption keys
    /// are in order, the newest first.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let state = self.read();
        let pairs: Vec<&Pair> = state.all().collect();
        let signing = pairs.iter().map(|pair| pair.signing.public_jwk());
        let decryption = pairs.iter().map(|pair| Value::Object(pair.decryption.public().to_jwk()));
        json!({ "keys": signing.chain(decryption).collect::<Vec<_>>() })
    }

    /// Publishes the next keys. From now on the agent decrypts with the new key; the present key
    /// still signs. Replaces an announced pair that was not activated.
    pub fn announce(&self, signing: SigningKey, decryption: DecryptionKey) {
        self.write().next = Some(Pair { signing: Arc::new(signing), decryption: Arc::new(decryption) });
    }

    /// Signs with the announced key from now on. Does nothing if no pair was announced.
    pub fn activate(&self) {
        let mut state = self.write();
        if let Some(next) = state.next.take() {
            let former = std::mem::replace(&mut state.present, next);
            state.former.insert(0, former);
        }
    }

    /// Removes all former keys. Other agents reject their signatures after they refresh the key
    /// set. Payloads that are encrypted to them can no longer be decrypted.
    pub fn retire(&self) {
        self.write().former.clear();
    }

    pub(super) fn signing(&self) -> Arc<SigningKey> {
        Arc::clone(&self.read().present.signing)
    }

    /// Returns the key that this agent uses to encrypt to itself.
    pub(super) fn decryption(&self) -> Arc<DecryptionKey> {
        Arc::clone(&self.read().present.decryption)
    }

    /// Decrypts with the key that the JWE names, if this agent has it and the JWE is bound to
    /// `apv`.
    pub(super) fn decrypt(&self, jwe: &str, apv: &[u8; 32]) -> Result<Vec<u8>, Undecryptable> {
        let gate = Gate::read(jwe)?;
        if gate.apv.as_ref() != Some(apv) {
            return Err(Undecryptable);
        }
        let named = |pair: &&Pair| Some(pair.decryption.kid()) == gate.kid.as_deref();
        let key = self.read().all().find(named).map(|pair| Arc::clone(&pair.decryption));
        key.ok_or(Undecryptable)?.decrypt(jwe)
    }

    /// Returns the bytes that hide the payload of an operation in its tag. They are secret without
    /// the agent's signing key, and the same for a retry of the operation. Another signing key
    /// gives other bytes.
    pub(super) fn blinding(&self, idempotency_key: &str) -> [u8; 32] {
        let secret =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"agent-envelope blinding"), &self.signing().to_pkcs8());
        let blinding = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()), idempotency_key.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(blinding.as_ref());
        bytes
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, KeyState> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, KeyState> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyState {
    /// Returns the next pair first, then the present pair, then the former pairs.
    fn all(&self) -> impl Iterator<Item = &Pair> {
        self.next.iter().chain([&self.present]).chain(&self.former)
    }
}

impl fmt::Debug for AgentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentKeys").field("present", &self.read().present).finish_non_exhaustive()
    }
}
