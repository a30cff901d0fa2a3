//! The file that holds an agent's keys. The keys survive a restart, and several processes can share
//! them.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sts_jose::{Algorithm, MAX_FILE_BYTES, SigningKey, read_file};
use tempfile::NamedTempFile;

use super::jwe::DecryptionKey;
use super::key_error::{AgentKeysError, KeyFileError, VERSION};
use super::keys::{AgentKeys, KeyState, Pair};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    present: StoredPair,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<StoredPair>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former: Vec<StoredPair>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPair {
    algorithm: Algorithm,
    /// The signing key: PKCS#8, base64.
    signing: String,
    decryption: Map<String, Value>,
}

impl AgentKeys {
    /// Reads the keys of this file. If the file does not exist, generates keys and writes them to
    /// it, with mode 0600.
    ///
    /// Processes that start at the same time with one file get the same keys. Blocks on the file
    /// system: call it at the start of a process.
    ///
    /// ```
    /// use sts_client::envelope::AgentKeys;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("agent-keys.json");
    /// let keys = AgentKeys::load_or_create(&path)?;
    /// assert_eq!(keys.jwks(), AgentKeys::load_or_create(&path)?.jwks());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AgentKeysError::File`], also for a file that other users can read. An existing file is
    /// never overwritten.
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Self, AgentKeysError> {
        let path = path.as_ref();
        if let Some(keys) = load(path)? {
            return Ok(keys);
        }
        let keys = Self::generate()?;
        match keys.write_beside(path)?.persist_noclobber(path) {
            Ok(_file) => Ok(keys),
            // Another process created the file first.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                let vanished = || io_error(path)(io::ErrorKind::NotFound.into());
                Ok(load(path)?.ok_or_else(vanished)?)
            }
            Err(error) => Err(io_error(path)(error.error).into()),
        }
    }

    /// Writes the keys to this file, with mode 0600, and replaces its contents. Call it after
    /// [`AgentKeys::announce`], [`AgentKeys::activate`] or [`AgentKeys::retire`]. A reader finds
    /// the former file or the new one, never a partial file.
    ///
    /// ```
    /// use sts_client::SigningKey;
    /// use sts_client::envelope::{AgentKeys, DecryptionKey};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("agent-keys.json");
    /// let keys = AgentKeys::load_or_create(&path)?;
    /// keys.announce(SigningKey::generate(sts_client::Algorithm::Es256)?, DecryptionKey::generate()?);
    /// keys.save(&path)?;
    /// assert_eq!(keys.jwks(), AgentKeys::load_or_create(&path)?.jwks());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`AgentKeysError::File`]: the file is unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), AgentKeysError> {
        let path = path.as_ref();
        self.write_beside(path)?.persist(path).map_err(|error| io_error(path)(error.error))?;
        Ok(())
    }

    /// Writes the keys to a temporary file beside `path` that only its owner can read.
    fn write_beside(&self, path: &Path) -> Result<NamedTempFile, KeyFileError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || {
            let document = serde_json::to_vec_pretty(&Document::of(&self.read())?)?;
            let mut file = NamedTempFile::new_in(folder)?;
            file.write_all(&document)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        write().map_err(io_error(path))
    }
}

impl Document {
    fn of(state: &KeyState) -> serde_json::Result<Self> {
        Ok(Self {
            version: VERSION,
            present: StoredPair::of(&state.present)?,
            next: state.next.as_ref().map(StoredPair::of).transpose()?,
            former: state.former.iter().map(StoredPair::of).collect::<Result<_, _>>()?,
        })
    }
}

fn load(path: &Path) -> Result<Option<AgentKeys>, KeyFileError> {
    let bytes = match read_private(path) {
        Ok(bytes) => bytes,
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // The cause is dropped: it could quote a part of a key.
    let malformed = || KeyFileError::Malformed { path: path.to_owned() };
    let document: Document = serde_json::from_slice(&bytes).or(Err(malformed()))?;
    if document.version != VERSION {
        return Err(malformed());
    }
    let present = document.present.read(path)?;
    let next = document.next.map(|pair| pair.read(path)).transpose()?;
    let former = document.former.into_iter().map(|pair| pair.read(path)).collect::<Result<_, _>>()?;
    Ok(Some(AgentKeys::of(KeyState { next, present, former })))
}

/// Reads a file that only its owner can read.
fn read_private(path: &Path) -> Result<Vec<u8>, KeyFileError> {
    #[cfg(unix)]
    {
        let metadata = std::fs::metadata(path).map_err(io_error(path))?;
        if std::os::unix::fs::MetadataExt::mode(&metadata) & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.to_owned() });
        }
    }
    read_file(path, MAX_FILE_BYTES).map_err(io_error(path))
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io { path: path.to_owned(), source }
}

impl StoredPair {
    fn of(pair: &Pair) -> serde_json::Result<Self> {
        Ok(Self {
            algorithm: pair.signing.algorithm(),
            signing: STANDARD.encode(&*pair.signing.to_pkcs8()),
            decryption: serde_json::from_str(pair.decryption.to_jwk().expose_secret())?,
        })
    }

    fn read(self, path: &Path) -> Result<Pair, KeyFileError> {
        let malformed = |_cause| KeyFileError::Malformed { path: path.to_owned() };
        let pkcs8 = STANDARD.decode(&self.signing).map_err(malformed)?;
        let signing = SigningKey::from_pkcs8(self.algorithm, &pkcs8)
            .map_err(|source| KeyFileError::Signing { path: path.to_owned(), source })?;
        let decryption = DecryptionKey::from_jwk(&self.decryption)
            .map_err(|source| KeyFileError::Decryption { path: path.to_owned(), source })?;
        Ok(Pair { signing: Arc::new(signing), decryption: Arc::new(decryption) })
    }
}
