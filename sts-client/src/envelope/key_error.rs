//! Failures of the keys of an agent, and of their file.

use std::io;
use std::path::PathBuf;

use sts_jose::SigningKeyError;

use super::jwe::DecryptionKeyError;

/// The version of the key file.
pub(super) const VERSION: u32 = 1;

/// The failure to make, read or write keys.
#[derive(Debug, thiserror::Error)]
pub enum AgentKeysError {
    /// No signing key could be made.
    #[error("there is no signing key")]
    Signing(#[from] SigningKeyError),
    /// No decryption key could be made.
    #[error("there is no decryption key")]
    Decryption(#[from] DecryptionKeyError),
    /// The file of keys was not read or written.
    #[error("the keys could not be read from their file or written to it")]
    File(#[from] KeyFileError),
}

/// An error of reading or writing a key file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file system refused. The message names the file.
    #[error("failed to access the key file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read it. The message says what to do.
    #[error("the key file {path} can be read by others: set its mode to 0600")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file is not one that [`AgentKeys::save`](super::AgentKeys::save) wrote.
    #[error("the key file {path} is not a file of agent keys of version {VERSION}")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A signing key in it cannot be used.
    #[error("the key file {path} holds a signing key that cannot be used")]
    Signing {
        /// The file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: SigningKeyError,
    },
    /// A decryption key in it cannot be used.
    #[error("the key file {path} holds a decryption key that cannot be used")]
    Decryption {
        /// The file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: DecryptionKeyError,
    },
}
