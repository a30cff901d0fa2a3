//! An agent's own keys: one to sign with, some to decrypt with, and the key set that others find them in.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use sts_jose::{Algorithm, SigningKey};

use super::jwe::{DecryptionKey, Gate, Undecryptable};
use super::key_error::AgentKeysError;

/// The keys of one agent, through their life: [`AgentKeys::announce`] publishes the next ones, [`AgentKeys::activate`] makes them the present
/// ones, [`AgentKeys::retire`] lets the former ones go. Cloning is cheap and shares the keys.
///
/// Others keep a key set for up to five minutes: announce at least so long before activating, and retire no sooner after that than five
/// minutes and the longest life of a message.
#[derive(Clone)]
pub struct AgentKeys(Arc<RwLock<State>>);

pub(super) struct State {
    pub(super) next: Option<Pair>,
    pub(super) present: Pair,
    pub(super) former: Vec<Pair>,
}

/// A key to sign with, and one to decrypt with.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) signing: Arc<SigningKey>,
    pub(super) decryption: Arc<DecryptionKey>,
}

impl AgentKeys {
    /// Takes the keys that an agent begins with.
    #[must_use]
    pub fn new(signing: SigningKey, decryption: DecryptionKey) -> Self {
        let present = Pair { signing: Arc::new(signing), decryption: Arc::new(decryption) };
        Self::of(State { next: None, present, former: Vec::new() })
    }

    pub(super) fn of(state: State) -> Self {
        Self(Arc::new(RwLock::new(state)))
    }

    /// Makes new ones; ES256 signs. They end with this process: no other one opens what is encrypted to them, and neither does this one after
    /// a restart, answers that were kept included. For anything but a test, [`AgentKeys::load_or_create`].
    ///
    /// # Errors
    /// See [`AgentKeysError`].
    pub fn generate() -> Result<Self, AgentKeysError> {
        Ok(Self::new(SigningKey::generate(Algorithm::Es256)?, DecryptionKey::generate()?))
    }

    /// The key set to publish: every public key that somebody may need, those to encrypt to newest first.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let state = self.read();
        let pairs: Vec<&Pair> = state.all().collect();
        let signing = pairs.iter().map(|pair| pair.signing.public_jwk());
        let decryption = pairs.iter().map(|pair| Value::Object(pair.decryption.public().to_jwk()));
        json!({ "keys": signing.chain(decryption).collect::<Vec<_>>() })
    }

    /// Publishes the next keys. What comes encrypted to the new one is opened from now on; the present one signs. Announced before and not
    /// activated: replaced.
    pub fn announce(&self, signing: SigningKey, decryption: DecryptionKey) {
        self.write().next = Some(Pair { signing: Arc::new(signing), decryption: Arc::new(decryption) });
    }

    /// Signs with the announced key from now on; nothing happens when none was announced.
    pub fn activate(&self) {
        let mut state = self.write();
        if let Some(next) = state.next.take() {
            let former = std::mem::replace(&mut state.present, next);
            state.former.insert(0, former);
        }
    }

    /// Forgets all former keys: what they signed is no longer believed once others notice, and what is encrypted to them stays shut.
    pub fn retire(&self) {
        self.write().former.clear();
    }

    /// The key that signs.
    pub(super) fn signing(&self) -> Arc<SigningKey> {
        Arc::clone(&self.read().present.signing)
    }

    /// The key that this agent itself encrypts to.
    pub(super) fn decryption(&self) -> Arc<DecryptionKey> {
        Arc::clone(&self.read().present.decryption)
    }

    /// Decrypts with the key that the JWE names, if it is ours and the JWE is bound to `apv`.
    pub(super) fn decrypt(&self, jwe: &str, apv: &[u8; 32]) -> Result<Vec<u8>, Undecryptable> {
        let gate = Gate::read(jwe)?;
        if gate.apv.as_ref() != Some(apv) {
            return Err(Undecryptable);
        }
        let named = |pair: &&Pair| Some(pair.decryption.kid()) == gate.kid.as_deref();
        let key = self.read().all().find(named).map(|pair| Arc::clone(&pair.decryption));
        key.ok_or(Undecryptable)?.decrypt(jwe)
    }

    /// What hides the payload of an operation in its tag: nobody can tell it without the agent's signing key, and it is the same when the
    /// operation is tried again. With another signing key it is another.
    pub(super) fn blinding(&self, idempotency_key: &str) -> [u8; 32] {
        let secret =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"agent-envelope blinding"), &self.signing().to_pkcs8());
        let blinding = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()), idempotency_key.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(blinding.as_ref());
        bytes
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next ones first, then the present ones, then the former ones.
    fn all(&self) -> impl Iterator<Item = &Pair> {
        self.next.iter().chain([&self.present]).chain(&self.former)
    }
}

impl fmt::Debug for AgentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentKeys").field("present", &self.read().present).finish_non_exhaustive()
    }
}
