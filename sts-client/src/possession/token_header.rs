//! A token as it goes out.

use std::sync::Arc;

use http::{HeaderValue, Method};
use sts_jose::dpop::access_token_hash;
use url::Url;

use super::DPOP_SCHEME;
use super::prover::{NoProof, Proof, Prover};
use crate::net::bearer;

/// The `Authorization` of a token. A bound token also makes the proof of each call. It has no
/// Debug, because it holds the token.
#[derive(Clone)]
pub(crate) struct TokenHeader {
    authorization: HeaderValue,
    binding: Option<Binding>,
}

#[derive(Clone)]
struct Binding {
    prover: Prover,
    /// The hash of the token.
    ath: Arc<str>,
}

impl TokenHeader {
    /// Makes `Bearer …`; `None` if the text cannot be a token.
    pub(crate) fn bearer(token: &str) -> Option<Self> {
        Some(Self { authorization: bearer::authorization("Bearer", token)?, binding: None })
    }

    /// Makes `DPoP …` for a token that is bound to the key of `prover`; `None` if the text cannot be a
    /// token.
    pub(crate) fn bound(token: &str, prover: &Prover) -> Option<Self> {
        let binding = Binding { prover: prover.clone(), ath: access_token_hash(token).into() };
        Some(Self { authorization: bearer::authorization(DPOP_SCHEME, token)?, binding: Some(binding) })
    }

    /// Returns the value of `Authorization`, marked as sensitive.
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// Returns true if a call with this token needs a proof.
    pub(crate) fn is_bound(&self) -> bool {
        self.binding.is_some()
    }

    /// Makes the proof of one call, with a nonce of its target; `None` for a bearer token.
    pub(crate) fn prove(&self, request: (&Method, &Url), nonce: Option<Arc<str>>) -> Result<Option<Proof>, NoProof> {
        let proof = |binding: &Binding| binding.prover.prove(request, Some(&binding.ath), nonce);
        self.binding.as_ref().map(proof).transpose()
    }
}
