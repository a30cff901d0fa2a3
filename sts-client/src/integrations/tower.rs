//! For HTTP clients that are tower services: hyper's, and whatever is stacked upon one.
//!
//! ```
//! use http::{Request, Response};
//! use sts_client::integrations::tower::PropagateLayer;
//! use sts_client::{CallContext, Propagator};
//! use tower_layer::Layer;
//! use tower_service::Service;
//!
//! async fn call<C>(client: C, propagator: Propagator, context: CallContext) -> Result<Response<String>, C::Error>
//! where
//!     C: Service<Request<String>, Response = Response<String>> + Clone + Send + 'static,
//!     C::Future: Send,
//!     C::Error: From<sts_client::Error> + Send,
//! {
//!     let mut client = PropagateLayer::new(propagator).layer(client);
//!     let mut request = Request::new(String::new());
//!     *request.uri_mut() = http::Uri::from_static("https://inventory.shop.example/stock");
//!     // Not needed within `CallContext::scope`.
//!     request.extensions_mut().insert(context);
//!     client.call(request).await.map_err(|error| match error {
//!         sts_client::integrations::PropagateError::Propagation(error) => error.into(),
//!         sts_client::integrations::PropagateError::Inner(error) => error,
//!     })
//! }
//! ```

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Uri};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

use crate::context::CallContext;
use crate::error::Error;
use crate::integrations::PropagateError;
use crate::propagate::Propagator;

/// Puts [`Propagate`] around a client. Put it next to the client: what a layer below it adds, it cannot take off.
#[derive(Debug, Clone)]
pub struct PropagateLayer {
    propagator: Propagator,
}

impl PropagateLayer {
    /// A layer that propagates by these routes.
    #[must_use]
    pub fn new(propagator: Propagator) -> Self {
        Self { propagator }
    }
}

impl<S> Layer<S> for PropagateLayer {
    type Service = Propagate<S>;

    fn layer(&self, inner: S) -> Propagate<S> {
        Propagate { inner, propagator: self.propagator.clone() }
    }
}

/// A client whose every request bears what its route says, on behalf of the context that [`CallContext::find`] finds.
///
/// The URI of a request must be absolute. It is sent as the routes saw it, that is, normalised: `/v1/../x` goes out as `/x`. On an error the
/// inner client is not called.
#[derive(Debug, Clone)]
pub struct Propagate<S> {
    inner: S,
    propagator: Propagator,
}

impl<S, B> Service<Request<B>> for Propagate<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = PropagateError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(PropagateError::Inner)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The service that is ready goes into the future; the clone, which may not be, waits for the next poll.
        let clone = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, clone);
        let propagator = self.propagator.clone();
        // Found here and not in the future, which another task may poll.
        let context = CallContext::find(request.extensions());
        Box::pin(async move {
            prepare(&propagator, context, &mut request).await.map_err(PropagateError::Propagation)?;
            ready.call(request).await.map_err(PropagateError::Inner)
        })
    }
}

async fn prepare<B>(
    propagator: &Propagator,
    context: Result<CallContext, Error>,
    request: &mut Request<B>,
) -> Result<(), Error> {
    let context = context?;
    let url = absolute(request.uri())?;
    *request.uri_mut() = Uri::try_from(url.as_str()).map_err(|error| unusable(&error))?;
    propagator.apply(&context, &url, request.headers_mut()).await?;
    Ok(())
}

fn absolute(uri: &Uri) -> Result<Url, Error> {
    if uri.scheme().is_none() || uri.authority().is_none() {
        return Err(Error::misconfigured("the uri of the request is not absolute"));
    }
    Url::parse(&uri.to_string()).map_err(|error| unusable(&error))
}

/// Says why without the URI, whose query may hold what must not be logged.
fn unusable(error: &dyn std::error::Error) -> Error {
    Error::misconfigured(format!("the uri of the request cannot be used: {error}"))
}
