//! A tower layer that admits only requests with a verified token.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::introspected::TICKET;
use super::{Presented, Verifier, grpc};
use crate::carried::{CorrelationId, X_CORRELATION_ID};
use crate::context::CallContext;
use crate::delegation::Delegation;
use crate::response_body::ResponseBody;

impl Verifier {
    /// Returns a layer that verifies every request before the service below receives it.
    ///
    /// The service finds the [`Delegation`] in the extensions of the request. It runs in the scope
    /// of its [`CallContext`], so outbound calls are made on behalf of the caller. Work that
    /// outlives the call of the service must keep the context: use [`CallContext::spawn`] for a
    /// task and [`CallContext::scope_stream`] for a streamed body. The headers are unchanged,
    /// except that `X-Correlation-ID` is added if the request has none.
    ///
    /// Every response has the `X-Correlation-ID` of the request. A refusal is the response of
    /// [`Refusal::to_response`]. A request with the content type `application/grpc` (`+proto`,
    /// `-web`) gets status 200 with `grpc-status` ([`Refusal::grpc_code`]) and `grpc-message`
    /// instead.
    ///
    /// The body of the response may be of any type: axum's, tonic's, tower-http's. It becomes a
    /// [`ResponseBody`].
    ///
    /// ```
    /// # use sts_client::{Delegation, Verifier, inbound::Issuer};
    /// use http::{Request, Response};
    /// use tower_layer::Layer as _;
    ///
    /// # fn guarded<S>(service: S) -> Result<(), sts_client::BuildError> {
    /// let verifier = Verifier::builder(["inventory-agent"]).issuer(Issuer::sts("https://sts.example.com")).build()?;
    /// let service = verifier.layer().layer(service);
    /// # Ok(()) }
    /// ```
    ///
    /// The metadata of the resource (RFC 9728) is for callers without a token: serve it outside the
    /// layer.
    ///
    /// [`Refusal::grpc_code`]: super::Refusal::grpc_code
    /// [`Refusal::to_response`]: super::Refusal::to_response
    #[must_use]
    pub fn layer(&self) -> VerifierLayer {
        VerifierLayer { verifier: self.clone() }
    }
}

/// A layer that makes a [`VerifierService`]. Returned by [`Verifier::layer`].
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

/// A service that verifies every request before the inner service receives it.
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
        // Call the service that was polled ready. Its clone takes the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let verifier = self.verifier.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let carried = verifier.carried(&parts.headers);
            let correlation_id = carried.correlation_id().clone();
            let mut response = match verifier.verify_carried(Presented::Headers(&parts.headers), carried).await {
                Err(refusal) => match grpc::content_type(&parts.headers) {
                    Some(content_type) => grpc::response(&refusal, content_type),
                    None => refusal.to_response(),
                },
                Ok(delegation) => {
                    let context = CallContext::from(&delegation);
                    parts.headers.insert(X_CORRELATION_ID, correlation_id.header());
                    verifier.mark(&delegation, &mut parts.headers);
                    parts.extensions.insert(delegation);
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
    /// Marks a verified request, so that a second verification does not introspect the token again.
    fn mark(&self, delegation: &Delegation, headers: &mut HeaderMap) {
        headers.remove(TICKET);
        let introspection = self.0.introspection.as_ref().filter(|sts| sts.issuer() == delegation.issuer());
        let ticket = introspection.and_then(|introspection| {
            introspection.ticket(delegation.verified().digest, self.0.clock.now(), self.0.entropy.as_ref())
        });
        headers.extend(ticket.map(|ticket| (TICKET, ticket)));
    }
}

/// Adds the correlation id to a response, unless the service has already set it.
fn echo(correlation_id: &CorrelationId, headers: &mut HeaderMap) {
    headers.entry(X_CORRELATION_ID).or_insert_with(|| correlation_id.header());
}
