//! A new client secret.

use secrecy::{ExposeSecret as _, SecretString};
use sts_jose::{Entropy, hex};

use super::client_secret::hexadecimal_digest;

/// A newly made secret, and its hash for the registry.
#[derive(Debug)]
pub struct NewSecret {
    secret: SecretString,
    /// The SHA-256 of the secret, in hexadecimal.
    pub sha256: String,
}

impl NewSecret {
    /// Makes a secret of 256 random bits, in hexadecimal. All clients encode such a text in the
    /// same way.
    #[must_use]
    pub fn make(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes);
        let secret = SecretString::from(hex(&bytes));
        let sha256 = hexadecimal_digest(&secret);
        Self { secret, sha256 }
    }

    /// Returns the secret in plain text.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}
