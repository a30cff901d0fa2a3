//! The sources of an issuer's keys.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use crate::algorithm::Algorithm;
use crate::candidates::Candidates;
use crate::certificate_authorities::CertificateAuthorities;
use crate::encryption_key::EncryptionKey;
use crate::fetch_error::FetchError;
use crate::file_key_set::FileKeySet;
use crate::held_keys::{HeldKeys, MAX_TOLD, Origin, lost_keys, missing, tell_lost_keys};
use crate::key_lookup::{KeyLookupError, KeySetFaults, KeySetHealth};
use crate::key_set::KeySet;
use crate::remote::RemoteKeySet;
use crate::signature_memo::SignatureMemo;
use crate::token::{UnverifiedToken, VerifiedToken};
use crate::verification_key::VerifyError;

/// The keys of one issuer.
///
/// ```
/// use sts_jose::{KeySet, KeySource};
///
/// let keys = KeySource::Inline(KeySet::parse(br#"{"keys": []}"#)?);
/// # Ok::<(), sts_jose::KeySetError>(())
/// ```
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The keys are part of the configuration.
    Inline(KeySet),
    /// The keys are fetched over HTTP and cached.
    Remote(RemoteKeySet),
    /// The keys are read from a file, which is checked for changes.
    File(FileKeySet),
}

/// The reason no key of an issuer is known to have signed a token.
#[derive(Debug, thiserror::Error)]
pub enum KeyVerifyError {
    /// There is no key to try.
    #[error(transparent)]
    Lookup(#[from] KeyLookupError),
    /// A refusal: the keys that the token names did not sign it.
    #[error(transparent)]
    Signature(#[from] VerifyError),
}

impl KeySource {
    /// Returns the keys in the configuration of an issuer. Logs the keys that cannot be used.
    pub fn inline(issuer: &str, keys: KeySet) -> Self {
        tell_lost_keys(Origin::Issuer(issuer), &HeldKeys::default().newly_lost(&keys), &keys);
        Self::Inline(keys)
    }

    /// Checks that a key of the issuer has signed a token. `memo` avoids repeating an earlier
    /// check. Costs at most [`MAX_CANDIDATES`](crate::MAX_CANDIDATES) public-key operations for
    /// each set that is tried, and the cost of [`Self::candidates`]. A signature that no candidate
    /// made counts as an unknown `kid`, and may force a refetch within the same limit.
    ///
    /// # Errors
    /// See [`KeyVerifyError`].
    pub async fn verify(
        &self,
        token: UnverifiedToken<'_>,
        memo: Option<&SignatureMemo>,
    ) -> Result<VerifiedToken, KeyVerifyError> {
        let (kid, algorithm) = (token.header().kid.clone(), token.header().algorithm);
        let (found, token) = parked(token, pin!(self.candidates(kid.as_deref(), algorithm))).await?;
        let tried = found?;
        let (token, error) = match token.verify_with(&tried, memo) {
            Ok(verified) => return Ok(verified),
            Err(failed) => *failed,
        };
        let (found, token) = parked(token, pin!(self.other_candidates(kid.as_deref(), algorithm, &tried))).await?;
        match found? {
            Some(others) => token.verify_with(&others, memo).map_err(|failed| failed.1.into()),
            None => Err(error.into()),
        }
    }

    /// Returns the keys to try for a token's header, as [`KeySet::candidates`] defines them. Costs
    /// nothing while the keys are known. Otherwise it may cost a bounded fetch (remote) or a read
    /// (file).
    ///
    /// # Errors
    /// See [`KeyLookupError`].
    pub async fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Candidates, KeyLookupError> {
        match self {
            Self::Inline(keys) => keys.candidates(kid, algorithm).ok_or_else(|| missing(keys)),
            Self::Remote(remote) => remote.candidates(kid, algorithm).await,
            Self::File(file) => file.candidates(kid, algorithm).await,
        }
    }

    /// Returns the keys to try after no key in `tried` has signed a token with this header. Returns
    /// `None` if the issuer publishes no other keys.
    async fn other_candidates(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        tried: &Candidates,
    ) -> Result<Option<Candidates>, KeyLookupError> {
        match self {
            Self::Remote(remote) => remote.other_candidates(kid, algorithm, tried).await,
            Self::Inline(_) | Self::File(_) if tried.is_named() => Ok(None),
            Self::Inline(_) | Self::File(_) => Err(KeyLookupError::Unknown),
        }
    }

    /// Returns the authorities of X.509-SVIDs, as [`KeySet::authorities`] defines them, unless they are
    /// those of `tried`, which have not signed the certificate in question. An issuer without other
    /// authorities may be fetched again, within the limits of [`Self::candidates`].
    ///
    /// # Errors
    /// See [`KeyLookupError`].
    pub async fn authorities(
        &self,
        tried: Option<&CertificateAuthorities>,
    ) -> Result<CertificateAuthorities, KeyLookupError> {
        match self {
            Self::Inline(keys) => {
                let found = keys.authorities().filter(|found| Some(*found) != tried).cloned();
                found.ok_or_else(|| missing(keys))
            }
            Self::Remote(remote) => remote.authorities(tried).await,
            Self::File(file) => file.authorities(tried).await,
        }
    }

    /// Returns the key for encrypting a payload to the owner, as [`KeySet::encryption_key`] defines
    /// it. The lookup costs as much as [`KeySource::verify`].
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

    /// Reads the keys again, now. For server startup and for periodic calls. Does nothing for
    /// inline keys.
    ///
    /// # Errors
    /// The error of the fetch or the read. Earlier keys stay in use, for up to
    /// [`MAX_KEY_AGE`](crate::MAX_KEY_AGE).
    pub async fn refresh(&self) -> Result<(), Arc<FetchError>> {
        match self {
            Self::Inline(_) => Ok(()),
            Self::Remote(remote) => remote.refresh().await,
            Self::File(file) => file.refresh().await,
        }
    }

    /// Returns the keys of the last successful read. Empty if there was none.
    pub fn held(&self) -> KeySet {
        match self {
            Self::Inline(keys) => keys.clone(),
            Self::Remote(remote) => remote.held(),
            Self::File(file) => file.held(),
        }
    }

    /// Returns the faults of the source.
    pub fn faults(&self) -> KeySetFaults {
        match self {
            Self::Inline(keys) => {
                KeySetFaults { lost: keys.lost().iter().take(MAX_TOLD).cloned().collect(), ..KeySetFaults::default() }
            }
            Self::Remote(remote) => remote.faults(),
            Self::File(file) => file.faults(),
        }
    }

    /// Returns the health of the source. For inline keys, it holds only the number of lost keys.
    pub fn health(&self) -> KeySetHealth {
        match self {
            Self::Inline(keys) => KeySetHealth { lost_keys: lost_keys(keys), ..KeySetHealth::default() },
            Self::Remote(remote) => remote.health(),
            Self::File(file) => file.health(),
        }
    }
}

/// Drops the claims of a token during a lookup. Many tokens may wait for one issuer, and none of
/// them is verified.
async fn parked<'a, T>(
    token: UnverifiedToken<'a>,
    mut lookup: Pin<&mut impl Future<Output = T>>,
) -> Result<(T, UnverifiedToken<'a>), KeyLookupError> {
    match poll_fn(|context| Poll::Ready(lookup.as_mut().poll(context))).await {
        Poll::Ready(found) => Ok((found, token)),
        Poll::Pending => {
            let parked = token.park();
            let found = lookup.await;
            // The token was well-formed before, so this does not fail.
            Ok((found, parked.resume().or(Err(KeyLookupError::Unknown))?))
        }
    }
}
