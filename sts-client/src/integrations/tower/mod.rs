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

mod body;

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

use crate::call::{CallContext, MissingContext};
use crate::error::Error;
use crate::integrations::PropagateError;
use crate::integrations::challenge::refuses_token;
use crate::propagate::again::Sent;
use crate::propagate::{Operation, Propagator};

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

/// A client whose every request carries what its route says, on behalf of the context that [`CallContext::find`] finds.
///
/// Where the target answers 401 with `error="invalid_token"` (in gRPC: `UNAUTHENTICATED` with such a challenge), its token is dropped, and
/// the call is made once more with another, if its body is held in memory: `()`, `String`, `Vec<u8>`, `Bytes`, `Full<Bytes>` or
/// `Empty<Bytes>`. Both carry one idempotency key.
/// A layer outside of this one that tries again makes a new operation of each attempt, unless the request names its operation:
/// [`CallContext::for_operation`], or an `Idempotency-Key` of its own.
///
/// The URI of a request must be absolute. It is sent as the routes saw it, that is, normalised: `/v1/../x` goes out as `/x`. On an error the
/// inner client is not called.
#[derive(Debug, Clone)]
pub struct Propagate<S> {
    inner: S,
    propagator: Propagator,
}

impl<S, B, R> Service<Request<B>> for Propagate<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: Send,
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
            let url = normalise(&mut request).map_err(PropagateError::Propagation)?;
            let again = cloned(&request);
            let prepared = prepare(&propagator, context, url, &mut request).await;
            let sent = prepared.map_err(PropagateError::Propagation)?;
            let response = ready.call(request).await.map_err(PropagateError::Inner)?;
            if !refuses_token(response.status(), response.headers()) {
                return Ok(response);
            }
            // Also where it cannot be made again, for the calls after it.
            let mut headers = again.as_ref().map(|again| again.headers().clone()).unwrap_or_default();
            match (propagator.prepare_again(&sent, &mut headers).await, again) {
                (true, Some(mut again)) => {
                    *again.headers_mut() = headers;
                    poll_fn(|cx| ready.poll_ready(cx)).await.map_err(PropagateError::Inner)?;
                    ready.call(again).await.map_err(PropagateError::Inner)
                }
                _ => Ok(response),
            }
        })
    }
}

async fn prepare<B: 'static>(
    propagator: &Propagator,
    context: Result<CallContext, MissingContext>,
    url: Url,
    request: &mut Request<B>,
) -> Result<Sent, Error> {
    let context = context?;
    let mut headers = mem::take(request.headers_mut());
    let (method, body) = (request.method().clone(), body::bytes(request.body()));
    let operation = Operation::Request { method: &method, body: body.as_deref() };
    let sent = propagator.prepare(context, url, &mut headers, operation).await?;
    *request.headers_mut() = headers;
    Ok(sent)
}

/// The same request once more; `None` where its body cannot be sent twice.
fn cloned<B: 'static>(request: &Request<B>) -> Option<Request<B>> {
    let mut again = Request::new(body::cloned(request.body())?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    Some(again)
}

/// Makes the URI of a request the one that the routes see.
fn normalise<B>(request: &mut Request<B>) -> Result<Url, Error> {
    let url = absolute(request.uri())?;
    *request.uri_mut() = Uri::try_from(url.as_str()).map_err(|error| unusable(&error))?;
    Ok(url)
}

fn absolute(uri: &Uri) -> Result<Url, Error> {
    if uri.scheme().is_none() || uri.authority().is_none() {
        return Err(Error::misconfigured(
            "the uri of the request is not absolute: a tonic client is made by with_origin, and not by new",
        ));
    }
    Url::parse(&uri.to_string()).map_err(|error| unusable(&error))
}

/// Says why without the URI, whose query may hold what must not be logged.
fn unusable(error: &dyn std::error::Error) -> Error {
    Error::misconfigured(format!("the uri of the request cannot be used: {error}"))
}
