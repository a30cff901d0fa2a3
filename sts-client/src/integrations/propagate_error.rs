//! The error of what wraps another client.

use crate::error::Error;

/// Why a call through a wrapped client failed: before it was sent, or after.
#[derive(Debug, thiserror::Error)]
pub enum PropagateError<E> {
    /// Nothing was sent.
    #[error("the call was not sent")]
    Propagation(#[source] Error),
    /// The wrapped client failed.
    #[error(transparent)]
    Inner(E),
}

impl<E> PropagateError<E> {
    /// Why nothing was sent; `None` when something was.
    #[must_use]
    pub fn propagation(&self) -> Option<&Error> {
        match self {
            Self::Propagation(error) => Some(error),
            Self::Inner(_) => None,
        }
    }
}
