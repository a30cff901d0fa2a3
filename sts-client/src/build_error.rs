//! Faults of a configuration.

use std::path::PathBuf;

use crate::call::RouteError;

/// A fault of the configuration of a [`crate::Verifier`], a [`crate::Sts`] or a [`crate::Propagator`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A route that cannot be honoured.
    #[error("a route cannot be honoured")]
    Route(#[from] RouteError),
    /// The configuration file is not what it should be; the message has the number of the line.
    #[error("the configuration cannot be read")]
    Toml(#[source] TomlError),
    /// A file that the configuration names cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of a private key holds none.
    #[error("{} holds no private key", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sts_jose::SigningKeyError,
    },
    /// No HTTP client can be made.
    #[error("no http client can be made")]
    Http(#[from] sts_jose::HttpClientError),
    /// Something is absent, or two things contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

impl BuildError {
    pub(crate) fn contradiction(what: impl Into<String>) -> Self {
        Self::Contradiction(what.into())
    }
}

/// The fault of a configuration file, with its line. Never quotes the file, so that a secret in the wrong place is not logged.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TomlError {
    line: usize,
    message: String,
}

impl TomlError {
    /// `error` came of reading `text`.
    pub(crate) fn new(error: &toml::de::Error, text: &str) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        Self { line: 1 + before.matches('\n').count(), message: error.message().to_owned() }
    }
}
