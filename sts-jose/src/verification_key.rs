//! A public key: from a JWK to a key that verifies signatures.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::json::JsonError;
use crate::rsa_modulus;

/// The maximum length of a `kid`, in characters.
pub const MAX_KEY_ID_CHARS: usize = 256;

/// The members that only private or symmetric keys have. A key that was published with one of them
/// is no longer secret, so it is never used.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "k", "oth"];

/// A public key with its allowed algorithms. It was fully checked when it was read. Cloning is
/// cheap.
#[derive(Clone)]
pub struct VerificationKey {
    inner: Arc<Inner>,
}

struct Inner {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    /// The key, parsed once for each of `algorithms`, in the same order.
    parsed: Vec<ParsedPublicKey>,
    /// The key as bytes: a point, or modulus and exponent.
    material: Vec<u8>,
}

/// The reason a JWK is not used. Causes are dropped, because those of aws-lc are texts such as
/// "`InconsistentComponents`".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum JwkError {
    /// The entry is not a JSON object.
    #[error("not an object")]
    NotAnObject,
    /// Two members have one name, or it breaks another rule of [`crate::json`].
    #[error("two members have one name, or a value cannot be read")]
    Ambiguous,
    /// It has a member of a private or symmetric key.
    #[error("it contains private members")]
    Private,
    /// `use` is present, and is not empty, `sig` or `jwt-svid`.
    #[error("use is not sig")]
    NotForSignatures,
    /// `use` is not `enc`, or `key_ops` is present and allows no key agreement.
    #[error("use is not enc, or key_ops allows no key agreement")]
    NotForEncryption,
    /// `key_ops` is present, and is not an array that contains `verify`.
    #[error("key_ops has no verify")]
    NotForVerification,
    /// `kid` is present, and is not a string of 1 to 256 characters without control characters.
    #[error("kid is malformed")]
    KeyId,
    /// `kty` or `crv` is absent or unsupported. Supported are RSA, EC with P-256, P-384 or P-521,
    /// and OKP with Ed25519.
    #[error("kty or crv is not supported")]
    UnsupportedType,
    /// `alg` is present, and does not name an algorithm for this key.
    #[error("alg is unknown or not of this type of key")]
    Algorithm,
    /// A key parameter is missing, not base64url, or of the wrong length.
    #[error("a key parameter is missing or malformed")]
    Parameter,
    /// The point is not on the curve, or the RSA modulus or exponent is weak, oversized or
    /// malformed.
    #[error("the key is weak or invalid")]
    Unsound,
}

/// The reason a signature is refused. The presenter of the token causes this error.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The key is not for the algorithm that the header names.
    #[error("the key is not for this algorithm")]
    WrongAlgorithm,
    /// The signature over these bytes does not come from this key.
    #[error("the signature does not verify")]
    BadSignature,
}

impl JwkError {
    /// The reason of an entry that is no object as [`crate::json`] reads them.
    pub(crate) fn of_json(error: &JsonError) -> Self {
        match error {
            JsonError::NotAnObject => Self::NotAnObject,
            JsonError::NotUtf8(_) | JsonError::Syntax(_) | JsonError::DuplicateMember | JsonError::TooDeep => {
                Self::Ambiguous
            }
        }
    }

    /// True if the key is meant for a use that it cannot be put to here; false if it is a key for something else.
    pub fn is_loss(self) -> bool {
        match self {
            Self::NotForSignatures | Self::NotForVerification => false,
            Self::NotAnObject
            | Self::Ambiguous
            | Self::Private
            | Self::NotForEncryption
            | Self::KeyId
            | Self::UnsupportedType
            | Self::Algorithm
            | Self::Parameter
            | Self::Unsound => true,
        }
    }
}

