//! Key pairs that sign whatever they are given: also what no honest issuer would.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sts_jose::{Algorithm, SigningKey};

/// A key pair of ES256, RS256 or `EdDSA`.
pub struct TestKey {
    key: SigningKey,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl TestKey {
    /// A new key; of RS256 the one that the whole run shares, for making one takes long.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Arc<Self> {
        static RSA: LazyLock<Arc<TestKey>> = LazyLock::new(|| Arc::new(TestKey::generate(Algorithm::Rs256)));
        if algorithm == Algorithm::Rs256 { Arc::clone(&RSA) } else { Arc::new(Self::generate(algorithm)) }
    }

    fn generate(algorithm: Algorithm) -> Self {
        let key = SigningKey::generate(algorithm).expect("a key");
        let pkcs8 = key.to_pkcs8();
        let pair = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).map(Pair::Ec),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(&pkcs8).map(Pair::Ed),
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(&pkcs8).map(Pair::Rsa),
            other => panic!("no test key is made for {other}"),
        };
        Self { key, pair: pair.expect("the key was just made") }
    }

    /// Its name.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.key.kid()
    }

    /// The public half.
    #[must_use]
    pub fn jwk(&self) -> Value {
        self.key.public_jwk()
    }

    /// The public half's raw bytes, as an attacker may know them.
    #[must_use]
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// An honest header: `alg` and `kid`.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({ "alg": self.key.algorithm().as_str(), "kid": self.kid() })
    }

    /// A token with an honest header.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    /// A token with any header.
    #[must_use]
    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        self.sign_bytes(header.to_string(), claims.to_string())
    }

    /// A token of any bytes.
    #[must_use]
    pub fn sign_bytes(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        self.sign_input(&format!("{}.{}", base64url(header), base64url(payload)))
    }

    /// A token of any two segments, or whatever stands there.
    #[must_use]
    #[expect(clippy::disallowed_types, reason = "aws-lc wants one and ignores it")]
    pub fn sign_input(&self, input: &str) -> String {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, input.as_bytes()).expect("a signature").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(input.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature).expect("a signature");
                signature
            }
        };
        format!("{input}.{}", base64url(signature))
    }
}

impl std::fmt::Debug for TestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestKey").field("kid", &self.kid()).finish_non_exhaustive()
    }
}

/// Base64url without padding.
#[must_use]
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
