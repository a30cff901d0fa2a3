//! The keys that may have signed a token.

use crate::algorithm::Algorithm;
use crate::jws::{CompactJws, VerifyError};
use crate::signature_memo::SignatureMemo;
use crate::verification_key::VerificationKey;

/// The maximum number of keys that a token is tried against. It limits the cost of a forged token.
pub const MAX_CANDIDATES: usize = 4;

/// The keys of one issuer that fit the header of a token: at least one, and at most
/// [`MAX_CANDIDATES`]. Trying several keys is as strong as trying one, because each is a key of
/// that issuer.
#[derive(Debug, Clone)]
pub struct Candidates {
    first: VerificationKey,
    others: [Option<VerificationKey>; MAX_CANDIDATES - 1],
    named: bool,
}

impl Candidates {
    /// Returns the first keys that fit the algorithm, from `named` and then from `nameless`.
    /// Returns `None` if no key fits.
    pub(crate) fn of<'a>(
        named: impl Iterator<Item = &'a VerificationKey>,
        nameless: &'a [VerificationKey],
        algorithm: Algorithm,
    ) -> Option<Self> {
        let named = named.map(|key| (key, true));
        let mut keys = named.chain(nameless.iter().map(|key| (key, false))).filter(|(key, _)| key.fits(algorithm));
        let (first, named) = keys.next()?;
        let others = std::array::from_fn(|_| keys.next().map(|(key, _)| key.clone()));
        Some(Self { first: first.clone(), others, named })
    }

    /// Returns the keys, the best match first.
    pub fn iter(&self) -> impl Iterator<Item = &VerificationKey> {
        std::iter::once(&self.first).chain(self.others.iter().flatten())
    }

    /// True if a key has the `kid` of the token, or the token has none.
    pub(crate) fn is_named(&self) -> bool {
        self.named
    }

    /// Returns true if these are the same keys as `other`, read at the same time.
    pub(crate) fn are(&self, other: &Self) -> bool {
        self.iter().count() == other.iter().count() && self.iter().zip(other.iter()).all(|(key, other)| key.is(other))
    }

    /// Checks that one of the keys made the signature.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn verify(&self, jws: &CompactJws<'_>) -> Result<(), VerifyError> {
        if self.iter().any(|key| jws.verify_signature(key).is_ok()) { Ok(()) } else { Err(VerifyError::BadSignature) }
    }

    /// Like [`Self::verify`], but a signature in the memo is not checked again. `digest` is the
    /// digest of the signed bytes.
    pub(crate) fn verify_once(
        &self,
        jws: &CompactJws<'_>,
        digest: &[u8; 32],
        memo: &SignatureMemo,
    ) -> Result<(), VerifyError> {
        if self.iter().any(|key| memo.knows(digest, jws.signature(), key)) {
            return Ok(());
        }
        let signer = self.iter().find(|key| jws.verify_signature(key).is_ok()).ok_or(VerifyError::BadSignature)?;
        memo.remember(digest, jws.signature(), signer);
        Ok(())
    }
}
