//! A tower layer that admits only requests with a verified token.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::tickets::TICKET;
use super::{Presented, Verifier, grpc};
use crate::call::{CallContext, Caller, CorrelationId, Possession, Scheme, X_CORRELATION_ID};
use crate::net::ResponseBody;
use crate::possession::DPOP_NONCE;

impl Verifier {
    /// Returns a layer that verifies every request before the service below receives it.
    ///
    /// The service finds the [`Caller`] in the extensions of the request. It runs in the scope
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
            let propagated = verifier.propagated(&parts.headers);
            let correlation_id = propagated.correlation_id().clone();
            let mut response = match verifier.verify_presented(Presented::Request(&parts), propagated).await {
                Err(refusal) => match grpc::content_type(&parts.headers) {
                    Some(content_type) => grpc::response(&refusal, content_type),
                    None => refusal.to_response(),
                },
                Ok(caller) => {
                    let context = CallContext::from(&caller);
                    parts.headers.insert(X_CORRELATION_ID, correlation_id.header());
                    verifier.mark(&caller, &mut parts.headers);
                    let nonce = verifier.next_nonce(&caller);
                    parts.extensions.insert(caller);
                    let request = Request::from_parts(parts, body);
                    let response = context.scope(async move { inner.call(request).await }).await?;
                    give(nonce, response.map(ResponseBody::of_service))
                }
            };
            echo(&correlation_id, response.headers_mut());
            Ok(response)
        })
    }
}

impl Verifier {
    /// Marks a verified request, so that a second verification neither introspects the token again
    /// nor takes its proof for a replay.
    fn mark(&self, caller: &Caller, headers: &mut HeaderMap) {
        headers.remove(TICKET);
        let is_introspected = self.0.introspection.as_ref().is_some_and(|sts| sts.issuer() == caller.issuer());
        let possession = caller.possession();
        if !is_introspected && *possession == Possession::Bearer {
            return;
        }
        let (now, entropy) = (self.0.clock.now(), self.0.entropy.as_ref());
        let ticket = self.0.tickets.issue(caller.verified().digest, possession, now, entropy);
        headers.extend(ticket.map(|ticket| (TICKET, ticket)));
    }

    /// Returns the nonce for the next proof of a caller, if it sends proofs and they need one.
    fn next_nonce(&self, caller: &Caller) -> Option<HeaderValue> {
        let dpop = self.0.bindings.dpop.as_ref().filter(|_| caller.possession().scheme() == Scheme::Dpop)?;
        HeaderValue::try_from(dpop.newest_nonce(self.0.clock.now())?).ok()
    }
}

/// Gives a nonce with a response, so that the caller need not be refused for it. Such a response must
/// not be cached (RFC 9449 §8.2).
fn give<B>(nonce: Option<HeaderValue>, mut response: Response<B>) -> Response<B> {
    if let Some(nonce) = nonce {
        response.headers_mut().insert(DPOP_NONCE, nonce);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Adds the correlation id to a response, unless the service has already set it.
fn echo(correlation_id: &CorrelationId, headers: &mut HeaderMap) {
    headers.entry(X_CORRELATION_ID).or_insert_with(|| correlation_id.header());
}
