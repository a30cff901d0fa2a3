//! The verified callers, to be found again by the headers that the answer of a verification gave.
//!
//! A context counts the calls of its request, so that each call has an idempotency key of its own,
//! and it saves the second verification of one token. The context of a bearer token that is not here
//! any more is made again by a new verification. That of a bound token cannot be: the proof of its
//! request was used.

use ::http::HeaderName;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sts_client::jiff::Timestamp;
use sts_client::{CallContext, Entropy};

use crate::bounded_cache::{bounded, bytes_of, digest};
use crate::header_pairs::HeaderPairs;

/// The header that makes the headers of each verification unique. It never leaves the machine:
/// routes forward it to no target.
pub(crate) const CONTEXT: HeaderName = HeaderName::from_static("x-sts-agent-context");

/// The weight of a context without its headers, in bytes.
const BASE_BYTES: usize = 1024;

/// The contexts of the callers that were verified last, until their tokens expire.
#[derive(Debug)]
pub(crate) struct Contexts(Cache<[u8; 32], ContextEntry, HeaderBytes>);

#[derive(Debug, Clone)]
struct ContextEntry {
    context: CallContext,
    expires_at: Timestamp,
    header_bytes: usize,
}

#[derive(Debug, Clone)]
struct HeaderBytes;

impl Weighter<[u8; 32], ContextEntry> for HeaderBytes {
    fn weight(&self, _digest: &[u8; 32], entry: &ContextEntry) -> u64 {
        u64::try_from(entry.header_bytes.saturating_add(BASE_BYTES)).unwrap_or(u64::MAX)
    }
}

impl Contexts {
    pub(crate) fn new() -> Self {
        Self(bounded(HeaderBytes))
    }

    /// Returns the context of exactly these headers. Headers of two verifications never match.
    pub(crate) fn find(&self, inbound: &HeaderPairs, now: Timestamp) -> Option<CallContext> {
        let digest = digest_of(inbound);
        let entry = self.0.get(&digest)?;
        if entry.expires_at <= now {
            self.0.remove(&digest);
            return None;
        }
        Some(entry.context)
    }

    /// Keeps a context until its token expires.
    pub(crate) fn keep(&self, inbound: &HeaderPairs, context: CallContext, expires_at: Timestamp) {
        self.0.insert(digest_of(inbound), ContextEntry { context, expires_at, header_bytes: bytes_of(inbound) });
    }
}

/// Makes the value of [`CONTEXT`].
pub(crate) fn new_id(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    sts_jose::hex(&bytes)
}

fn digest_of(inbound: &HeaderPairs) -> [u8; 32] {
    digest(inbound.iter().flatten().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use sts_client::SystemEntropy;

    use super::*;
    use crate::bounded_cache::CAPACITY_BYTES;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const EXPIRES_AT: Timestamp = Timestamp::constant(60, 0);

    fn pairs(pairs: &[[&str; 2]]) -> HeaderPairs {
        pairs.iter().map(|pair| pair.map(str::to_owned)).collect()
    }

    #[test]
    fn only_the_headers_of_the_verification_find_its_context() {
        let contexts = Contexts::new();
        let kept = pairs(&[["authorization", "Bearer alice"], ["x-sts-agent-context", "1"]]);
        contexts.keep(&kept, CallContext::without_user(None, &SystemEntropy), EXPIRES_AT);
        assert!(contexts.find(&kept, NOW).is_some());
        for other in [
            pairs(&[["authorization", "Bearer bob"], ["x-sts-agent-context", "1"]]),
            pairs(&[["authorization", "Bearer alice"], ["x-sts-agent-context", "2"]]),
            pairs(&[["authorization", "Bearer alice"]]),
            pairs(&[["authorization", "Bearer alicex-sts-agent-context"], ["", "1"]]),
        ] {
            assert!(contexts.find(&other, NOW).is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_context_is_dropped_when_its_token_expires() {
        let contexts = Contexts::new();
        let inbound = pairs(&[["authorization", "Bearer alice"]]);
        contexts.keep(&inbound, CallContext::without_user(None, &SystemEntropy), EXPIRES_AT);
        assert!(contexts.find(&inbound, Timestamp::constant(59, 0)).is_some());
        assert!(contexts.find(&inbound, EXPIRES_AT).is_none());
        assert!(contexts.0.is_empty());
    }

    #[test]
    fn a_request_keeps_its_context_through_a_thousand_others_and_the_bytes_are_bounded() {
        let contexts = Contexts::new();
        let of_request = |number: usize| {
            let value = format!("{number}{}", "0".repeat(16 * 1024));
            vec![["authorization".to_owned(), value]]
        };
        // More than there is room for, so that the oldest have gone.
        let all = usize::try_from(CAPACITY_BYTES).unwrap() / (16 * 1024) * 2;
        for number in 0..all {
            contexts.keep(&of_request(number), CallContext::without_user(None, &SystemEntropy), EXPIRES_AT);
        }
        let lost = (all - 1000..all).filter(|number| contexts.find(&of_request(*number), NOW).is_none());
        assert_eq!(lost.count(), 0);
        assert!(contexts.0.weight() <= CAPACITY_BYTES);
        let longest = vec![["x-long".to_owned(), "0".repeat(512 * 1024)]];
        contexts.keep(&longest, CallContext::without_user(None, &SystemEntropy), EXPIRES_AT);
        assert!(contexts.find(&longest, NOW).is_some());
    }
}
