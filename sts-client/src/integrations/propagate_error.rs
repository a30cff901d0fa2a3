//! The error type of clients that wrap another client.

use crate::error::Error;

/// The failure of a call through a wrapped client, before or after the call was sent.
#[derive(Debug, thiserror::Error)]
pub enum PropagateError<E> {
    /// The call was not sent.
    #[error("the call was not sent")]
    Propagation(#[source] Error),
    /// The call was sent, and the wrapped client failed.
    #[error(transparent)]
    Inner(E),
}

impl<E> PropagateError<E> {
    /// Returns the error that prevented sending; `None` if the call was sent.
    ///
    /// ```
    /// use sts_client::integrations::PropagateError;
    /// use sts_client::{Error, RefusalCode};
    ///
    /// let error: PropagateError<std::io::Error> = PropagateError::Propagation(Error::Refused { code: RefusalCode::LOGIN_REQUIRED });
    /// assert!(error.propagation().is_some_and(|error| !error.is_retryable()));
    /// ```
    #[must_use]
    pub fn propagation(&self) -> Option<&Error> {
        match self {
            Self::Propagation(error) => Some(error),
            Self::Inner(_) => None,
        }
    }
}
