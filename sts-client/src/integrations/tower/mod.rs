//! Integration with HTTP clients that are tower services, such as hyper's client with layers.
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
use crate::integrations::challenge;
use crate::propagate::again::Sent;
use crate::propagate::{OutboundOperation, Propagator};

/// A layer that wraps a client in [`Propagate`]. Add it directly around the client, because it
/// cannot remove what an inner layer adds.
#[derive(Debug, Clone)]
pub struct PropagateLayer {
    propagator: Propagator,
}

impl PropagateLayer {
    /// Returns a layer that uses the routes of this propagator.
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

/// A client that sets the headers of every request by its route, on behalf of the context that
/// [`CallContext::find`] finds.
///
/// If the target answers 401 with `error="invalid_token"` (in gRPC: `UNAUTHENTICATED` with such a
/// challenge), its token is dropped. The call is then sent once more with another token, if its
/// body is in memory: `()`, `String`, `Vec<u8>`, `Bytes`, `Full<Bytes>` or `Empty<Bytes>`. Both
/// attempts carry the same idempotency key. In the same way the call is sent once more if the target
/// asks for a nonce in the proof of a bound token (`error="use_dpop_nonce"`).
///
/// A retry layer outside this layer makes each attempt a new operation, unless the request names
/// its operation. A request names it by [`CallContext::for_operation`] or by an `Idempotency-Key`
/// header.
///
/// The URI of a request must be absolute. It is normalised before routing and sending: `/v1/../x`
/// is sent as `/x`. On an error the inner client is not called.
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
        // Move the ready service into the future. The clone, which may not be ready, takes the next
        // request.
        let clone = self.inner.clone();
        let mut ready = mem::replace(&mut self.inner, clone);
        let propagator = self.propagator.clone();
        // Find the context here, because another task may poll the future.
        let context = CallContext::find(request.extensions());
        Box::pin(async move {
            let url = normalise(&mut request).map_err(PropagateError::Propagation)?;
            let mut again = cloned(&request);
            let prepared = prepare(&propagator, context, url, &mut request).await;
            let mut sent = prepared.map_err(PropagateError::Propagation)?;
            loop {
                let response = ready.call(request).await.map_err(PropagateError::Inner)?;
                propagator.learn_nonce_of(&mut sent, response.headers());
                let Some(refusal) = challenge::refusal(response.status(), response.headers()) else {
                    return Ok(response);
                };
                // Drop the token even if this request cannot be sent again, for the sake of later
                // calls.
                let mut headers = again.as_ref().map(|again| again.headers().clone()).unwrap_or_default();
                request = match (propagator.prepare_again(&mut sent, refusal, &mut headers).await, again.take()) {
                    (true, Some(repeated)) => repeated,
                    _ => return Ok(response),
                };
                again = cloned(&request);
                *request.headers_mut() = headers;
                poll_fn(|cx| ready.poll_ready(cx)).await.map_err(PropagateError::Inner)?;
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
    let operation = OutboundOperation::Request { method: &method, body: body.as_deref() };
    let sent = propagator.prepare(context, (method.clone(), url), &mut headers, operation).await?;
    *request.headers_mut() = headers;
    Ok(sent)
}

/// Clones a request; `None` if its body cannot be sent twice.
fn cloned<B: 'static>(request: &Request<B>) -> Option<Request<B>> {
    let mut again = Request::new(body::cloned(request.body())?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    Some(again)
}

/// Replaces the URI of a request by its normalised form, which the routes use.
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

/// Omits the URI from the error, because its query may contain secrets.
fn unusable(error: &dyn std::error::Error) -> Error {
    Error::misconfigured(format!("the uri of the request cannot be used: {error}"))
}
