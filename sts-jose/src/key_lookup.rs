//! The result of looking for a key, and the health of its source.

use std::sync::Arc;

use jiff::Timestamp;

use crate::fetch_error::FetchError;
use crate::key_set::LostKey;

/// The reason a key is missing. A refusal and an outage must never be confused.
///
/// ```
/// use sts_jose::KeyLookupError;
///
/// /// The status for a token whose key is missing.
/// fn status(error: &KeyLookupError) -> u16 {
///     match error {
///         KeyLookupError::Unknown | KeyLookupError::Unusable => 401,
///         KeyLookupError::Unavailable(_) => 503,
///     }
/// }
/// assert_eq!(status(&KeyLookupError::Unknown), 401);
/// ```
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyLookupError {
    /// A refusal: the issuer's keys are known, and this key is not among them. The requester causes
    /// this error.
    #[error("the issuer has no such key")]
    Unknown,
    /// A refusal: the issuer publishes a key set without any usable key.
    #[error("the issuer publishes no usable key")]
    Unusable,
    /// An outage: the issuer's keys are not known well enough to refuse. No party here causes it.
    /// The requester may retry.
    #[error("the keys of the issuer cannot be fetched")]
    Unavailable(#[source] Arc<FetchError>),
}

/// The faults of a key source, for an operator.
#[derive(Debug, Clone, Default)]
pub struct KeySetFaults {
    /// The error of the latest attempt, if it failed.
    pub error: Option<Arc<FetchError>>,
    /// The unusable keys of the last read, at most 20.
    pub lost: Vec<LostKey>,
    /// The names of keys that an earlier read had, each with the time of the read that lacked it. The
    /// last 20, without those that are back.
    pub gone: Vec<(String, Timestamp)>,
}

/// The health of a key source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeySetHealth {
    /// The time at which the keys in use were read or, for a file, last found unchanged. `None` if
    /// there are no keys.
    pub fetched_at: Option<Timestamp>,
    /// True if the latest attempt failed, or if its set holds no usable key.
    pub failing: bool,
    /// The number of refetches that an unknown `kid` has forced.
    pub forced_refetches: u64,
    /// The number of all attempts, including the forced ones.
    pub fetches: u64,
    /// The number of unusable keys in the set, plus the entries that are not read because there are
    /// too many.
    pub lost_keys: usize,
}
