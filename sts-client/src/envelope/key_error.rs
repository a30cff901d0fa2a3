//! The errors of an agent's keys and their file.

use std::io;
use std::path::PathBuf;

use sts_jose::SigningKeyError;

use super::jwe::DecryptionKeyError;

/// The version of the key file format.
pub(super) const VERSION: u32 = 1;

/// The reason why keys could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum AgentKeysError {
    /// The signing key could not be made.
    #[error("there is no signing key")]
    Signing(#[from] SigningKeyError),
    /// The decryption key could not be made.
    #[error("there is no decryption key")]
    Decryption(#[from] DecryptionKeyError),
    /// The key file could not be read or written.
    #[error("the keys could not be read from their file or written to it")]
    File(#[from] KeyFileError),
}

/// An error of reading or writing a key file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file system reported an error. The message names the file.
    #[error("failed to access the key file {path}")]
    Io {
        /// The path of the key file.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        source: io::Error,
    },
    /// Users other than the owner can read the file. The message names the fix.
    #[error("the key file {path} can be read by others: set its mode to 0600")]
    Exposed {
        /// The path of the key file.
        path: PathBuf,
    },
    /// The file does not have the format of [`AgentKeys::save`](super::AgentKeys::save).
    #[error("the key file {path} is not a file of agent keys of version {VERSION}")]
    Malformed {
        /// The path of the key file.
        path: PathBuf,
    },
    /// A signing key in the file is unusable.
    #[error("the key file {path} holds a signing key that cannot be used")]
    Signing {
        /// The path of the key file.
        path: PathBuf,
        /// The error of the signing key.
        #[source]
        source: SigningKeyError,
    },
    /// A decryption key in the file is unusable.
    #[error("the key file {path} holds a decryption key that cannot be used")]
    Decryption {
        /// The path of the key file.
        path: PathBuf,
        /// The error of the decryption key.
        #[source]
        source: DecryptionKeyError,
    },
}
