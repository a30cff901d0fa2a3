//! The making of proofs.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::uri::ProofUri;
use crate::algorithm::Algorithm;
use crate::signing_key::{SignError, SigningKey, SigningKeyError};
use crate::typ::Typ;

/// The members of a public JWK that describe its use, and are not part of the key.
const DESCRIPTIVE: [&str; 3] = ["kid", "alg", "use"];

/// A private key that makes proofs. `Debug` shows the thumbprint only.
///
/// ```
/// let key = sts_jose::dpop::ProofKey::generate()?;
/// assert_eq!(key.jkt().len(), 43);
/// # Ok::<(), sts_jose::SigningKeyError>(())
/// ```
pub struct ProofKey {
    key: SigningKey,
    /// The header of every proof, encoded.
    header: String,
}

/// The claims of one proof (RFC 9449 §4.2).
#[derive(Debug, Clone, Copy)]
pub struct ProofClaims<'a> {
    /// `htm`: the method of the request, in its own case.
    pub method: &'a str,
    /// `htu`: the URL of the request.
    pub uri: &'a ProofUri,
    /// `iat`: the current time. Written in whole seconds.
    pub issued_at: Timestamp,
    /// A value that no other proof of this key has, of at least 96 random bits.
    pub jti: &'a str,
    /// The hash of the access token that the proof is presented with, from [`super::access_token_hash`].
    pub ath: Option<&'a str>,
    /// The newest nonce that the server gave.
    pub nonce: Option<&'a str>,
}

impl ProofKey {
    /// Generates an ES256 key.
    ///
    /// # Errors
    /// [`SigningKeyError::Generate`] if the cryptographic library fails.
    pub fn generate() -> Result<Self, SigningKeyError> {
        SigningKey::generate(Algorithm::Es256).map(Self::from)
    }

    /// Returns the RFC 7638 thumbprint of the key: the `cnf.jkt` of tokens that are bound to it.
    #[must_use]
    pub fn jkt(&self) -> &str {
        self.key.kid()
    }

    /// Makes one proof. Costs one private-key operation, some 15 µs.
    ///
    /// # Errors
    /// [`SignError::Crypto`] if the cryptographic library fails.
    pub fn prove(&self, claims: &ProofClaims<'_>) -> Result<String, SignError> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        put("jti", claims.jti.into());
        put("htm", claims.method.into());
        put("htu", claims.uri.as_str().into());
        put("iat", claims.issued_at.as_second().into());
        if let Some(ath) = claims.ath {
            put("ath", ath.into());
        }
        if let Some(nonce) = claims.nonce {
            put("nonce", nonce.into());
        }
        self.key.sign_under(self.header.clone(), Value::Object(members).to_string().as_bytes())
    }
}

impl From<SigningKey> for ProofKey {
    fn from(key: SigningKey) -> Self {
        let jwk = key.public_members().iter().filter(|(name, _)| !DESCRIPTIVE.contains(&name.as_str()));
        let jwk: Map<String, Value> = jwk.map(|(name, value)| (name.clone(), value.clone())).collect();
        let header = json!({ "typ": Typ::DpopProof.as_str(), "alg": key.algorithm().as_str(), "jwk": jwk });
        let header = crate::signing_key::base64url(header.to_string().as_bytes());
        Self { key, header }
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofKey").field("jkt", &self.jkt()).finish_non_exhaustive()
    }
}
