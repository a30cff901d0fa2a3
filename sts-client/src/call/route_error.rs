//! The faults of routes.

use http::HeaderName;
use url::Url;

/// The reason why a route is unusable. The configuration is at fault.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sts_client::{BuildError, Propagator, Route, RouteError, StartError};
///
/// let route = Route::to("http://inventory.shop.example/".parse()?).pass_through();
/// let refused = Propagator::builder().route(route).build().await.unwrap_err();
/// assert!(matches!(refused, StartError::Build(BuildError::Route(RouteError::PlainHttp(_)))));
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The URL has a scheme other than http(s), or has a user, password, query or fragment.
    #[error("the url of the route {0} is not an http(s) url of scheme, host and path alone")]
    Url(Url),
    /// Tokens would go over plain http to another machine.
    #[error("the route {0} is plain http: set allow_http if tokens may go there unencrypted")]
    PlainHttp(Url),
    /// Two routes have the same URL.
    #[error("two routes to {0}")]
    Twice(Url),
    /// The route forwards a header that must never be forwarded.
    #[error("the route {url} forwards the header {name}, which is never forwarded")]
    Header {
        /// The URL of the route.
        url: Url,
        /// The name of the header.
        name: HeaderName,
    },
}
