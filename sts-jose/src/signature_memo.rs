//! The memo of verified signatures. A token that is presented again is not verified again.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::verification_key::VerificationKey;

/// The maximum number of remembered signatures. A new signature then replaces an older one.
const PLACES: usize = 4096;

/// The record of signatures that a key has made. It saves only the public-key operation. The caller
/// looks up the key again, and checks times, revocations and everything else as after a
/// verification.
///
/// A known signature has the same signed bytes (by SHA-256), the same signature bytes and the same
/// key, read at the same time. After a key set is read again, earlier verifications do not count.
pub struct SignatureMemo {
    places: Box<[Mutex<Option<Checked>>]>,
}

struct Checked {
    digest: [u8; 32],
    signature: Vec<u8>,
    key: VerificationKey,
}

impl SignatureMemo {
    /// Returns true if `key` is known to have made `signature` over the bytes with this digest.
    pub(crate) fn knows(&self, digest: &[u8; 32], signature: &[u8], key: &VerificationKey) -> bool {
        self.place(digest).is_some_and(|place| {
            let checked = place.lock().unwrap_or_else(PoisonError::into_inner);
            checked.as_ref().is_some_and(|checked| {
                checked.digest == *digest && checked.signature == signature && checked.key.is(key)
            })
        })
    }

    /// Records that the signature was verified.
    pub(crate) fn remember(&self, digest: &[u8; 32], signature: &[u8], key: &VerificationKey) {
        if let Some(place) = self.place(digest) {
            let checked = Checked { digest: *digest, signature: signature.to_vec(), key: key.clone() };
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(checked);
        }
    }

    /// Returns the only place for a digest. An attacker can make tokens that displace others, which
    /// are then merely verified again.
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
