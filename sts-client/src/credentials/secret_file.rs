//! Secrets in files. A changed file is read again, so a rotation needs no restart.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sts_jose::{Algorithm, BoundedFile, FileContent, FileVersion, MAX_FILE_BYTES, SigningKey};
use tokio::sync::Semaphore;

use crate::build_error::BuildError;

/// A client secret in a file. Surrounding white space is ignored.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("secret");
/// # std::fs::write(&path, "hunter2\n")?;
/// use std::sync::Arc;
/// use sts_client::{Credentials, SecretFile, Sts};
///
/// let secret = Arc::new(SecretFile::client_secret(&path)?);
/// let sts = Sts::builder("https://sts.example.com", "inventory", Credentials::ClientSecretFile(secret)).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type SecretFile = WatchedFile<SecretString>;

/// A private key in a file, in PKCS#8 as DER or as PEM (RFC 7468 §10).
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("key.der");
/// use sts_client::{Algorithm, PrivateKeyFile, SigningKey};
///
/// let key = SigningKey::generate(Algorithm::Es256)?;
/// std::fs::write(&path, &*key.to_pkcs8())?;
/// let file = PrivateKeyFile::private_key(&path, Algorithm::Es256)?;
/// // An Ed25519 key is not what the file holds.
/// assert!(PrivateKeyFile::private_key(&path, Algorithm::EdDsa).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type PrivateKeyFile = WatchedFile<std::sync::Arc<SigningKey>>;

/// A secret in a file. The file is checked on each use, and read again if it has changed. If the
/// new content cannot be read or used, the previous secret stays in use, and a single warning is
/// logged.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("secret");
/// use sts_client::SecretFile;
///
/// assert!(SecretFile::client_secret(&path).is_err(), "at start the file must be there");
/// std::fs::write(&path, "hunter2\n")?;
/// let secret = SecretFile::client_secret(&path)?;
/// assert!(!format!("{secret:?}").contains("hunter2"), "Debug shows the path alone");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WatchedFile<T> {
    file: BoundedFile,
    parse: Parse<T>,
    last: Mutex<(FileVersion, T)>,
    is_failing: AtomicBool,
    /// The right to look at the file.
    looks: Semaphore,
}

/// A function that parses the content of a file into a secret.
type Parse<T> = Box<dyn Fn(SecretSlice<u8>) -> Result<T, BuildError> + Send + Sync>;

impl WatchedFile<SecretString> {
    /// Reads the client secret from a file of at most 512 KiB.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// use sts_client::{Credentials, SecretFile};
    ///
    /// let credentials = Credentials::ClientSecretFile(Arc::new(SecretFile::client_secret("/run/secrets/sts")?));
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::File`] if the file cannot be read as text; [`BuildError::Contradiction`] if it
    /// is empty.
    pub fn client_secret(path: impl Into<PathBuf>) -> Result<Self, BuildError> {
        let path = path.into();
        let parse = {
            let path = path.clone();
            move |bytes: SecretSlice<u8>| {
                let not_text = |_bytes| std::io::Error::new(std::io::ErrorKind::InvalidData, "not UTF-8");
                let text = std::str::from_utf8(bytes.expose_secret()).map_err(not_text);
                match text.map(str::trim) {
                    Ok("") => Err(BuildError::contradiction(format!("{} is empty", path.display()))),
                    Ok(secret) => Ok(SecretString::from(secret)),
                    Err(source) => Err(BuildError::File { path: path.clone(), source }),
                }
            }
        };
        Self::open(path, Box::new(parse))
    }
}

impl WatchedFile<std::sync::Arc<SigningKey>> {
    /// Reads a private key for this algorithm from a file of at most 512 KiB.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// use sts_client::{Algorithm, Credentials, PrivateKeyFile};
    ///
    /// let key = PrivateKeyFile::private_key("/run/secrets/key.pem", Algorithm::Es256)?;
    /// let credentials = Credentials::PrivateKeyFile(Arc::new(key));
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::File`] if the file cannot be read; [`BuildError::Key`] if it contains no such
    /// key.
    pub fn private_key(path: impl Into<PathBuf>, algorithm: Algorithm) -> Result<Self, BuildError> {
        let path = path.into();
        let parse = {
            let path = path.clone();
            move |content: SecretSlice<u8>| {
                let der = der_of_pem(content.expose_secret());
                let der = der.as_ref().map_or(content.expose_secret(), |der| der.expose_secret());
                let key = SigningKey::from_pkcs8(algorithm, der);
                key.map(std::sync::Arc::new).map_err(|source| BuildError::Key { path: path.clone(), source })
            }
        };
        Self::open(path, Box::new(parse))
    }
}

impl<T: Clone> WatchedFile<T> {
    fn open(path: PathBuf, parse: Parse<T>) -> Result<Self, BuildError> {
        let file = BoundedFile::new(&path, MAX_FILE_BYTES);
        let (version, bytes) = file.read_now().map_err(|source| BuildError::File { path, source })?;
        let secret = parse(bytes.into())?;
        Ok(Self {
            file,
            parse,
            last: Mutex::new((version, secret)),
            is_failing: AtomicBool::new(false),
            looks: Semaphore::new(1),
        })
    }

    /// Returns the current secret. Reads the file again if it has changed. During another call's look at
    /// the file, returns the secret from before.
    pub(crate) async fn current(&self) -> T {
        let (known, last) = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Ok(_right) = self.looks.try_acquire() else { return last };
        let read = self.file.read_if_changed(Some(known)).await;
        let changed = match read.map_err(|source| BuildError::File { path: self.file.path().to_owned(), source }) {
            Ok(FileContent::Unchanged) => None,
            Ok(FileContent::Changed(version, bytes)) => {
                Some((self.parse)(bytes.into()).map(|secret| (version, secret)))
            }
            Err(error) => Some(Err(error)),
        };
        let (is_failing, current) = match changed {
            None => (false, last),
            Some(Ok((version, secret))) => {
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (version, secret.clone());
                tracing::info!(file = %self.file.path().display(), "read a changed secret");
                (false, secret)
            }
            Some(Err(error)) => {
                if !self.is_failing.load(Ordering::Relaxed) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "failed to read a secret again: the one from before stays in use");
                }
                (true, last)
            }
        };
        self.is_failing.store(is_failing, Ordering::Relaxed);
        current
    }
}

impl<T> fmt::Debug for WatchedFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFile").field("path", &self.file.path()).finish_non_exhaustive()
    }
}

/// Returns the decoded content between the first pair of PEM markers; `None` if the content is not
/// such a PEM.
fn der_of_pem(content: &[u8]) -> Option<SecretSlice<u8>> {
    let (_, rest) = std::str::from_utf8(content).ok()?.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let body = SecretString::from(body.split_ascii_whitespace().collect::<String>());
    STANDARD.decode(body.expose_secret()).ok().map(SecretSlice::from)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::join_all;
    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn a_changed_file_is_read_by_one_of_the_calls_at_the_same_time() {
        let folder = TempDir::new().unwrap();
        let (path, parsed) = (folder.path().join("secret"), Arc::new(AtomicUsize::new(0)));
        std::fs::write(&path, "first").unwrap();
        let counted = Arc::clone(&parsed);
        let parse = move |_content| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        let file = WatchedFile::open(path.clone(), Box::new(parse)).unwrap();
        std::fs::write(&path, "another").unwrap();
        join_all((0..10).map(|_| file.current())).await;
        assert_eq!(parsed.load(Ordering::SeqCst), 2, "at the start, and once after the change");
    }
}
