//! DPoP proofs of a test's keys.

use std::sync::Arc;

use serde_json::{Value, json};
use sts_jose::Algorithm;

use super::{Harness, merge, random_name};
use crate::{FormRequest, TestKey};

/// A key of a client, with which it makes proofs.
#[derive(Clone)]
pub struct ProofKey(Arc<TestKey>);

impl ProofKey {
    /// A new ES256 key.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Algorithm::Es256)
    }

    /// A key of another algorithm.
    #[must_use]
    pub fn of(algorithm: Algorithm) -> Self {
        Self(TestKey::new(algorithm))
    }

    /// Its thumbprint.
    #[must_use]
    pub fn jkt(&self) -> &str {
        self.0.kid()
    }

    /// The public half as a proof carries it.
    #[must_use]
    pub fn jwk(&self) -> Value {
        merge(self.0.jwk(), &json!({ "kid": null, "alg": null, "use": null }))
    }

    /// A proof whose header and claims are changed: each member is set, and one that is null left out.
    #[must_use]
    pub fn prove(&self, header: &Value, claims: Value, changes: &Value) -> String {
        let honest = json!({ "typ": "dpop+jwt", "alg": self.0.header()["alg"], "jwk": self.jwk() });
        self.0.sign_with(&merge(honest, header), &merge(claims, changes))
    }
}

impl Default for ProofKey {
    fn default() -> Self {
        Self::new()
    }
}

impl Harness {
    /// The claims of a proof for the token endpoint.
    #[must_use]
    pub fn proof_claims(&self) -> Value {
        let uri = format!("{}/oauth2/token", self.issuer());
        json!({ "jti": random_name(), "htm": "POST", "htu": uri, "iat": self.now() })
    }

    /// A proof for the token endpoint.
    #[must_use]
    pub fn proof(&self, key: &ProofKey) -> String {
        self.proof_with(key, &json!({}))
    }

    /// A proof with other claims.
    #[must_use]
    pub fn proof_with(&self, key: &ProofKey, changes: &Value) -> String {
        key.prove(&json!({}), self.proof_claims(), changes)
    }
}

impl FormRequest {
    /// With a proof of this key for the token endpoint of `harness`.
    #[must_use]
    pub fn proving(self, harness: &Harness, key: &ProofKey) -> Self {
        let proof = harness.proof(key);
        self.header("dpop", proof)
    }
}
