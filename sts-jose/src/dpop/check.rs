//! The checks of a proof (RFC 9449 §4.3).

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::error::ProofError;
use super::uri::ProofUri;
use crate::algorithm::Algorithm;
use crate::claims::Claims;
use crate::json;
use crate::jws::CompactJws;
use crate::thumbprint::thumbprint;
use crate::times::AHEAD_TOLERANCE;
use crate::typ::Slot;
use crate::verification_key::{JwkError, VerificationKey};

/// The maximum length of a proof, in bytes.
pub const MAX_PROOF_BYTES: usize = 8 * 1024;

/// The maximum length of the `jti` of a proof, in characters.
pub const MAX_PROOF_JTI_CHARS: usize = 256;

/// The request that a proof must be for, and the rules of the party that checks it.
#[derive(Debug, Clone, Copy)]
pub struct ProofRules<'a> {
    /// The method of the request, in its own case.
    pub method: &'a str,
    /// The URL of the request. Behind a proxy it is the configured public URL, never the `Host` header.
    pub uri: &'a ProofUri,
    /// The access token of the request. `None` at a token endpoint, where `ath` is not read.
    pub access_token: Option<AccessTokenBinding<'a>>,
    /// The nonces that are accepted now. `None` demands no nonce, and does not read it.
    pub nonces: Option<&'a [String]>,
    /// The accepted algorithms.
    pub algorithms: &'a [Algorithm],
    /// The maximum age of a proof by its `iat`.
    pub max_age: Duration,
    /// The current time.
    pub now: Timestamp,
}

/// The access token that a proof is presented with.
#[derive(Debug, Clone, Copy)]
pub struct AccessTokenBinding<'a> {
    /// The hash of its text, from [`super::access_token_hash`].
    pub ath: &'a str,
    /// Its `cnf.jkt`.
    pub jkt: &'a str,
}

/// The witness that the holder of a key made a proof for one request. Only [`ProofRules::check`] creates it. It does
/// not show that the proof is used for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedProof {
    jkt: String,
    jti: String,
    issued_at: Timestamp,
    algorithm: Algorithm,
}

impl VerifiedProof {
    /// Returns the RFC 7638 thumbprint of the key: the `cnf.jkt` of tokens that are bound to it.
    #[must_use]
    pub fn jkt(&self) -> &str {
        &self.jkt
    }

    /// Returns the `jti`, which the caller accepts once for this key.
    #[must_use]
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// Returns the `iat`.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// Returns the algorithm of the signature.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl ProofRules<'_> {
    /// Checks the only `DPoP` header of a request: checks 2 to 12 of RFC 9449 §4.3. Check 1 is the caller's: a request
    /// with two `DPoP` headers is refused. The nonce is checked last but one, so that a proof which fails for its nonce
    /// alone can be told from the others.
    ///
    /// Costs one public-key operation.
    ///
    /// # Errors
    /// See [`ProofError`].
    pub fn check(&self, proof: &str) -> Result<VerifiedProof, ProofError> {
        let (jws, header) = CompactJws::parse_with_header(MAX_PROOF_BYTES, proof)?;
        let algorithm = jws.header().algorithm;
        if !Slot::DpopProof.accepts(jws.header().typ.as_deref()) {
            return Err(ProofError::Typ);
        }
        if !self.algorithms.contains(&algorithm) {
            return Err(ProofError::AlgorithmNotAccepted(algorithm));
        }
        let jwk = header.get("jwk").and_then(Value::as_object).ok_or(ProofError::KeyMissing)?;
        let key = VerificationKey::from_jwk(jwk)?;
        if !is_canonical(jwk) {
            return Err(ProofError::KeyNotCanonical);
        }
        let claims = Claims::new(json::parse_object(jws.payload()).map_err(ProofError::Json)?);
        jws.verify_signature(&key).map_err(ProofError::Signature)?;
        let jkt = thumbprint(jwk).ok_or(JwkError::UnsupportedType)?;

        let jti = required(&claims, "jti")?;
        if jti.chars().count() > MAX_PROOF_JTI_CHARS || jti.chars().any(char::is_control) {
            return Err(ProofError::ClaimMissing("jti"));
        }
        if required(&claims, "htm")? != self.method {
            return Err(ProofError::Method);
        }
        if ProofUri::parse(required(&claims, "htu")?).ok().as_ref() != Some(self.uri) {
            return Err(ProofError::Uri);
        }
        let issued_at = self.check_times(&claims)?;
        self.check_nonce(&claims)?;
        self.check_access_token(&claims, &jkt)?;
        Ok(VerifiedProof { jti: jti.to_owned(), jkt, issued_at, algorithm })
    }

    /// Check 11. `exp` and `nbf` are not claims of a proof, but keep their meaning (RFC 7519 §4.1).
    fn check_times(&self, claims: &Claims) -> Result<Timestamp, ProofError> {
        let iat = claims.numeric_date("iat")?.ok_or(ProofError::ClaimMissing("iat"))?;
        let (exp, nbf) = (claims.numeric_date("exp")?, claims.numeric_date("nbf")?);
        let latest = self.now.checked_add(AHEAD_TOLERANCE).unwrap_or(Timestamp::MAX);
        if iat > latest || nbf.is_some_and(|nbf| nbf > latest) {
            return Err(ProofError::IssuedInFuture);
        }
        let earliest = self.now.checked_sub(self.max_age).unwrap_or(Timestamp::MIN);
        if iat < earliest || exp.is_some_and(|exp| exp <= self.now) {
            return Err(ProofError::TooOld);
        }
        Ok(iat)
    }

    /// Check 10.
    fn check_nonce(&self, claims: &Claims) -> Result<(), ProofError> {
        let Some(accepted) = self.nonces else { return Ok(()) };
        let nonce = claims.string("nonce")?.ok_or(ProofError::NonceMissing)?;
        let is_one = |one: &String| verify_slices_are_equal(one.as_bytes(), nonce.as_bytes()).is_ok();
        if accepted.iter().any(is_one) { Ok(()) } else { Err(ProofError::NonceMismatch) }
    }

    /// Check 12.
    fn check_access_token(&self, claims: &Claims, jkt: &str) -> Result<(), ProofError> {
        let Some(token) = self.access_token else { return Ok(()) };
        if required(claims, "ath")? != token.ath {
            return Err(ProofError::AccessToken);
        }
        if jkt != token.jkt {
            return Err(ProofError::OtherKey);
        }
        Ok(())
    }
}

fn required<'a>(claims: &'a Claims, name: &'static str) -> Result<&'a str, ProofError> {
    claims.string(name)?.filter(|text| !text.is_empty()).ok_or(ProofError::ClaimMissing(name))
}

/// Returns true if the parameters of a usable key are written as RFC 7518 §6 and RFC 8037 §2 demand: coordinates of
/// full length, numbers without leading zeros, no padding. Then equal keys have equal thumbprints.
fn is_canonical(jwk: &Map<String, Value>) -> bool {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
    let has_length = |name: &str, chars: usize| text(name).len() == chars;
    let is_number =
        |name: &str| URL_SAFE_NO_PAD.decode(text(name)).is_ok_and(|n| n.first().is_some_and(|byte| *byte != 0));
    match text("crv") {
        _ if text("kty") == "RSA" => is_number("n") && is_number("e"),
        "P-256" => has_length("x", 43) && has_length("y", 43),
        "P-384" => has_length("x", 64) && has_length("y", 64),
        "P-521" => has_length("x", 88) && has_length("y", 88),
        "Ed25519" => has_length("x", 43),
        _ => false,
    }
}
