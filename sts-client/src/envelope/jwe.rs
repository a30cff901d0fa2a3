//! The payload's encryption by josekit: a compact JWE, ECDH-ES on P-256 with A256GCM (RFC 7516, RFC
//! 7518 §4.6). Only this module uses josekit.
//!
//! josekit decodes base64 and JSON leniently, accepts truncated authentication tags and inflates
//! `zip`. Therefore every JWE first passes a strict check of this module. OpenSSL generates the
//! ephemeral key and the initialisation vector.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::JoseError;
use josekit::jwe::alg::ecdh_es::EcdhEsJweDecrypter;
use josekit::jwe::{ECDH_ES, JweHeader, deserialize_compact, serialize_compact};
use josekit::jwk::alg::ec::{EcCurve, EcKeyPair};
use josekit::jwk::{Jwk, KeyPair as _};
use secrecy::SecretString;
use serde_json::{Map, Value};
use sts_jose::{EncryptionKey, JwkError, json, thumbprint};

const ALG: &str = "ECDH-ES";
const ENC: &str = "A256GCM";
const COORDINATE_BYTES: usize = 32;
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// The accepted header members. `zip` and `crit` are not accepted.
const MEMBERS: [&str; 5] = ["alg", "enc", "kid", "apv", "epk"];

/// A private key that decrypts payloads. `Debug` shows only the `kid`.
pub struct DecryptionKey {
    public: EncryptionKey,
    decrypter: EcdhEsJweDecrypter,
    key_pair: EcKeyPair,
}

