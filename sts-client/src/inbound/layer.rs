//! A tower layer that lets no request through but those with a verified token.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::introspected::TICKET;
use super::{Presented, Verifier, grpc};
use crate::call::{CallContext, Caller, CorrelationId, X_CORRELATION_ID};
use crate::net::ResponseBody;

impl Verifier {
    /// A layer that verifies every request of the service below.
    ///
    /// The service finds the [`Caller`] in the extensions of the request, and runs in the scope of its
    /// [`CallContext`], so that outbound calls find on whose behalf they are made. Work that outlives the call of the service takes the
    /// context along: a task by [`CallContext::spawn`], a streamed body by [`CallContext::scope_stream`]. The headers stay as they are, but
    /// for an `X-Correlation-ID` where the request had none.
    ///
    /// Every answer has the `X-Correlation-ID` of the request. A refusal is that of [`Refusal::to_response`]. To a request with the
    /// content type `application/grpc` (`+proto`, `-web`) it has status 200 with `grpc-status` ([`Refusal::grpc_code`]) and
    /// `grpc-message`.
    ///
    /// The body of the response may be of any type: axum's, tonic's, tower-http's. It becomes a [`ResponseBody`].
    ///
    /// ```
    /// # use sts_client::{Caller, Verifier, inbound::Issuer};
    /// use http::{Request, Response};
    /// use tower_layer::Layer as _;
    ///
    /// # fn guarded<S>(service: S) -> Result<(), sts_client::BuildError> {
    /// let verifier = Verifier::builder(["inventory-agent"]).issuer(Issuer::sts("https://sts.example.com")).build()?;
    /// let service = verifier.layer().layer(service);
    /// # Ok(()) }
    /// ```
    ///
    /// The metadata of the resource (RFC 9728) are for callers without a token: serve them outside of the layer.
    ///
    /// [`Refusal::grpc_code`]: super::Refusal::grpc_code
    /// [`Refusal::to_response`]: super::Refusal::to_response
    #[must_use]
    pub fn layer(&self) -> VerifierLayer {
        VerifierLayer { verifier: self.clone() }
    }
}

/// Makes a [`VerifierService`]; from [`Verifier::layer`].
///
/// ```
/// # use sts_client::{Verifier, inbound::VerifierLayer};
/// fn layer(verifier: &Verifier) -> VerifierLayer {
///     verifier.layer()
/// }
/// ```
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
///
/// ```
/// # use sts_client::{Verifier, inbound::VerifierService};
/// # use tower_layer::Layer as _;
/// fn guard<S>(verifier: &Verifier, service: S) -> VerifierService<S> {
///     verifier.layer().layer(service)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct VerifierService<S> {
    verifier: Verifier,
    inner: S,
}

impl<S, RequestBody, Body> Service<Request<RequestBody>> for VerifierService<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    RequestBody: Send + 'static,
{
    type Response = Response<ResponseBody<Body>>;
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
            let propagated = verifier.propagated(&parts.headers);
            let correlation_id = propagated.correlation_id().clone();
            let mut response = match verifier.verify_presented(Presented::Headers(&parts.headers), propagated).await {
                Err(refusal) => match grpc::content_type(&parts.headers) {
                    Some(content_type) => grpc::response(&refusal, content_type),
                    None => refusal.to_response(),
                },
                Ok(caller) => {
                    let context = CallContext::from(&caller);
                    parts.headers.insert(X_CORRELATION_ID, correlation_id.header());
                    verifier.mark(&caller, &mut parts.headers);
                    parts.extensions.insert(caller);
                    let request = Request::from_parts(parts, body);
                    let response = context.scope(async move { inner.call(request).await }).await?;
                    response.map(ResponseBody::of_service)
                }
            };
            echo(&correlation_id, response.headers_mut());
            Ok(response)
        })
    }
}

impl Verifier {
    /// Marks a verified request, so that another verification of it does not introspect its token once more.
    fn mark(&self, caller: &Caller, headers: &mut HeaderMap) {
        headers.remove(TICKET);
        let introspection = self.0.introspection.as_ref().filter(|sts| sts.issuer() == caller.issuer());
        let ticket = introspection.and_then(|introspection| {
            introspection.ticket(caller.verified().digest, self.0.clock.now(), self.0.entropy.as_ref())
        });
        headers.extend(ticket.map(|ticket| (TICKET, ticket)));
    }
}

/// An answer tells under which id it was logged, unless the service said so itself.
fn echo(correlation_id: &CorrelationId, headers: &mut HeaderMap) {
    headers.entry(X_CORRELATION_ID).or_insert_with(|| correlation_id.header());
}
