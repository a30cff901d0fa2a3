//! An issuer with its keys in memory.

use std::sync::Arc;

use serde_json::{Value, json};
use sts_jose::{Algorithm, KeySet, SigningKey};

use crate::inbound::Issuer;

/// An issuer of tokens with a single ES256 key. It has no server: a verifier gets its keys from
/// [`Self::entry`], and an agent's file gets them from [`Self::jwks`].
///
/// ```
/// use sts_client::Verifier;
/// use sts_client::serde_json::json;
/// use sts_client::test_util::TestIssuer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let idp = TestIssuer::new("https://login.example.com");
/// let verifier = Verifier::builder(["web-app"]).issuer(idp.entry().tenant_claim("org_id")).build().unwrap();
/// let now = sts_client::jiff::Timestamp::now().as_second();
/// let token = idp.sign(&json!({
///     "iss": idp.issuer(), "sub": "alice", "aud": "web-app", "org_id": "acme", "iat": now, "exp": now + 300,
/// }));
/// let caller = verifier.verify_token(&token, None).await.unwrap();
/// assert_eq!(caller.tenant().unwrap().as_str(), "acme");
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TestIssuer {
    issuer: String,
    key: Arc<SigningKey>,
}

impl TestIssuer {
    /// Returns an issuer with this identifier and a new key.
    ///
    /// ```
    /// # use sts_client::test_util::TestIssuer;
    /// let idp = TestIssuer::new("https://login.example.com");
    /// ```
    ///
    /// # Panics
    /// If the machine has no randomness for a key.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that has no key cannot go on")]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), key: Arc::new(SigningKey::generate(Algorithm::Es256).expect("a key")) }
    }

    /// Returns the issuer identifier.
    ///
    /// ```
    /// # use sts_client::test_util::TestIssuer;
    /// assert_eq!(TestIssuer::new("https://login.example.com").issuer(), "https://login.example.com");
    /// ```
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the key set, for a `jwks_file` of an agent's file.
    ///
    /// ```
    /// # use sts_client::test_util::TestIssuer;
    /// let jwks = TestIssuer::new("https://login.example.com").jwks();
    /// assert_eq!(jwks["keys"][0]["alg"], "ES256");
    /// ```
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.key.public_jwk()] })
    }

    /// Returns a verifier entry that accepts tokens of this issuer.
    ///
    /// ```
    /// # use sts_client::{Verifier, test_util::TestIssuer};
    /// # fn build() -> Result<Verifier, sts_client::BuildError> {
    /// let idp = TestIssuer::new("https://login.example.com");
    /// Verifier::builder(["web-app"]).issuer(idp.entry().tenant_claim("org_id")).build()
    /// # }
    /// ```
    #[must_use]
    pub fn entry(&self) -> Issuer {
        Issuer::new(&self.issuer).jwks(self.keys())
    }

    /// Returns a verifier entry that accepts this issuer as an STS, whose tokens name actors.
    ///
    /// ```
    /// # use sts_client::{Verifier, test_util::TestIssuer};
    /// # fn build() -> Result<Verifier, sts_client::BuildError> {
    /// let sts = TestIssuer::new("https://sts.example.com");
    /// Verifier::builder(["inventory-agent"]).issuer(sts.sts_entry()).build()
    /// # }
    /// ```
    #[must_use]
    pub fn sts_entry(&self) -> Issuer {
        Issuer::sts(&self.issuer).jwks(self.keys())
    }

    /// Signs a token with these claims and the `typ` `JWT`. Adds no claims: the test must set
    /// `iss`, `aud` and `exp`.
    ///
    /// ```
    /// # use sts_client::{serde_json::json, test_util::TestIssuer};
    /// let idp = TestIssuer::new("https://login.example.com");
    /// let token = idp.sign(&json!({ "iss": idp.issuer(), "sub": "alice" }));
    /// assert_eq!(token.split('.').count(), 3);
    /// ```
    ///
    /// # Panics
    /// If signing fails.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as("JWT", claims)
    }

    /// Signs a token with these claims and the `typ` `at+jwt`, like an STS (RFC 9068 §2.1).
    ///
    /// ```
    /// # use sts_client::{serde_json::json, test_util::TestIssuer};
    /// let sts = TestIssuer::new("https://sts.example.com");
    /// let token = sts.sign_access_token(&json!({ "iss": sts.issuer(), "sub": "alice" }));
    /// assert_eq!(token.split('.').count(), 3);
    /// ```
    ///
    /// # Panics
    /// If signing fails.
    #[must_use]
    pub fn sign_access_token(&self, claims: &Value) -> String {
        self.sign_as("at+jwt", claims)
    }

    #[expect(clippy::expect_used, reason = "a test that has no token cannot go on")]
    fn sign_as(&self, typ: &str, claims: &Value) -> String {
        self.key.sign(Some(typ), claims.to_string().as_bytes()).expect("a signature")
    }

    #[expect(clippy::expect_used, reason = "the key set was just made")]
    pub(super) fn keys(&self) -> KeySet {
        KeySet::parse(self.jwks().to_string().as_bytes()).expect("a key set")
    }
}
