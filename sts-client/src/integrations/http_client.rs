//! An HTTP client fit for calls that bear tokens.

use std::time::Duration;

use sts_jose::HttpClientError;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An HTTP client fit for calls that bear tokens, for the clients that are built on reqwest.
///
/// It follows no redirect. The token was chosen for the URL of the call: reqwest takes `Authorization` off when a redirect leads to another
/// host, but not when it leads out of the route on the same one, and the tenant and all that is forwarded would go along even to another
/// host. A redirect comes back as the answer that it is. It keeps no cookies and reads no proxy from the environment. Connecting takes at
/// most 5 s; how long the call may take is the caller's to say, since streams are calls too.
///
/// # Errors
/// [`HttpClientError::Build`] when the machine's trust store cannot be used.
pub fn http_client() -> Result<::reqwest::Client, HttpClientError> {
    let builder = ::reqwest::Client::builder()
        .redirect(::reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .tls_backend_rustls();
    Ok(builder.build()?)
}