/// The reason why a decryption key cannot be used. The agent, or the storage of the key, is at
/// fault.
#[derive(Debug, thiserror::Error)]
pub enum DecryptionKeyError {
    /// The key is not a private key on P-256 for ECDH-ES.
    #[error("the private key was rejected")]
    Rejected(#[source] JoseError),
    /// The public half does not meet the rules for keys of other agents.
    #[error("the public key is not usable")]
    Public(#[source] JwkError),
}

/// The key does not decrypt the payload. The error names no cause, because a cause would help an
/// attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload cannot be decrypted")]
pub struct Undecryptable;

/// The payload could not be encrypted: the recipient's key or the cryptography is at fault.
#[derive(Debug, thiserror::Error)]
#[error("the payload cannot be encrypted")]
pub struct EncryptError(#[from] JoseError);

impl DecryptionKey {
    /// Generates a new key.
    ///
    /// # Errors
    /// See [`DecryptionKeyError`].
    pub fn generate() -> Result<Self, DecryptionKeyError> {
        Self::of(ECDH_ES.generate_ec_key_pair(EcCurve::P256).map_err(DecryptionKeyError::Rejected)?)
    }

    /// Reads a private JWK on P-256, with `alg` ECDH-ES or without `alg`.
    ///
    /// # Errors
    /// See [`DecryptionKeyError`].
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, DecryptionKeyError> {
        let jwk = Jwk::from_map(jwk.clone()).map_err(DecryptionKeyError::Rejected)?;
        // This checks the permitted use of the key. The result is dropped, because it keeps the key
        // id of the JWK.
        ECDH_ES.decrypter_from_jwk(&jwk).map_err(DecryptionKeyError::Rejected)?;
        Self::of(EcKeyPair::from_jwk(&jwk).map_err(DecryptionKeyError::Rejected)?)
    }

    fn of(key_pair: EcKeyPair) -> Result<Self, DecryptionKeyError> {
        let mut jwk: Map<String, Value> = key_pair.to_jwk_public_key().into();
        let kid = thumbprint(&jwk).ok_or(DecryptionKeyError::Public(JwkError::UnsupportedType))?;
        jwk.insert("kid".to_owned(), kid.into());
        jwk.insert("use".to_owned(), "enc".into());
        jwk.insert("alg".to_owned(), ALG.into());
        jwk.remove("key_ops");
        let public = EncryptionKey::from_jwk(&jwk).map_err(DecryptionKeyError::Public)?;
        let mut decrypter =
            ECDH_ES.decrypter_from_jwk(&key_pair.to_jwk_key_pair()).map_err(DecryptionKeyError::Rejected)?;
        // The key that a JWE names is checked earlier. Here the decrypter would compare it with the
        // key id that the private key was stored with.
        decrypter.remove_key_id();
        Ok(Self { public, decrypter, key_pair })
    }

    /// Returns the private key as a JWK, in JSON, for [`Self::from_jwk`]. Encrypt it before you
    /// store it.
    #[must_use]
    pub fn to_jwk(&self) -> SecretString {
        Value::Object(self.key_pair.to_jwk_key_pair().into()).to_string().into()
    }

    /// Returns the key id: the key's RFC 7638 SHA-256 thumbprint, base64url.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.public.kid()
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> &EncryptionKey {
        &self.public
    }

    /// Decrypts a JWE in compact serialisation: only ECDH-ES with A256GCM, with any `kid` and
    /// `apv`. [`super::Envelopes::open`] opens envelopes and calls this last.
    ///
    /// # Errors
    /// [`Undecryptable`], without a cause.
    pub fn decrypt(&self, jwe: &str) -> Result<Vec<u8>, Undecryptable> {
        let _passed = Gate::read(jwe)?;
        // The cause names the failed step, which must stay secret.
        let (payload, _header) = deserialize_compact(jwe, &self.decrypter).or(Err(Undecryptable))?;
        Ok(payload)
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptionKey").field("kid", &self.kid()).finish_non_exhaustive()
    }
}

/// Encrypts a payload to `key`, and binds it to `apv` (RFC 7518 §4.6.1.3), from which the content
/// key is also derived.
pub(super) fn encrypt(key: &EncryptionKey, apv: &[u8; 32], payload: &[u8]) -> Result<String, EncryptError> {
    let mut encrypter = ECDH_ES.encrypter_from_jwk(&Jwk::from_map(key.to_jwk())?)?;
    encrypter.set_agreement_partyvinfo(*apv);
    let mut header = JweHeader::new();
    header.set_content_encryption(ENC);
    Ok(serialize_compact(payload, &header, &encrypter)?)
}

/// The header values of a JWE that passed the strict check.
pub(super) struct Gate {
    pub(super) kid: Option<String>,
    /// The decoded `apv`: 32 bytes, or absent.
    pub(super) apv: Option<[u8; 32]>,
}

impl Gate {
    /// Accepts a JWE with five strict segments, no encrypted key, a full tag, and only the accepted
    /// header members.
    pub(super) fn read(jwe: &str) -> Result<Self, Undecryptable> {
        let segments: Vec<&str> = jwe.split('.').collect();
        let [header, "", iv, ciphertext, tag] = segments.as_slice() else { return Err(Undecryptable) };
        decode(ciphertext)?;
        if decode(iv)?.len() != IV_BYTES || decode(tag)?.len() != TAG_BYTES {
            return Err(Undecryptable);
        }
        let header = json::parse_object(&decode(header)?).or(Err(Undecryptable))?;
        let is = |name: &str, value: &str| header.get(name).and_then(Value::as_str) == Some(value);
        let known = header.keys().all(|name| MEMBERS.contains(&name.as_str()));
        if !known || !is("alg", ALG) || !is("enc", ENC) || !header.get("epk").is_some_and(is_point) {
            return Err(Undecryptable);
        }
        let kid = header.get("kid").map(|kid| kid.as_str().map(str::to_owned).ok_or(Undecryptable)).transpose()?;
        let apv = header.get("apv").map(|apv| decode(apv.as_str().ok_or(Undecryptable)?)).transpose()?;
        let apv = apv.map(|apv| <[u8; 32]>::try_from(apv).or(Err(Undecryptable))).transpose()?;
        Ok(Self { kid, apv })
    }
}

/// Returns true if an `epk` has the form of a point of P-256. The cryptography checks that it lies
/// on the curve.
fn is_point(epk: &Value) -> bool {
    let Some(epk) = epk.as_object() else { return false };
    let text = |name: &str| epk.get(name).and_then(Value::as_str);
    let coordinate = |name: &str| text(name).is_some_and(|x| decode(x).is_ok_and(|x| x.len() == COORDINATE_BYTES));
    epk.len() == 4 && text("kty") == Some("EC") && text("crv") == Some("P-256") && coordinate("x") && coordinate("y")
}

fn decode(text: &str) -> Result<Vec<u8>, Undecryptable> {
    // The cause holds the offending byte.
    URL_SAFE_NO_PAD.decode(text).or(Err(Undecryptable))
}
