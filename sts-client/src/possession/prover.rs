//! The key of this process, and the proofs that it makes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::InvalidHeaderValue;
use http::{HeaderValue, Method};
use sts_jose::dpop::{ProofClaims, ProofKey, ProofUri, ProofUriError};
use sts_jose::{Clock, Entropy, SignError, SigningKeyError};
use url::Url;

/// The key of this process, to which the STS binds tokens. Cloning is cheap and shares the key.
#[derive(Debug, Clone)]
pub(crate) struct Prover(Arc<ProverInner>);

#[derive(Debug)]
struct ProverInner {
    key: ProofKey,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// A proof for one request.
pub(crate) struct Proof {
    /// The value of the header `DPoP`, marked as sensitive.
    pub(crate) header: HeaderValue,
    /// The nonce in the proof.
    pub(crate) nonce: Option<Arc<str>>,
}

/// The reason why no proof can be made. The agent or its machine is at fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoProof {
    #[error("the url of the call cannot stand in a proof")]
    Url(#[from] ProofUriError),
    #[error("the proof could not be signed")]
    Sign(#[from] SignError),
    #[error("the proof cannot stand in a header")]
    Header(#[from] InvalidHeaderValue),
}

impl Prover {
    /// Makes an ES256 key. It is in memory alone and ends with the process.
    pub(crate) fn generate(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, SigningKeyError> {
        let key = ProofKey::generate()?;
        Ok(Self(Arc::new(ProverInner { key, clock, entropy })))
    }

    /// Returns the thumbprint of the key: the `cnf.jkt` of tokens that are bound to it.
    pub(crate) fn jkt(&self) -> &str {
        self.0.key.jkt()
    }

    /// Makes a proof for one request, with a nonce of its server. `ath` is the hash of the token that
    /// the request carries. Costs one signature.
    pub(crate) fn prove(
        &self,
        (method, url): (&Method, &Url),
        ath: Option<&str>,
        nonce: Option<Arc<str>>,
    ) -> Result<Proof, NoProof> {
        let mut random = [0; 16];
        self.0.entropy.fill(&mut random);
        let proof = self.0.key.prove(&ProofClaims {
            method: method.as_str(),
            uri: &ProofUri::of(url)?,
            issued_at: self.0.clock.now(),
            jti: &URL_SAFE_NO_PAD.encode(random),
            ath,
            nonce: nonce.as_deref(),
        })?;
        let mut header = HeaderValue::try_from(proof)?;
        header.set_sensitive(true);
        Ok(Proof { header, nonce })
    }
}
