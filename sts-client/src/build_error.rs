//! Why something could not be set up.

use std::path::PathBuf;

use crate::call::RouteError;
use crate::error::Error;

/// Why a [`crate::Verifier`], a [`crate::Sts`] or a [`crate::Propagator`] could not be made. A fault of the configuration, unless
/// [`BuildError::Fallback`] says that something is out of reach.
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
    /// The token that is to stand in for an STS out of reach could not be had beforehand.
    #[error("the service account's token for {route} could not be had")]
    Fallback {
        /// The route.
        route: Box<url::Url>,
        /// Why.
        #[source]
        source: Error,
    },
}

impl BuildError {
    pub(crate) fn contradiction(what: impl Into<String>) -> Self {
        Self::Contradiction(what.into())
    }
}

/// What is wrong with a configuration file, and where. It quotes no line: whoever writes a secret where its file should be named finds
/// it in no log.
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
