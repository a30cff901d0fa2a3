//! The payload's encryption: a compact JWE, ECDH-ES on P-256 with A256GCM (RFC 7516, RFC 7518 §4.6), by josekit. It is named nowhere else.
//!
//! josekit decodes base64 and JSON leniently, takes authentication tags that were cut short and inflates `zip`, so that everything passes a
//! gate of our own first. Its randomness, for the ephemeral key and the initialisation vector, is OpenSSL's own.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::JoseError;
use josekit::jwe::alg::ecdh_es::EcdhEsJweDecrypter;
use josekit::jwe::{ECDH_ES, JweHeader, deserialize_compact, serialize_compact};
use josekit::jwk::alg::ec::{EcCurve, EcKeyPair};
use josekit::jwk::{Jwk, KeyPair as _};
use secrecy::SecretString;
use serde_json::{Map, Value};
use sts_jose::{EncryptionKey, JwkError, json};

const ALG: &str = "ECDH-ES";
const ENC: &str = "A256GCM";
const COORDINATE_BYTES: usize = 32;
const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// The header members that we take. `zip` and `crit` are not among them.
const MEMBERS: [&str; 5] = ["alg", "enc", "kid", "apv", "epk"];

/// A private key that opens payloads. `Debug` shows the `kid` only.
pub struct DecryptionKey {
    public: EncryptionKey,
    decrypter: EcdhEsJweDecrypter,
    key_pair: EcKeyPair,
}

/// Why there is no decryption key. Our own fault or that of whoever stored it.
#[derive(Debug, thiserror::Error)]
pub enum DecryptionKeyError {
    /// Not a private key on P-256 for ECDH-ES.
    #[error("the private key was rejected")]
    Rejected(#[source] JoseError),
    /// The public half is not one that we would accept from others.
    #[error("the public key is not usable")]
    Public(#[source] JwkError),
}

/// The payload is not one that the key opens. What exactly was wrong is told to nobody: it would help whoever tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload cannot be decrypted")]
pub struct Undecryptable;

/// A payload could not be encrypted: a fault of the recipient's key or of the cryptography.
#[derive(Debug, thiserror::Error)]
#[error("the payload cannot be encrypted")]
pub struct EncryptError(#[from] JoseError);

impl DecryptionKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// See [`DecryptionKeyError`].
    pub fn generate() -> Result<Self, DecryptionKeyError> {
        Self::of(ECDH_ES.generate_ec_key_pair(EcCurve::P256).map_err(DecryptionKeyError::Rejected)?)
    }

    /// Reads a private JWK on P-256, of `alg` ECDH-ES or none.
    ///
    /// # Errors
    /// See [`DecryptionKeyError`].
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, DecryptionKeyError> {
        let jwk = Jwk::from_map(jwk.clone()).map_err(DecryptionKeyError::Rejected)?;
        // What the key is for is checked there, whose result is of no use: it names the key as the JWK does.
        ECDH_ES.decrypter_from_jwk(&jwk).map_err(DecryptionKeyError::Rejected)?;
        Self::of(EcKeyPair::from_jwk(&jwk).map_err(DecryptionKeyError::Rejected)?)
    }

    fn of(key_pair: EcKeyPair) -> Result<Self, DecryptionKeyError> {
        let mut jwk: Map<String, Value> = key_pair.to_jwk_public_key().into();
        let kid = thumbprint(&jwk);
        jwk.insert("kid".to_owned(), kid.into());
        jwk.insert("use".to_owned(), "enc".into());
        jwk.insert("alg".to_owned(), ALG.into());
        jwk.remove("key_ops");
        let public = EncryptionKey::from_jwk(&jwk).map_err(DecryptionKeyError::Public)?;
        let mut decrypter =
            ECDH_ES.decrypter_from_jwk(&key_pair.to_jwk_key_pair()).map_err(DecryptionKeyError::Rejected)?;
        // Which key a JWE names is looked at before; here it would have to be the name that the private key was stored under.
        decrypter.remove_key_id();
        Ok(Self { public, decrypter, key_pair })
    }

    /// The private key as a JWK, in JSON: what [`Self::from_jwk`] reads. Wrap it before it is stored anywhere.
    #[must_use]
    pub fn to_jwk(&self) -> SecretString {
        Value::Object(self.key_pair.to_jwk_key_pair().into()).to_string().into()
    }

    /// The name of the key: its RFC 7638 SHA-256 thumbprint, base64url.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.public.kid()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &EncryptionKey {
        &self.public
    }

    /// Decrypts a JWE in compact serialisation: ECDH-ES with A256GCM, nothing else, whatever its `kid` and `apv`. Envelopes are opened with
    /// [`super::Envelopes::open`], which calls this last.
    ///
    /// # Errors
    /// [`Undecryptable`].
    pub fn decrypt(&self, jwe: &str) -> Result<Vec<u8>, Undecryptable> {
        let _passed = Gate::read(jwe)?;
        // The cause says at which step it failed, which nobody may learn.
        let (payload, _header) = deserialize_compact(jwe, &self.decrypter).or(Err(Undecryptable))?;
        Ok(payload)
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptionKey").field("kid", &self.kid()).finish_non_exhaustive()
    }
}

/// Encrypts a payload to `key`, and binds it to `apv` (RFC 7518 §4.6.1.3): the key of the content is derived from it too.
pub(super) fn encrypt(key: &EncryptionKey, apv: &[u8; 32], payload: &[u8]) -> Result<String, EncryptError> {
    let mut encrypter = ECDH_ES.encrypter_from_jwk(&Jwk::from_map(key.to_jwk())?)?;
    encrypter.set_agreement_partyvinfo(*apv);
    let mut header = JweHeader::new();
    header.set_content_encryption(ENC);
    Ok(serialize_compact(payload, &header, &encrypter)?)
}

/// What a JWE that passed the gate says of itself.
pub(super) struct Gate {
    pub(super) kid: Option<String>,
    /// Of 32 bytes, or none.
    pub(super) apv: Option<[u8; 32]>,
}

impl Gate {
    /// Lets a JWE through that has five strict segments, no encrypted key, a full tag, and a header of exactly what we take.
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

/// Whether an `epk` has the form of a point of P-256; whether it lies on the curve is for the cryptography to say.
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

/// RFC 7638, of an EC key.
fn thumbprint(jwk: &Map<String, Value>) -> String {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
    let canonical =
        format!(r#"{{"crv":"{}","kty":"{}","x":"{}","y":"{}"}}"#, text("crv"), text("kty"), text("x"), text("y"));
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}
