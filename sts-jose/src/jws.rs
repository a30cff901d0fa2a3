//! A JWS in compact serialisation (RFC 7515 §7.1): three segments, a header that passes the gate, a signature.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::{Algorithm, UnknownAlgorithm};
use crate::json::{self, JsonError};
use crate::verification_key::{VerificationKey, VerifyError, is_sound_key_id};

/// No more than this is parsed. Our own tokens stay under 8 KiB; those of outside issuers may be larger.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What we read of a JOSE header. `jku`, `x5u`, `jwk` and `x5c` are not in here: a token never says which key to trust,
/// and nothing is ever fetched because a token says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `alg`.
    pub algorithm: Algorithm,
    /// `typ`, as it stands; compare it with [`typ_fits`].
    pub typ: Option<String>,
    /// `kid`: 1 to [`MAX_KEY_ID_CHARS`] characters without control characters.
    pub kid: Option<String>,
}

/// One of the three parts of a compact JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// The JOSE header.
    Header,
    /// The payload; of a JWT, the claims.
    Payload,
    /// The signature.
    Signature,
}

/// Why bytes are not a token that we look at. The fault of whoever presents it; another try does not help.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Longer than [`MAX_TOKEN_BYTES`], or than the reader's own limit.
    #[error("{bytes} bytes long, of which at most {limit} are read")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Not exactly three segments: JSON serialisation, JWE, or no token at all.
    #[error("not a jws in compact serialisation")]
    NotCompact,
    /// Not strict base64url: padding, spare bits, or a foreign character. The position is not kept: its error would
    /// repeat a byte of the token.
    #[error("the {0:?} is not strict base64url")]
    Base64(Segment),
    /// Not a JSON object that we accept.
    #[error("the {0:?} is not an accepted json object")]
    Json(Segment, #[source] JsonError),
    /// `alg` is missing or not a string.
    #[error("alg is missing or not a string")]
    AlgorithmMissing,
    /// `alg` names nothing that we verify.
    #[error("alg is not accepted")]
    Algorithm(#[from] UnknownAlgorithm),
    /// There is a `crit`, in whatever form: we implement no extension (RFC 7515 §4.1.11).
    #[error("crit is not accepted")]
    Critical,
    /// There is a `b64` (RFC 7797).
    #[error("b64 is not accepted")]
    UnencodedPayload,
    /// `kid` is not a string, empty, too long, or has control characters.
    #[error("kid is malformed")]
    KeyId,
    /// `typ` is not a string.
    #[error("typ is not a string")]
    Typ,
}

/// A compact JWS whose header passed the gate and whose payload is any bytes. Tokens are [`crate::UnverifiedToken`]s;
/// this is the layer below, for what is signed but is no token. `Debug` shows
/// the header only.
pub struct CompactJws<'a> {
    header: Header,
    payload: Vec<u8>,
    signing_input: &'a str,
    signature: Vec<u8>,
}

impl<'a> CompactJws<'a> {
    /// Splits and decodes what has at most [`MAX_TOKEN_BYTES`]; nothing is verified.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse(jws: &'a str) -> Result<Self, ParseError> {
        Self::parse_within(MAX_TOKEN_BYTES, jws)
    }

    /// Like [`CompactJws::parse`], with a limit of its own: for what is signed and is no token.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse_within(max_bytes: usize, jws: &'a str) -> Result<Self, ParseError> {
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
        Ok(Self { header: Header::from_json(&header)?, payload, signing_input, signature })
    }

    /// What is signed: header and payload, encoded.
    pub(crate) fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// The signature, decoded.
    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The header. Not to be believed before the signature is verified.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The decoded payload. Not to be believed before the signature is verified.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Checks the signature with `key`, whose algorithm must be the header's.
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

/// Whether the `typ` of a header is one of `allowed`. No `typ` fits only if `allowed` holds `""`. The comparison ignores
/// ASCII case, and an `application/` that the token may put before it (RFC 7515 §4.1.9).
pub fn typ_fits(typ: Option<&str>, allowed: &[&str]) -> bool {
    const PREFIX: &str = "application/";
    let Some(typ) = typ else { return allowed.contains(&"") };
    let short = match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        Some(_) | None => typ,
    };
    !short.is_empty() && allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(short))
}

fn decode(segment: Segment, text: &str) -> Result<Vec<u8>, ParseError> {
    // The cause holds the offending byte, and errors hold no token text.
    URL_SAFE_NO_PAD.decode(text).or(Err(ParseError::Base64(segment)))
}
