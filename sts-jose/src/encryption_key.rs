//! A public key that payloads are encrypted to. It is read here because it is part of a key set.
//! The encryption is elsewhere.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::jws::is_sound_key_id;
use crate::verification_key::{JwkError, has_private_member, p256_point};

/// The only key agreement for such a key (RFC 7518 §4.6).
const ALG: &str = "ECDH-ES";

/// A public P-256 key for ECDH-ES (RFC 7518 §4.6, §6.2.1). It was checked when it was read. Cloning
/// is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptionKey(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    kid: String,
    x: String,
    y: String,
}

impl EncryptionKey {
    /// Returns true if a JWK declares that it is for encryption.
    pub(crate) fn is_one(jwk: &Map<String, Value>) -> bool {
        jwk.get("use").and_then(Value::as_str) == Some("enc")
    }

    /// Reads a public JWK. `use` must be `enc`, `kty` must be EC, `crv` must be P-256, and `kid`
    /// must be present. `alg` must be absent or ECDH-ES. `key_ops` must be absent or contain
    /// `deriveKey` or `deriveBits`.
    ///
    /// # Errors
    /// See [`JwkError`]. The error concerns this key only; a key set skips the key.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, JwkError> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if has_private_member(jwk) {
            return Err(JwkError::Private);
        }
        let derives = |operations: &Value| {
            let mut operations = operations.as_array().into_iter().flatten().filter_map(Value::as_str);
            operations.any(|operation| matches!(operation, "deriveKey" | "deriveBits"))
        };
        if !Self::is_one(jwk) || !jwk.get("key_ops").is_none_or(derives) {
            return Err(JwkError::NotForEncryption);
        }
        let kid = text("kid").filter(|kid| is_sound_key_id(kid)).ok_or(JwkError::KeyId)?;
        if text("kty") != Some("EC") || text("crv") != Some("P-256") {
            return Err(JwkError::UnsupportedType);
        }
        if jwk.get("alg").is_some_and(|alg| alg.as_str() != Some(ALG)) {
            return Err(JwkError::Algorithm);
        }
        let [x, y] = p256_point(jwk)?.map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        Ok(Self(Arc::new(Inner { kid: kid.to_owned(), x, y })))
    }

    /// Returns the published `kid` of the key.
    pub fn kid(&self) -> &str {
        &self.0.kid
    }

    /// Returns the key in its published form: `kty`, `crv`, `x`, `y`, `kid`, `use` = `enc`, `alg` =
    /// ECDH-ES.
    pub fn to_jwk(&self) -> Map<String, Value> {
        let Inner { kid, x, y } = self.0.as_ref();
        let members = [("kty", "EC"), ("crv", "P-256"), ("x", x), ("y", y), ("kid", kid), ("use", "enc"), ("alg", ALG)];
        members.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionKey").field("kid", &self.kid()).finish_non_exhaustive()
    }
}
