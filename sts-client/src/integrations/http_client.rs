//! An HTTP client for calls that carry tokens.

use sts_jose::HttpClientError;

use crate::net::HttpOptions;

/// Returns an HTTP client for calls that carry tokens, with the default [`HttpOptions`]. Use it
/// with clients that are built on reqwest. An agent with a propagator should use
/// [`Propagator::http_client`](crate::Propagator::http_client), which follows the agent's file.
///
/// ```
/// let http = sts_client::integrations::http_client()?;
/// # Ok::<(), sts_client::HttpClientError>(())
/// ```
///
/// # Errors
/// [`HttpClientError::Build`] if the machine's trust store cannot be used.
pub fn http_client() -> Result<::reqwest::Client, HttpClientError> {
    HttpOptions::default().build()
}
