//! Which signatures have been checked, so that a token that comes again is not checked again.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::verification_key::VerificationKey;

/// How many signatures are remembered at most; another one takes the place of one of them.
const PLACES: usize = 4096;

/// Remembers that a key has signed something. It saves the public-key operation and nothing else: whoever looks up has found the key
/// anew, and checks times, revocations and all else as if the signature had just been verified.
///
/// A signature counts as known for the same signed bytes (by SHA-256), the same signature bytes and the same key, read at the same
/// time: a key set that was read again knows nothing of what its predecessor verified.
pub struct SignatureMemo {
    places: Box<[Mutex<Option<Checked>>]>,
}

struct Checked {
    digest: [u8; 32],
    signature: Vec<u8>,
    key: VerificationKey,
}

impl SignatureMemo {
    /// Whether `key` is known to have made `signature` over what has this digest.
    pub(crate) fn knows(&self, digest: &[u8; 32], signature: &[u8], key: &VerificationKey) -> bool {
        self.place(digest).is_some_and(|place| {
            let checked = place.lock().unwrap_or_else(PoisonError::into_inner);
            checked.as_ref().is_some_and(|checked| {
                checked.digest == *digest && checked.signature == signature && checked.key.is(key)
            })
        })
    }

    /// Remembers that the signature was verified.
    pub(crate) fn remember(&self, digest: &[u8; 32], signature: &[u8], key: &VerificationKey) {
        if let Some(place) = self.place(digest) {
            let checked = Checked { digest: *digest, signature: signature.to_vec(), key: key.clone() };
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(checked);
        }
    }

    /// The one place of a digest. Whoever makes tokens for it can push out others, and gains that they are checked again.
    fn place(&self, digest: &[u8; 32]) -> Option<&Mutex<Option<Checked>>> {
        let [first, second, ..] = *digest;
        self.places.get(usize::from(u16::from_be_bytes([first, second])) % PLACES)
    }
}

impl Default for SignatureMemo {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect() }
    }
}

impl fmt::Debug for SignatureMemo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureMemo").finish_non_exhaustive()
    }
}
