//! Signs what our own signer would never sign.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sts_jose::{Algorithm, SigningKey, VerificationKey};

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An ES256 key that signs any header over any payload.
pub(crate) struct Forger {
    pub(crate) key: SigningKey,
    pair: EcdsaKeyPair,
}

impl Forger {
    pub(crate) fn new() -> Self {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.to_pkcs8()).unwrap();
        Self { key, pair }
    }

    pub(crate) fn verification_key(&self) -> VerificationKey {
        self.key.verification_key()
    }

    /// The header that our signer would write.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.key.kid() })
    }

    pub(crate) fn token(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        self.sign_input(&format!("{}.{}", base64url(header), base64url(payload)))
    }

    #[expect(clippy::disallowed_types, reason = "aws-lc wants one and ignores it")]
    pub(crate) fn sign_input(&self, signing_input: &str) -> String {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = self.pair.sign(&random, signing_input.as_bytes()).unwrap();
        format!("{signing_input}.{}", base64url(signature))
    }
}

/// A key set with the public halves of `keys`.
pub(crate) fn jwks(keys: &[&SigningKey]) -> Vec<u8> {
    let keys: Vec<Value> = keys.iter().map(|key| key.public_jwk()).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}