impl VerificationKey {
    /// Reads a public JWK (RFC 7517, RFC 7518 §6, RFC 8037 §2). `x5c`, `x5u` and `x5t` are ignored.
    /// Padding of base64url is dropped. Missing leading zeros of coordinates are added.
    ///
    /// # Errors
    /// See [`JwkError`]. The error concerns this key only; a key set skips the key.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, JwkError> {
        if has_private_member(jwk) {
            return Err(JwkError::Private);
        }
        check_purpose(jwk)?;
        let kid = match jwk.get("kid") {
            None | Some(Value::Null) => None,
            Some(Value::String(kid)) if kid.is_empty() => None,
            Some(Value::String(kid)) if is_sound_key_id(kid) => Some(kid.clone()),
            Some(_) => return Err(JwkError::KeyId),
        };
        let kty = KeyType::from_jwk(jwk)?;
        let algorithms = narrow(kty.algorithms(), jwk.get("alg"))?;
        let (material, parsed) = kty.parse(jwk, &algorithms)?;
        Ok(Self { inner: Arc::new(Inner { kid, algorithms, parsed, material }) })
    }

    /// Returns the published `kid` of the key.
    pub fn kid(&self) -> Option<&str> {
        self.inner.kid.as_deref()
    }

    /// Returns the algorithms that the key may be used with. Never empty. Only an RSA key without
    /// `alg` has several.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.inner.algorithms
    }

    /// Returns true if the key may be used with `algorithm`.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms().contains(&algorithm)
    }

    /// Returns true if `other` is the same key, read at the same time.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Returns true if `other` is the same key, with no additional algorithms.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.inner.material == other.inner.material && other.algorithms().iter().all(|algorithm| self.fits(*algorithm))
    }

    /// Checks a signature. Costs a public-key operation of tens of microseconds.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        let mut keys = self.inner.algorithms.iter().zip(&self.inner.parsed);
        let (_, key) = keys.find(|(known, _)| **known == algorithm).ok_or(VerifyError::WrongAlgorithm)?;
        // aws-lc returns no reason.
        key.verify_sig(message, signature).or(Err(VerifyError::BadSignature))
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid())
            .field("algorithms", &self.algorithms())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
enum KeyType {
    P256,
    P384,
    P521,
    Ed25519,
    Rsa,
}

/// A key as bytes, and parsed for each algorithm.
type Parsed = (Vec<u8>, Vec<ParsedPublicKey>);

impl KeyType {
    fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, JwkError> {
        let crv = jwk.get("crv").and_then(Value::as_str);
        match (jwk.get("kty").and_then(Value::as_str), crv) {
            (Some("EC"), Some("P-256")) => Ok(Self::P256),
            (Some("EC"), Some("P-384")) => Ok(Self::P384),
            (Some("EC"), Some("P-521")) => Ok(Self::P521),
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519),
            (Some("RSA"), _) => Ok(Self::Rsa),
            (Some(_) | None, _) => Err(JwkError::UnsupportedType),
        }
    }

    fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::P256 => &[Algorithm::Es256],
            Self::P384 => &[Algorithm::Es384],
            Self::P521 => &[Algorithm::Es512],
            Self::Ed25519 => &[Algorithm::EdDsa],
            Self::Rsa => &[
                Algorithm::Rs256,
                Algorithm::Rs384,
                Algorithm::Rs512,
                Algorithm::Ps256,
                Algorithm::Ps384,
                Algorithm::Ps512,
            ],
        }
    }

    fn parse(self, jwk: &Map<String, Value>, algorithms: &[Algorithm]) -> Result<Parsed, JwkError> {
        match self {
            Self::P256 => ec_key(jwk, 32, &signature::ECDSA_P256_SHA256_FIXED),
            Self::P384 => ec_key(jwk, 48, &signature::ECDSA_P384_SHA384_FIXED),
            Self::P521 => ec_key(jwk, 66, &signature::ECDSA_P521_SHA512_FIXED),
            Self::Ed25519 => {
                let x = Some(parameter(jwk, "x")?).filter(|x| x.len() == 32).ok_or(JwkError::Parameter)?;
                let key = ParsedPublicKey::new(&signature::ED25519, &x).or(Err(JwkError::Unsound))?;
                Ok((x, vec![key]))
            }
            Self::Rsa => rsa_key(jwk, algorithms),
        }
    }
}

/// Returns true if a JWK contains more than the public half of a key.
pub(crate) fn has_private_member(jwk: &Map<String, Value>) -> bool {
    PRIVATE_MEMBERS.iter().any(|member| jwk.contains_key(*member))
}

