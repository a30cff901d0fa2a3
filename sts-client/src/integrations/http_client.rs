//! An HTTP client fit for calls that carry tokens.

use sts_jose::HttpClientError;

use crate::net::HttpOptions;

/// An HTTP client fit for calls that carry tokens, for the clients that are built on reqwest: that of the default [`HttpOptions`]. An agent
/// that has a propagator takes [`Propagator::http_client`](crate::Propagator::http_client), which follows the agent's file.
///
/// # Errors
/// [`HttpClientError::Build`] when the machine's trust store cannot be used.
pub fn http_client() -> Result<::reqwest::Client, HttpClientError> {
    HttpOptions::default().build()
}
