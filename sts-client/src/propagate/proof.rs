//! The proof of possession of a call with a bound token.

use std::sync::Arc;

use http::{HeaderMap, Method};
use url::Url;

use super::{Credential, Propagator};
use crate::error::Error;
use crate::possession::{DPOP, TokenHeader};

/// The request of a call, as far as its proof of possession names it.
#[derive(Clone, Copy)]
pub(crate) struct Destination<'a> {
    /// The HTTP method; `None` if it is unknown.
    pub(crate) method: Option<&'a Method>,
    pub(crate) url: &'a Url,
    /// The nonce for the proof; `None` takes the newest of the target.
    pub(crate) nonce: Option<&'a Arc<str>>,
}

/// The credential that was set on a call.
pub(crate) struct Applied {
    pub(super) credential: Credential,
    #[cfg_attr(
        not(any(feature = "a2a", feature = "reqwest", feature = "rmcp", feature = "tower")),
        expect(dead_code, reason = "only integrations that see answers read it")
    )]
    pub(super) proven: Proven,
}

/// The token of a call, and the nonce in its proof.
#[cfg_attr(
    not(any(feature = "a2a", feature = "reqwest", feature = "rmcp", feature = "tower")),
    expect(dead_code, reason = "only integrations that see answers read it")
)]
pub(super) struct Proven {
    pub(super) token: TokenHeader,
    pub(super) nonce: Option<Arc<str>>,
}

impl Propagator {
    /// Keeps the nonce that the target gave in an answer (`DPoP-Nonce`, RFC 9449 §9), for the proofs of
    /// later calls to its origin. A target may give one in an answer of any status. A target that
    /// answers 401 with `error="use_dpop_nonce"` expects the same call with a proof that has it. The
    /// integrations do both.
    ///
    /// ```
    /// # use sts_client::{Propagator, http::HeaderMap, url::Url};
    /// fn answered(propagator: &Propagator, url: &Url, headers: &HeaderMap) {
    ///     propagator.learn_nonce(url, headers);
    /// }
    /// ```
    pub fn learn_nonce(&self, url: &Url, headers: &HeaderMap) {
        self.0.nonces.learn(url, headers);
    }
}

/// Adds the proof of a bound token. Returns the nonce in it.
pub(super) fn prove(
    token: &TokenHeader,
    (method, url): (Option<&Method>, &Url),
    nonce: Option<Arc<str>>,
    headers: &mut HeaderMap,
) -> Result<Option<Arc<str>>, Error> {
    if !token.is_bound() {
        return Ok(None);
    }
    let method = method.ok_or_else(|| {
        Error::misconfigured(
            "the token is bound to a key, and its proof needs the method of the call: use Propagator::apply_as with OutboundOperation::Request",
        )
    })?;
    let proof = token.prove((method, url), nonce);
    let proof = proof.map_err(|error| Error::misconfigured(format!("no proof of possession for the call: {error}")))?;
    Ok(proof.and_then(|proof| {
        headers.insert(DPOP, proof.header);
        proof.nonce
    }))
}
