//! The proofs of possession of inbound requests (RFC 9449 §7).

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use jiff::Timestamp;
use sts_jose::dpop::{AccessTokenBinding, ProofRules, ProofUri, VerifiedProof, access_token_hash};
use sts_jose::{AHEAD_TOLERANCE, Algorithm};
use url::Url;

use super::headers;
use super::nonces::OwnNonces;
use super::why::Why;
use crate::dedup::{CallerKey, DedupKey, DedupStore, Spend};

/// The maximum age of a proof by its `iat`. The STS has the same default.
const MAX_AGE: Duration = Duration::from_secs(2 * 60);

/// The accepted algorithms of proofs, in the order of the challenge.
pub(super) const ALGORITHMS: [Algorithm; 4] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Es384, Algorithm::Ps256];

/// The rules for the proofs of inbound requests.
#[derive(Debug)]
pub(super) struct Dpop {
    /// The public URL of the agent, without a slash at its end.
    base: String,
    pub(super) is_required: bool,
    nonces: Option<OwnNonces>,
    /// The proofs that were used.
    replays: Arc<dyn DedupStore>,
}

impl Dpop {
    pub(super) fn new(
        public_url: &Url,
        is_required: bool,
        nonces: Option<OwnNonces>,
        replays: Arc<dyn DedupStore>,
    ) -> Self {
        let base = public_url.as_str().trim_end_matches('/').to_owned();
        Self { base, is_required, nonces, replays }
    }

    /// Checks the proof of a request with a token that is bound to the key `jkt`. Does not yet spend
    /// the proof.
    pub(super) fn check(
        &self,
        request: &Parts,
        (token, jkt): (&str, &str),
        now: Timestamp,
    ) -> Result<VerifiedProof, Why> {
        let proof = headers::proof(&request.headers)?;
        let uri = ProofUri::parse(&format!("{}{}", self.base, request.uri.path())).map_err(Why::ProofUrl)?;
        let nonces = self.nonces.as_ref().map(|nonces| nonces.accepted(now));
        let rules = ProofRules {
            method: request.method.as_str(),
            uri: &uri,
            access_token: Some(AccessTokenBinding { ath: &access_token_hash(token), jkt }),
            nonces: nonces.as_ref().map(<[String; 2]>::as_slice),
            algorithms: &ALGORITHMS,
            max_age: MAX_AGE,
            now,
        };
        rules.check(proof).map_err(|error| match nonces {
            Some([newest, _]) if error.is_nonce() => Why::ProofNonce(newest),
            Some(_) | None => Why::Proof(error),
        })
    }

    /// Spends a proof, so that it is accepted once. Called last, so that a refused request fills no
    /// store.
    pub(super) async fn spend(&self, proof: &VerifiedProof, caller: CallerKey) -> Result<(), Why> {
        let key = DedupKey::new("dpop", [proof.jkt(), proof.jti()]);
        let lifetime = MAX_AGE.saturating_add(AHEAD_TOLERANCE);
        let expires_at = proof.issued_at().checked_add(lifetime).unwrap_or(Timestamp::MAX);
        match self.replays.spend(key, caller, expires_at).await.map_err(Why::ReplayStore)? {
            Spend::First => Ok(()),
            Spend::SeenBefore => Err(Why::ProofReplayed),
        }
    }

    /// Returns the nonce for the next proof of a caller, if proofs need one.
    #[cfg(feature = "tower")]
    pub(super) fn newest_nonce(&self, now: Timestamp) -> Option<String> {
        let [newest, _] = self.nonces.as_ref()?.accepted(now);
        Some(newest)
    }
}

/// Returns the algorithms as the challenge names them.
pub(super) fn algs() -> String {
    ALGORITHMS.map(Algorithm::as_str).join(" ")
}
