//! The bearer of a loopback listener: a secret in a file that only the agent's user can read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use secrecy::{ExposeSecret as _, SecretString};
use sts_client::Entropy;
use sts_jose::read_text_file;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// The minimum length of a bearer, in characters.
const MIN_CHARS: usize = 32;
/// The maximum length of the file, in bytes.
const MAX_BYTES: usize = 1024;

/// The bearer cannot be used.
#[derive(Debug, Error)]
pub enum BearerError {
    /// The file cannot be read or made.
    #[error("the bearer file {} cannot be used", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        source: io::Error,
    },
    /// Other users may read the file.
    #[error("other users may read the bearer file {}: chmod 0600 it", .0.display())]
    Open(PathBuf),
    /// The bearer is too short.
    #[error("the bearer file {} needs at least {MIN_CHARS} characters without spaces", .0.display())]
    Short(PathBuf),
}

/// The secret that each request must show.
#[derive(Debug)]
pub(crate) struct Bearer(SecretString);

impl Bearer {
    /// Reads the bearer from its file, or writes a new one there.
    pub(crate) fn at(path: &Path, entropy: &dyn Entropy) -> Result<Self, BearerError> {
        let failed = |source| BearerError::File { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => Err(BearerError::Open(path.to_owned())),
            Ok(_) => {
                let text = read_text_file(path, MAX_BYTES).map_err(failed)?;
                let bearer = text.trim();
                let is_usable = bearer.len() >= MIN_CHARS && bearer.bytes().all(|byte| byte.is_ascii_graphic());
                is_usable.then(|| Self(bearer.into())).ok_or_else(|| BearerError::Short(path.to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; 32];
                entropy.fill(&mut bytes);
                let bearer = sts_jose::hex(&bytes);
                let mut options = OpenOptions::new();
                let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
                file.write_all(bearer.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
                Ok(Self(bearer.into()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns true if the headers have the bearer, once. Takes the same time for every wrong one.
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let shown = value.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
        shown.ct_eq(self.0.expose_secret().as_bytes()).into()
    }
}
