//! The verified callers, to be found again by the headers that the answer of a verification gave.
//!
//! A context counts the calls of its request, so that each call has an idempotency key of its own,
//! and it saves the second verification of one token. A context that is not here any more is made
//! again by a new verification.

use ::http::HeaderName;
use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::sync::Cache;
use sts_client::{CallContext, Entropy};

use crate::header_pairs::HeaderPairs;

/// The header that makes the headers of each verification unique. It never leaves the machine:
/// routes forward it to no target.
pub(crate) const CONTEXT: HeaderName = HeaderName::from_static("x-sts-agent-context");

/// The maximum number of contexts. One has the size of a token with its claims.
const CAPACITY: usize = 4096;

/// The contexts of the callers that were verified last.
#[derive(Debug)]
pub(crate) struct Contexts(Cache<[u8; 32], CallContext>);

impl Contexts {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// Returns the context of exactly these headers. Headers of two verifications never match.
    pub(crate) fn find(&self, inbound: &HeaderPairs) -> Option<CallContext> {
        self.0.get(&digest(inbound))
    }

    pub(crate) fn keep(&self, inbound: &HeaderPairs, context: CallContext) {
        self.0.insert(digest(inbound), context);
    }
}

/// Makes the value of [`CONTEXT`].
pub(crate) fn new_id(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    sts_jose::hex(&bytes)
}

/// The digest of headers in their order, each part with its length.
fn digest(pairs: &HeaderPairs) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    for part in pairs.iter().flatten() {
        digest.update(&part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use sts_client::SystemEntropy;

    use super::*;

    fn pairs(pairs: &[[&str; 2]]) -> HeaderPairs {
        pairs.iter().map(|pair| pair.map(str::to_owned)).collect()
    }

    #[test]
    fn only_the_headers_of_the_verification_find_its_context() {
        let contexts = Contexts::new();
        let kept = pairs(&[["authorization", "Bearer alice"], ["x-sts-agent-context", "1"]]);
        contexts.keep(&kept, CallContext::without_user(None, &SystemEntropy));
        assert!(contexts.find(&kept).is_some());
        for other in [
            pairs(&[["authorization", "Bearer bob"], ["x-sts-agent-context", "1"]]),
            pairs(&[["authorization", "Bearer alice"], ["x-sts-agent-context", "2"]]),
            pairs(&[["authorization", "Bearer alice"]]),
            pairs(&[["authorization", "Bearer alicex-sts-agent-context"], ["", "1"]]),
        ] {
            assert!(contexts.find(&other).is_none(), "{other:?}");
        }
    }
}
