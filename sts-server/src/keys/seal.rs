//! The master key, under which the database's secrets are sealed.

use std::fmt;
use std::io::ErrorKind;
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
/// The command that makes a key. The path of the file follows.
const COMMAND: &str = "; for a new database, make a key: openssl rand -base64 32 > ";

/// The key that seals the signing keys at rest (AES-256-GCM). The keys of the audit chain and of
/// the rows' codes are derived from it (HKDF-SHA-256).
///
/// A party that has the database but not this key can neither sign a token nor write a valid audit
/// row. `Debug` shows no key.
pub struct MasterKey {
    sealing: LessSafeKey,
    audit: hmac::Key,
    audit_secret: Zeroizing<[u8; KEY_BYTES]>,
    proof_nonces: hmac::Key,
    rows_secret: Zeroizing<[u8; KEY_BYTES]>,
    deferrals: LessSafeKey,
}

/// A master key that cannot be used or does not fit the sealed data. The operator must fix it.
#[derive(Debug, Error)]
pub enum SealError {
    /// The file cannot be read or written.
    #[error("the master key file {path} cannot be used")]
    File {
        /// The path of the file.
        path: String,
        /// The cause of the failure.
        #[source]
        source: std::io::Error,
    },
    /// The file does not exist.
    #[error("the master key file {0} does not exist{COMMAND}{0}")]
    Missing(String),
    /// The file does not contain a single line with 32 bytes in base64.
    #[error("the master key file {path} must hold one line, the base64 of 32 bytes, but holds {found}{COMMAND}{path}")]
    Content {
        /// The path of the file.
        path: String,
        /// A description of the content, without the content.
        found: String,
    },
    /// The sealed bytes belong to another master key or another name, or were altered.
    #[error("keys.master_key_file is not the master key that the database is sealed with")]
    Open,
    /// The cryptographic operation failed.
    #[error("sealing failed")]
    Crypto,
}

impl MasterKey {
    /// Reads the master key from its file.
    ///
    /// # Errors
    /// [`SealError::File`], [`SealError::Missing`] and [`SealError::Content`].
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let content = |found: String| SealError::Content { path: path.display().to_string(), found };
        let text = Zeroizing::new(read_text_file(path, MAX_FILE_BYTES).map_err(|source| match source.kind() {
            ErrorKind::InvalidData => content("bytes that are not text".to_owned()),
            ErrorKind::NotFound => SealError::Missing(path.display().to_string()),
            _ => SealError::File { path: path.display().to_string(), source },
        })?);
        let line = text.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Err(content("nothing".to_owned()));
        }
        // Drops the cause, which would quote the key.
        let bytes = STANDARD.decode(line).or(Err(content("a text that is not base64".to_owned())));
        let bytes = Zeroizing::new(bytes?);
        let held = bytes.len();
        let bytes = bytes.as_slice().try_into();
        let bytes: &[u8; KEY_BYTES] = bytes.or(Err(content(format!("the base64 of {held} bytes"))))?;
        Self::new(bytes)
    }

    /// Writes a new key file, readable only by its owner. Fails without a change if the file
    /// exists.
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

    /// Creates the master key from its bytes, and derives its other keys.
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
        // The master key itself seals, as documented. Sealed data must not reveal the derived keys.
        let sealing = UnboundKey::new(&AES_256_GCM, bytes).or(Err(SealError::Crypto))?;
        let rows_secret = derive(b"row codes")?;
        let proof_nonces = hmac::Key::new(hmac::HMAC_SHA256, derive(b"dpop nonces")?.as_slice());
        let deferrals = derive(b"deferral codes")?;
        let deferrals = UnboundKey::new(&AES_256_GCM, deferrals.as_slice()).or(Err(SealError::Crypto))?;
        let (sealing, deferrals) = (LessSafeKey::new(sealing), LessSafeKey::new(deferrals));
        Ok(Self { sealing, audit, audit_secret, proof_nonces, rows_secret, deferrals })
    }

    /// Returns the key of the audit chain.
    #[must_use]
    pub fn audit(&self) -> &hmac::Key {
        &self.audit
    }

    /// Returns the key of the nonces of DPoP proofs.
    #[must_use]
    pub fn proof_nonces(&self) -> &hmac::Key {
        &self.proof_nonces
    }

    /// Returns the codes of the rows of the tables that servers cache.
    #[must_use]
    pub fn row_codes(&self, entropy: &Arc<dyn Entropy>) -> RowCodes {
        RowCodes::new(self.rows_secret.as_slice(), Arc::clone(entropy))
    }

    /// Returns the bytes of the audit chain's key, to seal them under the next master key.
    pub(super) fn audit_secret(&self) -> &[u8] {
        self.audit_secret.as_slice()
    }

    /// Seals `plain` for the owner `name`. Returns the nonce and the sealed bytes.
    ///
    /// # Errors
    /// [`SealError::Crypto`].
    pub fn seal(&self, name: &str, plain: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, SealError> {
        seal(&self.sealing, name, plain, entropy)
    }

    /// Opens the bytes that [`MasterKey::seal`] returned for the same `name`.
    ///
    /// # Errors
    /// [`SealError::Open`] for every kind of failure.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open(&self.sealing, name, sealed)
    }

    /// Seals the content of a deferral code, under a key of its own. Returns the nonce and the
    /// sealed bytes.
    ///
    /// # Errors
    /// [`SealError::Crypto`].
    pub fn seal_deferral(&self, plain: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, SealError> {
        seal(&self.deferrals, "", plain, entropy)
    }

    /// Opens the content of a deferral code.
    ///
    /// # Errors
    /// [`SealError::Open`] for every kind of failure.
    pub fn open_deferral(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        open(&self.deferrals, "", sealed)
    }
}

fn seal(key: &LessSafeKey, name: &str, plain: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0_u8; NONCE_LEN];
    entropy.fill(&mut nonce);
    let mut sealed = plain.to_vec();
    let additional = Aad::from(name.as_bytes());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), additional, &mut sealed)
        .or(Err(SealError::Crypto))?;
    Ok([nonce.as_slice(), &sealed].concat())
}

fn open(key: &LessSafeKey, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).or(Err(SealError::Open))?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let plain = key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut opened);
    let length = plain.or(Err(SealError::Open))?.len();
    opened.truncate(length);
    Ok(opened)
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").finish_non_exhaustive()
    }
}

/// Creates a file that only its owner may read.
///
/// # Errors
/// The error of the file system; `AlreadyExists` if the file exists.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = create_private(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Creates an empty file that only its owner may read.
///
/// # Errors
/// The error of the file system; `AlreadyExists` if the file exists.
pub fn create_private(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
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
