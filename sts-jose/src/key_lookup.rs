//! The result of looking for a key, and the health of its source.

use std::sync::Arc;

use jiff::Timestamp;

use crate::fetch_error::FetchError;

/// The reason for which a key is missing. A refusal and an outage must never be taken for each other.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyLookupError {
    /// The refusal: the issuer's keys are known, and this is none of them. The requester's fault.
    #[error("the issuer has no such key")]
    Unknown,
    /// The refusal: the issuer publishes a key set, and it holds no key that can be used.
    #[error("the issuer publishes no key that can be used")]
    Unusable,
    /// The outage: the issuer's keys are not known well enough to say no. Nobody's fault here; one may retry.
    #[error("the keys of the issuer are out of reach")]
    Unavailable(#[source] Arc<FetchError>),
}

/// The health of a key source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeySetHealth {
    /// The time at which the keys in use were read or, for a file, last found unchanged; `None` if there are none.
    pub fetched_at: Option<Timestamp>,
    /// True if the latest attempt failed, or the set that it read holds no key that can be used.
    pub failing: bool,
    /// The number of refetches that an unknown `kid` has forced.
    pub forced_refetches: u64,
    /// The number of attempts, the forced ones included.
    pub fetches: u64,
    /// The number of keys in the set that cannot be used, and of entries that are not read because there are too many.
    pub lost_keys: usize,
}
