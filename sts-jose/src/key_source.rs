//! The sources of an issuer's keys, and the ways in which a key cannot be had.

use std::sync::Arc;

use jiff::Timestamp;

use crate::algorithm::Algorithm;
use crate::encryption_key::EncryptionKey;
use crate::fetch::FetchError;
use crate::file_key_set::FileKeySet;
use crate::held_keys::missing;
use crate::key_set::KeySet;
use crate::remote::RemoteKeySet;
use crate::verification_key::VerificationKey;

/// The keys of one issuer.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Written into the configuration.
    Inline(KeySet),
    /// Fetched over HTTP and cached.
    Remote(RemoteKeySet),
    /// Read from a file and followed.
    File(FileKeySet),
}

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

/// How a key source fares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeySetHealth {
    /// When the keys in use were read or, for a file, last found unchanged; `None` if there are none.
    pub fetched_at: Option<Timestamp>,
    /// True if the latest attempt failed, or the set that it read holds no key that can be used.
    pub failing: bool,
    /// How many refetches an unknown `kid` has forced.
    pub forced_refetches: u64,
    /// How many attempts there were in all, the forced ones included.
    pub fetches: u64,
}

impl KeySource {
    /// The key for a token's header, as [`KeySet::find`] defines it. Costs nothing while the keys are known; may cost a
    /// bounded fetch (remote) or a read (file).
    ///
    /// # Errors
    /// See [`KeyLookupError`].
    pub async fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<VerificationKey, KeyLookupError> {
        match self {
            Self::Inline(keys) => keys.find(kid, algorithm).cloned().ok_or_else(|| missing(keys)),
            Self::Remote(remote) => remote.find(kid, algorithm).await,
            Self::File(file) => file.find(kid, algorithm).await,
        }
    }

    /// The key that a payload for the owner is encrypted to, as [`KeySet::encryption_key`] defines it. Costs what
    /// [`KeySource::find`] costs.
    ///
    /// # Errors
    /// See [`KeyLookupError`].
    pub async fn encryption_key(&self) -> Result<EncryptionKey, KeyLookupError> {
        match self {
            Self::Inline(keys) => keys.encryption_key().cloned().ok_or_else(|| missing(keys)),
            Self::Remote(remote) => remote.encryption_key().await,
            Self::File(file) => file.encryption_key().await,
        }
    }

    /// Reads the keys anew, now. For the start of the server and for periodic calls; does nothing for inline keys.
    ///
    /// # Errors
    /// The error of the fetch or the read. Keys that were known before stay in use, for up to [`MAX_KEY_AGE`](crate::MAX_KEY_AGE).
    pub async fn refresh(&self) -> Result<(), Arc<FetchError>> {
        match self {
            Self::Inline(_) => Ok(()),
            Self::Remote(remote) => remote.refresh().await,
            Self::File(file) => file.refresh().await,
        }
    }

    /// How the source fares; all zero for inline keys.
    pub fn health(&self) -> KeySetHealth {
        match self {
            Self::Inline(_) => KeySetHealth::default(),
            Self::Remote(remote) => remote.health(),
            Self::File(file) => file.health(),
        }
    }
}