/// Returns the coordinates `x` and `y` of a point on P-256.
pub(crate) fn p256_point(jwk: &Map<String, Value>) -> Result<[Vec<u8>; 2], JwkError> {
    ec_key(jwk, 32, &signature::ECDSA_P256_SHA256_FIXED)?;
    Ok([coordinate(jwk, "x", 32)?, coordinate(jwk, "y", 32)?])
}

fn ec_key(
    jwk: &Map<String, Value>,
    coordinate_bytes: usize,
    algorithm: &'static signature::EcdsaVerificationAlgorithm,
) -> Result<Parsed, JwkError> {
    // The format is an uncompressed point, SEC 1 §2.3.3. Parsing it checks that it lies on the
    // curve.
    let mut point = vec![4];
    point.extend(coordinate(jwk, "x", coordinate_bytes)?);
    point.extend(coordinate(jwk, "y", coordinate_bytes)?);
    let key = ParsedPublicKey::new(algorithm, &point).or(Err(JwkError::Unsound))?;
    Ok((point, vec![key]))
}

fn rsa_key(jwk: &Map<String, Value>, algorithms: &[Algorithm]) -> Result<Parsed, JwkError> {
    let (n, e) = (parameter(jwk, "n")?, parameter(jwk, "e")?);
    let (n, e) = (rsa_modulus::without_leading_zeros(&n), rsa_modulus::without_leading_zeros(&e));
    if !rsa_modulus::is_sound(n, e) {
        return Err(JwkError::Unsound);
    }
    let material = [n, e].concat();
    let components = RsaPublicKeyComponents { n, e };
    let parse = |algorithm: &Algorithm| {
        let parameters = rsa_parameters(*algorithm).ok_or(JwkError::UnsupportedType)?;
        components.to_parsed_public_key(parameters).or(Err(JwkError::Unsound))
    };
    let parsed = algorithms.iter().map(parse).collect::<Result<_, _>>()?;
    Ok((material, parsed))
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 | Algorithm::EdDsa => None,
    }
}

/// Checks that `use` and `key_ops` (RFC 7517 §4.2, §4.3), if present, allow verifying signatures.
/// `jwt-svid` is the `use` of JWT keys in a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4.2.2).
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), JwkError> {
    match jwk.get("use") {
        None | Some(Value::Null) => {}
        Some(Value::String(purpose)) if matches!(purpose.as_str(), "" | "sig" | "jwt-svid") => {}
        Some(_) => return Err(JwkError::NotForSignatures),
    }
    let Some(operations) = jwk.get("key_ops").filter(|operations| !operations.is_null()) else { return Ok(()) };
    let verifies =
        operations.as_array().is_some_and(|operations| operations.iter().any(|op| op.as_str() == Some("verify")));
    if verifies { Ok(()) } else { Err(JwkError::NotForVerification) }
}

fn narrow(possible: &[Algorithm], alg: Option<&Value>) -> Result<Vec<Algorithm>, JwkError> {
    let Some(alg) = alg.filter(|alg| !alg.is_null()) else { return Ok(possible.to_vec()) };
    let named: Algorithm = alg.as_str().and_then(|name| name.parse().ok()).ok_or(JwkError::Algorithm)?;
    if possible.contains(&named) { Ok(vec![named]) } else { Err(JwkError::Algorithm) }
}

/// Returns a coordinate of a point: a big-endian number of at most this many bytes. Adds the
/// leading zeros that some libraries leave out.
fn coordinate(jwk: &Map<String, Value>, name: &str, bytes: usize) -> Result<Vec<u8>, JwkError> {
    let value = parameter(jwk, name)?;
    let number = rsa_modulus::without_leading_zeros(&value);
    let zeros = bytes.checked_sub(number.len()).filter(|_| !value.is_empty()).ok_or(JwkError::Parameter)?;
    Ok([vec![0; zeros], number.to_vec()].concat())
}

fn parameter(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, JwkError> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(JwkError::Parameter)?;
    // The cause is dropped: its position and byte do not help, because the entry is skipped.
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).or(Err(JwkError::Parameter))
}

/// Returns true for a `kid` that is accepted in a header or a key set.
pub(crate) fn is_sound_key_id(kid: &str) -> bool {
    let mut chars = kid.chars();
    !kid.is_empty() && chars.by_ref().take(MAX_KEY_ID_CHARS).all(|c| !c.is_control()) && chars.next().is_none()
}
