//! The reasons a proof is refused.

use crate::algorithm::Algorithm;
use crate::claims::ClaimError;
use crate::json::JsonError;
use crate::jws::ParseError;
use crate::verification_key::{JwkError, VerifyError};

/// The first check of RFC 9449 §4.3 that a proof fails. The caller caused it. A new proof helps, except for
/// [`Self::AlgorithmNotAccepted`] and [`Self::OtherKey`].
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The text is not one compact JWS with an accepted header (checks 2 and 5: `none` and symmetric algorithms).
    #[error("the proof is not an accepted jws")]
    Jws(#[from] ParseError),
    /// The payload is not an accepted JSON object (check 2).
    #[error("the claims of the proof are not an accepted json object")]
    Json(#[source] JsonError),
    /// A claim has the wrong type (check 2).
    #[error("a claim of the proof is malformed")]
    Claim(#[from] ClaimError),
    /// A required claim is missing or empty, or `jti` is too long or has control characters (check 3).
    #[error("the proof has no usable {0:?}")]
    ClaimMissing(&'static str),
    /// `typ` is not `dpop+jwt` (check 4).
    #[error("typ is not dpop+jwt")]
    Typ,
    /// The algorithm is not among those that the caller may use (check 5).
    #[error("the algorithm {0} is not accepted for proofs")]
    AlgorithmNotAccepted(Algorithm),
    /// `jwk` is missing, or not an object (check 3).
    #[error("the header has no jwk")]
    KeyMissing,
    /// `jwk` is not a usable public key, or has private members (checks 6 and 7).
    #[error("jwk is not a usable public key")]
    Key(#[from] JwkError),
    /// A parameter of `jwk` is not written as RFC 7518 §6 demands, so that its thumbprint is not the thumbprint of
    /// the key.
    #[error("jwk is not in its canonical form")]
    KeyNotCanonical,
    /// The key in the header did not make the signature (check 6).
    #[error("the signature of the proof does not verify")]
    Signature(#[source] VerifyError),
    /// `htm` is not the method of the request (check 8).
    #[error("htm is not the method of this request")]
    Method,
    /// `htu` is not the URL of the request (check 9).
    #[error("htu is not the url of this request")]
    Uri,
    /// A nonce is demanded, and the proof has none (check 10). The answer carries a nonce.
    #[error("the proof has no nonce")]
    NonceMissing,
    /// The nonce is not one that is accepted now (check 10). The answer carries a nonce.
    #[error("the nonce is not one that is accepted now")]
    NonceMismatch,
    /// `iat` lies too far in the past, or `exp` has passed (check 11).
    #[error("the proof is too old")]
    TooOld,
    /// `iat` or `nbf` lies more than [`crate::AHEAD_TOLERANCE`] ahead (check 11).
    #[error("the proof was issued in the future")]
    IssuedInFuture,
    /// `ath` is not the hash of the access token (check 12).
    #[error("ath is not the hash of the access token")]
    AccessToken,
    /// The key is not the key that the access token is bound to (check 12).
    #[error("the access token is bound to another key")]
    OtherKey,
}

impl ProofError {
    /// Returns true if the proof lacks a nonce that is accepted now. A caller with the nonce of the answer may try
    /// once more.
    #[must_use]
    pub fn is_nonce(&self) -> bool {
        matches!(self, Self::NonceMissing | Self::NonceMismatch)
    }
}
