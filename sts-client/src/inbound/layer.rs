//! A tower layer that lets no request through but those with a verified token.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::Verifier;
use crate::carried::{CorrelationId, X_CORRELATION_ID};
use crate::context::CallContext;

impl Verifier {
    /// A layer that verifies every request of the service below.
    ///
    /// The service finds the [`Delegation`](crate::Delegation) in the extensions of the request, whose headers stay as they are, and runs
    /// in the scope of its [`CallContext`], so that outbound calls find on whose behalf they are made. Work that outlives the call of the
    /// service (a spawned task, a streamed body) takes [`CallContext::current`] along and scopes itself.
    ///
    /// Every answer has the `X-Correlation-ID` of the request, made where it had none; a refusal is that of [`Refusal::to_response`].
    ///
    /// The metadata of the resource (RFC 9728) are for callers without a token: serve them outside of the layer.
    ///
    /// [`Refusal::to_response`]: super::Refusal::to_response
    #[must_use]
    pub fn layer(&self) -> VerifierLayer {
        VerifierLayer { verifier: self.clone() }
    }
}

/// Makes a [`VerifierService`]; from [`Verifier::layer`].
#[derive(Debug, Clone)]
pub struct VerifierLayer {
    verifier: Verifier,
}

impl<S> Layer<S> for VerifierLayer {
    type Service = VerifierService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VerifierService { verifier: self.verifier.clone(), inner }
    }
}

/// Verifies every request before the service inside sees it.
#[derive(Debug, Clone)]
pub struct VerifierService<S> {
    verifier: Verifier,
    inner: S,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for VerifierService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    RequestBody: Send + 'static,
    ResponseBody: From<Vec<u8>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        // The service that was polled ready is the one that is called; its clone waits for the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let verifier = self.verifier.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let carried = verifier.carried(&parts.headers);
            let correlation_id = carried.correlation_id().clone();
            let mut response = match verifier.verify_carried(&parts.headers, carried).await {
                Err(refusal) => refusal.to_response(),
                Ok(delegation) => {
                    let context = CallContext::from(&delegation);
                    parts.extensions.insert(delegation);
                    let request = Request::from_parts(parts, body);
                    context.scope(async move { inner.call(request).await }).await?
                }
            };
            echo(&correlation_id, response.headers_mut());
            Ok(response)
        })
    }
}

/// An answer tells under which id it was logged, unless the service said so itself.
fn echo(correlation_id: &CorrelationId, headers: &mut HeaderMap) {
    headers.entry(X_CORRELATION_ID).or_insert_with(|| correlation_id.header());
}
