//! A new client secret.

use secrecy::{ExposeSecret as _, SecretString};
use sts_jose::{Entropy, hex};

use super::client_secret::hexadecimal_digest;

/// A secret that was made just now, and what the registry holds of it.
#[derive(Debug)]
pub struct NewSecret {
    secret: SecretString,
    /// The SHA-256, in hexadecimal.
    pub sha256: String,
}

impl NewSecret {
    /// Makes a secret of 256 random bits, in hexadecimal: no client encodes such a text in its own way.
    #[must_use]
    pub fn make(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes);
        let secret = SecretString::from(hex(&bytes));
        let sha256 = hexadecimal_digest(&secret);
        Self { secret, sha256 }
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}
