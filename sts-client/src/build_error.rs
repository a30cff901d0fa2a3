//! Errors in the configuration of a verifier, an STS client or a propagator.

use std::path::PathBuf;

use crate::call::RouteError;

/// An error in the configuration of a [`crate::Verifier`], a [`crate::Sts`] or a
/// [`crate::Propagator`].
///
/// ```
/// use sts_client::{BuildError, Verifier};
///
/// let error = Verifier::builder(["inventory"]).build().unwrap_err();
/// assert!(matches!(error, BuildError::Contradiction(_)));
/// println!("{error}"); // names what is missing: an issuer
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A route is not usable.
    #[error("a route cannot be used")]
    Route(#[from] RouteError),
    /// The configuration file is malformed; the message has the line number.
    #[error("the configuration cannot be read")]
    Toml(#[source] TomlError),
    /// A file that the configuration names cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The error of the file system.
        #[source]
        source: std::io::Error,
    },
    /// A private key file holds no private key.
    #[error("{} contains no private key", path.display())]
    Key {
        /// The path of the file.
        path: PathBuf,
        /// The error of the key parser.
        #[source]
        source: sts_jose::SigningKeyError,
    },
    /// The key for proofs of possession could not be generated.
    #[error("no key for proofs of possession can be generated")]
    ProofKey(#[from] sts_jose::SigningKeyError),
    /// The HTTP client could not be built.
    #[error("failed to create the http client")]
    Http(#[from] sts_jose::HttpClientError),
    /// A required value is missing, or two values contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

impl BuildError {
    pub(crate) fn contradiction(what: impl Into<String>) -> Self {
        Self::Contradiction(what.into())
    }
}

/// The error in a configuration file, with its line. Never quotes the file, so that a secret in the
/// wrong place is not logged.
///
/// ```
/// use sts_client::{BuildError, Verifier};
///
/// let agent_toml = "[inbound]\naudiance = [\"inventory\"]\n";
/// let Err(BuildError::Toml(error)) = Verifier::from_toml(agent_toml) else { panic!("the key is misspelt") };
/// assert!(error.to_string().starts_with("line 2"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TomlError {
    line: usize,
    message: String,
}

impl TomlError {
    /// Makes the error from the parser's `error` on `text`.
    pub(crate) fn new(error: &toml::de::Error, text: &str) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Self { line: 1 + before.matches('\n').count(), message: error.message().to_owned() }
    }
}
