//! The only place that sends requests of this crate.

use std::sync::Arc;

use async_trait::async_trait;

/// An answer may have this many bytes.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Sends one HTTP request and reads its whole answer: at most [`MAX_ANSWER_BYTES`], no redirect followed, no proxy of the environment, no
/// retry. Implement it to bring another HTTP client, or faults for a test.
#[async_trait]
pub trait Transport: std::fmt::Debug + Send + Sync {
    /// Sends `request`, whose URI is absolute.
    ///
    /// # Errors
    /// See [`TransportError`].
    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, TransportError>;
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection, or it broke before the answer was whole.
    #[error("the request failed")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Not all done in time.
    #[error("not done in time")]
    TimedOut,
    /// More than [`MAX_ANSWER_BYTES`]: not an outage, but nothing that can be read.
    #[error("longer than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
}
