//! Proofs of possession in the `DPoP` header (RFC 9449 §5).
//!
//! A proof authenticates no agent. It shows that the authenticated agent holds a key, to which its token is bound.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use jiff::Timestamp;
use sts_jose::Algorithm;
use sts_jose::dpop::{ProofError, ProofRules, ProofUri, VerifiedProof};
use sts_protocol::parameter::DPOP;
use thiserror::Error;

use super::{AuthenticatedAgent, ClientContext, TOKEN_PATH};
use crate::error_kind::ErrorKind;
use crate::record::{SingleUse, SingleUseKind};
use crate::storage::{OneTimeValue, forget_at};

/// The time for which one nonce is given out, in seconds.
const NONCE_SECONDS: i64 = 120;
/// The length of the random part of a nonce, in bytes.
const NONCE_BYTES: usize = 16;
/// The path of the introspection endpoint, relative to our issuer.
pub const INTROSPECTION_PATH: &str = "/oauth2/introspect";
/// The path of the revocation endpoint, relative to our issuer.
pub const REVOCATION_PATH: &str = "/oauth2/revoke";

/// The endpoint that a proof is presented to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofEndpoint {
    /// The token endpoint.
    Token,
    /// The introspection endpoint.
    Introspection,
    /// The revocation endpoint.
    Revocation,
}

/// The rules of this service for proofs.
#[derive(Debug)]
pub struct ProofChecks {
    max_age: Duration,
    nonces: Option<ProofNonces>,
}

/// The nonces that proofs must have (RFC 9449 §8). A nonce is the HMAC of a span of time under a key that all replicas
/// derive from the master key, so that no replica stores it and every replica accepts it.
pub struct ProofNonces(hmac::Key);

/// A `DPoP` header that is refused. The client must send another proof.
#[derive(Debug, Error)]
pub enum ProofFailure {
    /// The request has several `DPoP` headers (RFC 9449 §4.3, check 1).
    #[error("the request has several DPoP headers")]
    Several,
    /// The header holds more than ASCII.
    #[error("the DPoP header is not ASCII")]
    NotAscii,
    /// The proof fails a check.
    #[error("the DPoP proof is refused")]
    Refused(#[from] ProofError),
}

impl ProofEndpoint {
    fn path(self) -> &'static str {
        match self {
            Self::Token => TOKEN_PATH,
            Self::Introspection => INTROSPECTION_PATH,
            Self::Revocation => REVOCATION_PATH,
        }
    }
}

impl ProofChecks {
    /// Creates the rules. Without `nonces`, proofs need none.
    #[must_use]
    pub fn new(max_age: Duration, nonces: Option<ProofNonces>) -> Self {
        Self { max_age, nonces }
    }

    /// Returns the nonce of the next proof, if proofs need one.
    #[must_use]
    pub fn nonce(&self, now: Timestamp) -> Option<String> {
        self.nonces.as_ref().map(|nonces| nonces.current(now))
    }

    /// Checks the `DPoP` header of a request to `endpoint` of `issuer`. The issuer's URL decides, because a proxy may
    /// rewrite the host.
    fn check(
        &self,
        headers: &HeaderMap,
        issuer: &str,
        endpoint: ProofEndpoint,
        now: Timestamp,
    ) -> Result<Option<VerifiedProof>, ProofFailure> {
        let mut proofs = headers.get_all(DPOP).iter();
        let Some(proof) = proofs.next() else { return Ok(None) };
        if proofs.next().is_some() {
            return Err(ProofFailure::Several);
        }
        let proof = proof.to_str().or(Err(ProofFailure::NotAscii))?;
        let uri = ProofUri::parse(&format!("{issuer}{}", endpoint.path())).or(Err(ProofError::Uri))?;
        let nonces = self.nonces.as_ref().map(|nonces| nonces.accepted(now));
        let rules = ProofRules {
            method: "POST",
            uri: &uri,
            access_token: None,
            nonces: nonces.as_ref().map(<[String; 3]>::as_slice),
            algorithms: &Algorithm::ALL,
            max_age: self.max_age,
            now,
        };
        Ok(Some(rules.check(proof.trim_ascii())?))
    }

