//! The master key: what the database holds of secrets is sealed under it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sts_jose::{Entropy, MAX_FILE_BYTES, read_text_file};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::storage::RowCodes;

/// The length of the master key, in bytes.
const KEY_BYTES: usize = 32;

/// The key that seals the signing keys at rest (AES-256-GCM), and from which the keys of the audit chain and of the rows' codes are
/// derived (HKDF-SHA-256).
///
/// Whoever has the database without it can neither sign a token nor write an audit row that verifies. Debug shows nothing.
pub struct MasterKey {
    sealing: LessSafeKey,
    audit: hmac::Key,
    audit_secret: Zeroizing<[u8; KEY_BYTES]>,
    rows_secret: Zeroizing<[u8; KEY_BYTES]>,
}

/// The master key cannot be used, or does not fit what it shall open. The operator's to mend.
#[derive(Debug, Error)]
pub enum SealError {
    /// The file cannot be read or written.
    #[error("the master key file {path} cannot be used")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file does not hold one line of base64 of 32 bytes.
    #[error("the master key file {0} does not hold one line, the base64 of 32 bytes")]
    Content(String),
    /// The sealed bytes are not of this master key, or were altered, or belong to another key.
    #[error("a sealed key does not open under this master key")]
    Open,
    /// The cryptography failed.
    #[error("sealing failed")]
    Crypto,
}

impl MasterKey {
    /// Reads the key file.
    ///
    /// # Errors
    /// [`SealError::File`] and [`SealError::Content`].
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::File { path: path.display().to_string(), source };
        let text = Zeroizing::new(read_text_file(path, MAX_FILE_BYTES).map_err(failed)?);
        let content = || SealError::Content(path.display().to_string());
        // The cause would quote the key.
        let bytes = Zeroizing::new(STANDARD.decode(text.trim_end_matches(['\r', '\n'])).or(Err(content()))?);
        let bytes: &[u8; KEY_BYTES] = bytes.as_slice().try_into().or(Err(content()))?;
        Self::new(bytes)
    }

    /// Writes a new key file, readable by its owner alone; an existing file is left as it is and is an error.
    ///
    /// # Errors
    /// [`SealError::File`].
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<(), SealError> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        entropy.fill(bytes.as_mut_slice());
        let line = Zeroizing::new(format!("{}\n", STANDARD.encode(bytes.as_slice())));
        write_private(path, line.as_bytes())
            .map_err(|source| SealError::File { path: path.display().to_string(), source })
    }

    /// The key of these bytes.
    ///
    /// # Errors
    /// [`SealError::Crypto`].
    pub fn new(bytes: &[u8; KEY_BYTES]) -> Result<Self, SealError> {
        let root = Salt::new(HKDF_SHA256, b"agent-sts").extract(bytes);
        let derive = |purpose: &'static [u8]| {
            let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
            let info = [purpose];
            let derived = root.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(key.as_mut_slice()));
            derived.map(|()| key).or(Err(SealError::Crypto))
        };
        let audit_secret = derive(b"audit chain")?;
        let audit = hmac::Key::new(hmac::HMAC_SHA256, audit_secret.as_slice());
        // The master key itself seals, as its documentation says; the derived one must not be computable from sealed data.
        let sealing = UnboundKey::new(&AES_256_GCM, bytes).or(Err(SealError::Crypto))?;
        let rows_secret = derive(b"row codes")?;
        Ok(Self { sealing: LessSafeKey::new(sealing), audit, audit_secret, rows_secret })
    }

    /// The key of the audit chain.
    #[must_use]
    pub fn audit(&self) -> &hmac::Key {
        &self.audit
    }

    /// The codes of the rows that servers hold in memory.
    #[must_use]
    pub fn row_codes(&self, entropy: &Arc<dyn Entropy>) -> RowCodes {
        RowCodes::new(self.rows_secret.as_slice(), Arc::clone(entropy))
    }

    /// The bytes of the key of the audit chain, to be sealed under the next master key.
    pub(super) fn audit_secret(&self) -> &[u8] {
        self.audit_secret.as_slice()
    }

    /// Seals `plain` for the owner that `name` says; gives the nonce and the sealed bytes.
    ///
    /// # Errors
    /// [`SealError::Crypto`].
    pub fn seal(&self, name: &str, plain: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0_u8; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut sealed = plain.to_vec();
        let additional = Aad::from(name.as_bytes());
        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), additional, &mut sealed)
            .or(Err(SealError::Crypto))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`MasterKey::seal`] gave for the same `name`.
    ///
    /// # Errors
    /// [`SealError::Open`], whatever is wrong with it.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).or(Err(SealError::Open))?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let plain = self.sealing.open_in_place(nonce, Aad::from(name.as_bytes()), &mut opened);
        let length = plain.or(Err(SealError::Open))?.len();
        opened.truncate(length);
        Ok(opened)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").finish_non_exhaustive()
    }
}

/// Writes a new file that only its owner may read.
///
/// # Errors
/// What the file system says; `AlreadyExists` when there is one.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use sts_jose::SystemEntropy;

    use super::*;

    fn sealed(key: &MasterKey) -> Vec<u8> {
        key.seal("a", b"secret", &SystemEntropy).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_again() {
        let key = MasterKey::new(&[7; 32]).unwrap();
        assert_eq!(key.open("a", &sealed(&key)).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn another_name_another_key_or_another_bit_does_not_open() {
        let key = MasterKey::new(&[7; 32]).unwrap();
        let sealed = sealed(&key);
        assert!(key.open("b", &sealed).is_err());
        assert!(MasterKey::new(&[8; 32]).unwrap().open("a", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.open("a", &altered).is_err(), "byte {at}");
        }
        assert!(key.open("a", &sealed[..5]).is_err());
    }

    #[test]
    fn the_key_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        MasterKey::create(&path, &SystemEntropy).unwrap();
        MasterKey::read(&path).unwrap();
        assert!(MasterKey::create(&path, &SystemEntropy).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
