//! A JWS in compact serialisation (RFC 7515 §7.1): three segments, an accepted header, and a
//! signature.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::{Algorithm, UnknownAlgorithm};
use crate::json::{self, JsonError};
use crate::verification_key::{VerificationKey, VerifyError, is_sound_key_id};

/// The maximum length of a token, in bytes. Our own tokens stay below 8 KiB, but those of outside
/// issuers may be larger.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The members that we read from a JOSE header. `jku`, `x5u`, `jwk` and `x5c` are not among them. A
/// token never chooses the key to trust, and never causes a fetch of its choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `alg`.
    pub algorithm: Algorithm,
    /// `typ`, unmodified. [`crate::Slot::accepts`] compares it.
    pub typ: Option<String>,
    /// `kid`: 1 to [`crate::MAX_KEY_ID_CHARS`] characters without control characters.
    pub kid: Option<String>,
}

/// One of the three parts of a compact JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// The JOSE header.
    Header,
    /// The payload. In a JWT, it holds the claims.
    Payload,
    /// The signature.
    Signature,
}

/// The reason bytes are not an accepted token. The presenter causes this error, and a retry does
/// not help.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The token is longer than [`MAX_TOKEN_BYTES`], or than the reader's own limit.
    #[error("{bytes} bytes long, of which at most {limit} are read")]
    TooLong {
        /// The length of the token, in bytes.
        bytes: usize,
        /// The maximum length, in bytes.
        limit: usize,
    },
    /// The text does not have exactly three segments. It is JSON serialisation, JWE, or not a
    /// token.
    #[error("not a jws in compact serialisation")]
    NotCompact,
    /// The segment is not strict base64url: it has padding, spare bits, or a foreign character. The
    /// position is dropped, because its error would repeat a byte of the token.
    #[error("the {0:?} is not strict base64url")]
    Base64(Segment),
    /// The segment is not an accepted JSON object.
    #[error("the {0:?} is not an accepted json object")]
    Json(Segment, #[source] JsonError),
    /// `alg` is missing or not a string.
    #[error("alg is missing or not a string")]
    AlgorithmMissing,
    /// `alg` does not name an algorithm that we verify.
    #[error("alg is not accepted")]
    Algorithm(#[from] UnknownAlgorithm),
    /// `crit` is present. We implement no extension, so every form of it is refused (RFC 7515
    /// §4.1.11).
    #[error("crit is not accepted")]
    Critical,
    /// `b64` is present (RFC 7797).
    #[error("b64 is not accepted")]
    UnencodedPayload,
    /// `kid` is not a string, empty, too long, or has control characters.
    #[error("kid is malformed")]
    KeyId,
    /// `typ` is not a string.
    #[error("typ is not a string")]
    Typ,
}

/// A compact JWS with an accepted header and any bytes as payload. Tokens are
/// [`crate::UnverifiedToken`]s. This is the layer below, for signed data that is not a token.
/// `Debug` shows the header only.
pub struct CompactJws<'a> {
    header: Header,
    payload: Vec<u8>,
    signing_input: &'a str,
    signature: Vec<u8>,
}

impl<'a> CompactJws<'a> {
    /// Splits and decodes a text of at most [`MAX_TOKEN_BYTES`]. Verifies nothing.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse(jws: &'a str) -> Result<Self, ParseError> {
        Self::parse_within(MAX_TOKEN_BYTES, jws)
    }

    /// Like [`CompactJws::parse`], with another length limit: for signed data that is not a token.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse_within(max_bytes: usize, jws: &'a str) -> Result<Self, ParseError> {
        Self::parse_with_header(max_bytes, jws).map(|(jws, _)| jws)
    }

    /// Like [`CompactJws::parse_within`], and returns all members of the header: for signed data that carries its key
    /// (RFC 9449 §4.2), which is never a token.
    pub(crate) fn parse_with_header(max_bytes: usize, jws: &'a str) -> Result<(Self, Map<String, Value>), ParseError> {
        if jws.len() > max_bytes {
            return Err(ParseError::TooLong { bytes: jws.len(), limit: max_bytes });
        }
        let (signing_input, signature) = jws.rsplit_once('.').ok_or(ParseError::NotCompact)?;
        let (header, payload) = signing_input.split_once('.').ok_or(ParseError::NotCompact)?;
        if payload.contains('.') {
            return Err(ParseError::NotCompact);
        }
        let header_bytes = decode(Segment::Header, header)?;
        let payload = decode(Segment::Payload, payload)?;
        let signature = decode(Segment::Signature, signature)?;
        let header = json::parse_object(&header_bytes).map_err(|source| ParseError::Json(Segment::Header, source))?;
        let jws = Self { header: Header::from_json(&header)?, payload, signing_input, signature };
        Ok((jws, header))
    }

    /// Returns the signed text: the encoded header and payload.
    pub(crate) fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// Returns the decoded signature.
    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Returns the header. Do not trust it before the signature is verified.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the decoded payload. Do not trust it before the signature is verified.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Checks the signature with `key`. The algorithm of the header must be one of the key's.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn verify_signature(&self, key: &VerificationKey) -> Result<(), VerifyError> {
        key.verify(self.header.algorithm, self.signing_input.as_bytes(), &self.signature)
    }

    pub(crate) fn into_header(self) -> Header {
        self.header
    }
}

impl fmt::Debug for CompactJws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompactJws").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Header {
    fn from_json(header: &Map<String, Value>) -> Result<Self, ParseError> {
        if header.contains_key("crit") {
            return Err(ParseError::Critical);
        }
        if header.contains_key("b64") {
            return Err(ParseError::UnencodedPayload);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(ParseError::AlgorithmMissing)?;
        let algorithm = Algorithm::from_str(algorithm)?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if is_sound_key_id(kid) => Some(kid.clone()),
            Some(_) => return Err(ParseError::KeyId),
        };
        let typ = match header.get("typ") {
            None => None,
            Some(Value::String(typ)) => Some(typ.clone()),
            Some(_) => return Err(ParseError::Typ),
        };
        Ok(Self { algorithm, typ, kid })
    }
}

fn decode(segment: Segment, text: &str) -> Result<Vec<u8>, ParseError> {
    // The cause is dropped, because it holds the offending byte, and errors hold no token text.
    URL_SAFE_NO_PAD.decode(text).or(Err(ParseError::Base64(segment)))
}