    /// Returns the single-use value of a proof: its `jti`, for its key.
    fn single_use(&self, proof: &VerifiedProof) -> SingleUse {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, proof.jti().as_bytes());
        let refused_from = proof.issued_at().checked_add(self.max_age).unwrap_or(Timestamp::MAX);
        SingleUse {
            kind: SingleUseKind::DpopProof,
            value: OneTimeValue {
                namespace: format!("dpop_proof {}", proof.jkt()),
                value: URL_SAFE_NO_PAD.encode(digest.as_ref()),
                expires_at: forget_at(refused_from),
            },
        }
    }
}

impl AuthenticatedAgent {
    /// Checks the `DPoP` header of the request by which the agent authenticated. Its key is then proven, and its `jti`
    /// must be recorded like that of a client assertion. Without the header it does nothing.
    ///
    /// # Errors
    /// [`ProofFailure`].
    pub fn prove(
        &mut self,
        context: &ClientContext<'_>,
        headers: &HeaderMap,
        endpoint: ProofEndpoint,
    ) -> Result<(), ProofFailure> {
        let Some(proof) = context.proofs.check(headers, context.issuer, endpoint, context.now)? else { return Ok(()) };
        self.single_use.push(context.proofs.single_use(&proof));
        self.proven.jkt = Some(proof.jkt().to_owned());
        Ok(())
    }
}

impl ProofNonces {
    /// Creates the nonces of the replicas that have this key.
    #[must_use]
    pub fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    /// Returns the nonce to give out now.
    fn current(&self, now: Timestamp) -> String {
        self.of(span(now))
    }

    /// Returns the nonces of the present span, of the one before, and of the next: the clock of another replica may be
    /// ahead.
    fn accepted(&self, now: Timestamp) -> [String; 3] {
        [0, -1, 1].map(|offset: i64| self.of(span(now).saturating_add(offset)))
    }

    fn of(&self, span: i64) -> String {
        let tag = hmac::sign(&self.0, &span.to_be_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_ref().get(..NONCE_BYTES).unwrap_or_default())
    }
}

impl fmt::Debug for ProofNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofNonces").finish_non_exhaustive()
    }
}

/// Returns the number of the span of time that `now` is in.
fn span(now: Timestamp) -> i64 {
    now.as_second().div_euclid(NONCE_SECONDS)
}

impl ProofFailure {
    /// Returns the kind of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(error) if error.is_nonce() => ErrorKind::ProofNonce,
            Self::Several | Self::NotAscii | Self::Refused(_) => ErrorKind::Proof,
        }
    }

    /// Returns the stable name, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Several => "dpop_proof_several",
            Self::NotAscii => "dpop_proof_malformed",
            Self::Refused(error) => proof_reason(error),
        }
    }
}

fn proof_reason(error: &ProofError) -> &'static str {
    match error {
        ProofError::Jws(_) | ProofError::Json(_) => "dpop_proof_malformed",
        ProofError::Claim(_) | ProofError::ClaimMissing(_) => "dpop_proof_claim",
        ProofError::Typ => "dpop_proof_typ",
        ProofError::AlgorithmNotAccepted(_) => "dpop_proof_algorithm",
        ProofError::KeyMissing | ProofError::Key(_) | ProofError::KeyNotCanonical => "dpop_proof_key",
        ProofError::Signature(_) => "dpop_proof_signature",
        ProofError::Method => "dpop_proof_method",
        ProofError::Uri => "dpop_proof_uri",
        ProofError::NonceMissing => "dpop_nonce_missing",
        ProofError::NonceMismatch => "dpop_nonce_mismatch",
        ProofError::TooOld => "dpop_proof_too_old",
        ProofError::IssuedInFuture => "dpop_proof_not_yet_valid",
        // No access token is presented with a proof here.
        ProofError::AccessToken | ProofError::OtherKey => "dpop_proof_key",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces(key: u8) -> ProofNonces {
        ProofNonces::new(hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_nonce_is_of_one_key_and_one_span() {
        let given = nonces(1).current(at(1_200));
        assert_eq!(nonces(1).current(at(1_319)), given);
        assert_ne!(nonces(1).current(at(1_320)), given);
        assert_ne!(nonces(2).current(at(1_200)), given);
        assert!(!nonces(2).accepted(at(1_200)).contains(&given));
    }

    #[test]
    fn a_nonce_is_accepted_in_its_span_and_those_beside_it() {
        let given = nonces(1).current(at(1_200));
        for (second, accepted) in [(1_079, false), (1_080, true), (1_200, true), (1_439, true), (1_440, false)] {
            assert_eq!(nonces(1).accepted(at(second)).contains(&given), accepted, "{second}");
        }
    }
}
