//! Proofs of possession of the clients (RFC 9449): what binds a token to the key of the agent that asks for it.

use std::sync::{Arc, Mutex, PoisonError};

use sts_jose::dpop::{ProofClaims, ProofKey, ProofUri};
use sts_jose::{Clock as _, SystemClock, UnverifiedToken};

/// The key of an agent, and the newest nonce that it was given.
#[derive(Debug, Clone)]
pub struct Prover {
    key: Arc<ProofKey>,
    uri: Arc<ProofUri>,
    nonce: Arc<Mutex<Option<String>>>,
}

/// The proof of a request.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A new one for each time that the request is sent.
    Fresh(Prover),
    /// This one, however often the request is sent.
    Fixed(String),
}

impl Prover {
    /// Makes a key for requests to the token endpoint of an issuer. Keys of one shop share the nonce.
    ///
    /// # Panics
    /// When no key can be made, or the issuer is no URL.
    #[must_use]
    pub fn new(issuer: &str, nonce: &Arc<Mutex<Option<String>>>) -> Self {
        let uri = ProofUri::parse(&format!("{issuer}/oauth2/token")).expect("an issuer that is a URL");
        Self { key: Arc::new(ProofKey::generate().expect("a key")), uri: Arc::new(uri), nonce: Arc::clone(nonce) }
    }

    /// A proof with a name of its own, and the newest nonce.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn prove(&self, jti: &str) -> String {
        let nonce = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let claims = ProofClaims {
            method: "POST",
            uri: &self.uri,
            issued_at: SystemClock.now(),
            jti,
            ath: None,
            nonce: nonce.as_deref(),
        };
        self.key.prove(&claims).expect("a signature")
    }
}

/// Returns true if a token is bound to a key.
#[must_use]
pub fn is_bound(token: &str) -> bool {
    UnverifiedToken::parse(token).is_ok_and(|token| token.claims().get("cnf").is_some())
}
