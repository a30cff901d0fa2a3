//! The context of an outbound call: the caller on whose behalf it is made.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use sts_jose::Entropy;
use sts_protocol::{AuthorizationDetail, Tenant};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::caller::{Caller, Kind};
use super::headers::{CorrelationId, PropagatedHeaders};
use super::idempotency_key::IdempotencyKey;
use super::requested_details::RequestedDetails;

tokio::task_local! {
    static CURRENT: CallContext;
}

/// The context of an outbound call: the caller on whose behalf it is made, and the headers that
/// travel with it. Cloning is cheap.
///
/// Made from a [`Caller`], or with [`CallContext::without_user`]. A call without a context is an
/// error, not a call without a user. Code that loses the context, such as a spawned task, must not
/// gain the service account's authority.
///
/// ```
/// # use sts_client::{CallContext, Caller};
/// # async fn handler(caller: Caller) {
/// CallContext::from(caller).scope(async { /* calls on behalf of the caller */ }).await;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CallContext(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    origin: Origin,
    headers: PropagatedHeaders,
    /// The authorization details to request for calls; `None` requests those of the route.
    details: Option<RequestedDetails>,
}

/// The origin of a call, for the decision table.
#[derive(Debug, Clone)]
enum Origin {
    /// A verified inbound request.
    Inbound(Caller),
    /// Work without a request: a scheduled run, or the handshake of a protocol.
    Absent {
        /// The tenant for which the work is done.
        tenant: Option<Tenant>,
    },
}

/// The error for a call without a context. The agent's code is at fault.
///
/// ```
/// use sts_client::{CallContext, Error, http::Extensions};
///
/// let missing = CallContext::find(&Extensions::new()).unwrap_err();
/// assert!(matches!(Error::from(missing), Error::Misconfigured { .. }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no call context: attach one to the request, or make the call within CallContext::scope")]
pub struct MissingContext;

impl From<Caller> for CallContext {
    fn from(caller: Caller) -> Self {
        let headers = caller.verified().headers.clone();
        Self(Arc::new(Inner { origin: Origin::Inbound(caller), headers, details: None }))
    }
}

impl From<&Caller> for CallContext {
    fn from(caller: &Caller) -> Self {
        Self::from(caller.clone())
    }
}

impl CallContext {
    /// Makes a context for work that no user requested, for one tenant or none.
    ///
    /// ```
    /// use sts_client::{CallContext, SystemEntropy, Tenant};
    ///
    /// let nightly = CallContext::without_user(Some(Tenant::new("acme").unwrap()), &SystemEntropy);
    /// assert!(nightly.caller().is_none());
    /// ```
    pub fn without_user(tenant: Option<Tenant>, entropy: &dyn Entropy) -> Self {
        let headers = PropagatedHeaders::fresh(entropy);
        Self(Arc::new(Inner { origin: Origin::Absent { tenant }, headers, details: None }))
    }

    /// Replaces the correlation id.
    ///
    /// ```
    /// # use sts_client::{CallContext, CorrelationId, SystemEntropy};
    /// # let context = CallContext::without_user(None, &SystemEntropy);
    /// let context = context.with_correlation_id(CorrelationId::from_text("run-7").unwrap());
    /// assert_eq!(context.headers().correlation_id().as_str(), "run-7");
    /// ```
    #[must_use]
    pub fn with_correlation_id(self, correlation_id: CorrelationId) -> Self {
        self.with_headers(|headers| headers.with_correlation_id(correlation_id))
    }

    /// Replaces the idempotency key, for one of several calls of one request.
    ///
    /// ```
    /// # use sts_client::{CallContext, IdempotencyKey, SystemEntropy};
    /// # let context = CallContext::without_user(None, &SystemEntropy);
    /// let context = context.with_idempotency_key(IdempotencyKey::from_text("order-7").unwrap());
    /// assert_eq!(context.headers().idempotency_key().unwrap().as_str(), "order-7");
    /// ```
    #[must_use]
    pub fn with_idempotency_key(self, key: IdempotencyKey) -> Self {
        self.with_headers(|headers| headers.with_idempotency_key(key))
    }

    /// Names one of several calls of one request. If the request has an idempotency key, the key of
    /// the call is [`IdempotencyKey::child`] of it. A repeated request with the same names repeats
    /// the keys, so that the called service does nothing twice.
    ///
    /// ```
    /// # use sts_client::{CallContext, IdempotencyKey, SystemEntropy};
    /// # let context = CallContext::without_user(None, &SystemEntropy).with_idempotency_key(IdempotencyKey::from_text("order-7").unwrap());
    /// let (reserve, charge) = (context.clone().for_operation("reserve"), context.for_operation("charge"));
    /// assert_eq!(reserve.headers().idempotency_key().unwrap().as_str(), "order-7::reserve");
    /// assert_eq!(charge.headers().idempotency_key().unwrap().as_str(), "order-7::charge");
    /// ```
    #[must_use]
    pub fn for_operation(self, operation: &str) -> Self {
        match self.headers().idempotency_key().map(|key| key.child(operation)) {
            Some(key) => self.with_idempotency_key(key),
            None => self,
        }
    }

    /// Requests exactly these authorization details (RFC 9396) for the exchanged tokens of calls, in place
    /// of those of the route. Each set of details has a token of its own. The agent's own tokens have
    /// those of the route alone.
    ///
    /// ```
    /// # #[cfg(feature = "test-util")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sts_client::test_util::MockSts;
    /// use sts_client::{CallContext, Caller, Propagator, Route, http::HeaderMap};
    ///
    /// let sts = MockSts::new();
    /// let url: sts_client::url::Url = "https://shop.example/refunds".parse()?;
    /// let route = Route::to(url.clone()).audience("shop");
    /// let propagator = Propagator::builder().sts(sts.sts("coordinator")).route(route).build().await?;
    ///
    /// let details = serde_json::from_str(r#"[{"type":"mcp_tool","actions":["refund"],"limits":{"amount":50}}]"#)?;
    /// let refund = CallContext::from(Caller::for_test().build()).with_authorization_details(details);
    /// propagator.apply(&refund, &url, &mut HeaderMap::new()).await?;
    /// let asked = sts.requests();
    /// assert_eq!(
    ///     asked[0].parameter("authorization_details"),
    ///     Some(r#"[{"type":"mcp_tool","actions":["refund"],"limits":{"amount":50}}]"#)
    /// );
    /// # Ok(()) }
    /// # #[cfg(not(feature = "test-util"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn with_authorization_details(self, details: Vec<AuthorizationDetail>) -> Self {
        let inner = Arc::unwrap_or_clone(self.0);
        Self(Arc::new(Inner { details: Some(RequestedDetails::new(details)), ..inner }))
    }

    /// Returns the authorization details to request for calls; `None` for those of the route.
    pub(crate) fn details(&self) -> Option<&RequestedDetails> {
        self.0.details.as_ref()
    }

    /// Removes the idempotency key and the authorization details: they belong to one operation, and this
    /// context serves others.
    #[cfg(feature = "rmcp")]
    pub(crate) fn without_operation(self) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.with_headers(PropagatedHeaders::without_idempotency_key).0);
        inner.details = None;
        Self(Arc::new(inner))
    }

    fn with_headers(self, change: impl FnOnce(PropagatedHeaders) -> PropagatedHeaders) -> Self {
        let inner = Arc::unwrap_or_clone(self.0);
        Self(Arc::new(Inner { headers: change(inner.headers), ..inner }))
    }

    /// Returns the context of the running task, if [`CallContext::scope`] set one.
    ///
    /// ```
    /// # use sts_client::CallContext;
    /// assert!(CallContext::current().is_none());
    /// ```
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Returns the context of one call. It is the first of: the [`CallContext`] in the extensions
    /// of the request, the [`Caller`] in them, and the context of the running task.
    ///
    /// ```
    /// # use sts_client::{CallContext, SystemEntropy, http::Extensions};
    /// let mut extensions = Extensions::new();
    /// assert!(CallContext::find(&extensions).is_err());
    /// extensions.insert(CallContext::without_user(None, &SystemEntropy));
    /// assert!(CallContext::find(&extensions).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`MissingContext`] when there is none.
    pub fn find(extensions: &http::Extensions) -> Result<Self, MissingContext> {
        let attached = extensions.get::<Self>().cloned().or_else(|| extensions.get::<Caller>().map(Self::from));
        attached.or_else(Self::current).ok_or(MissingContext)
    }

    /// Runs a future with this context as the current one. It is task-local, so tasks that the
    /// future spawns do not have it. [`Self::spawn`] passes it to a task, and
    /// [`Self::scope_stream`] to a body that is streamed after the handler has returned.
    ///
    /// ```
    /// # use sts_client::{CallContext, SystemEntropy};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let context = CallContext::without_user(None, &SystemEntropy);
    /// assert!(context.scope(async { CallContext::current().is_some() }).await);
    /// # }
    /// ```
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Spawns a task with this context as the current one. The task may outlive the request, but
    /// not the token. A call after the token has expired fails with
    /// [`RefusalCode::INVALID_TOKEN`](crate::RefusalCode::INVALID_TOKEN).
    ///
    /// ```
    /// # use sts_client::{CallContext, SystemEntropy};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let context = CallContext::without_user(None, &SystemEntropy);
    /// let task = context.spawn(async { CallContext::current().is_some() });
    /// assert!(task.await.unwrap());
    /// # }
    /// ```
    ///
    /// # Panics
    /// Panics outside a Tokio runtime, like [`tokio::spawn`].
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        tokio::spawn(self.clone().scope(future).in_current_span())
    }

    /// Wraps a stream, or with the feature `tower` a response body. This context is the current one
    /// at each poll. Use it for bodies that a handler returns and the server polls later:
    /// server-sent events, a gRPC stream.
    ///
    /// ```
    /// # use futures_util::{StreamExt as _, stream};
    /// # use sts_client::{CallContext, SystemEntropy};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let context = CallContext::without_user(None, &SystemEntropy);
    /// let events = stream::iter([1, 2]).map(|event| (event, CallContext::current().is_some()));
    /// let events = context.scope_stream(events);
    /// assert_eq!(events.collect::<Vec<_>>().await, [(1, true), (2, true)]);
    /// # }
    /// ```
    pub fn scope_stream<S>(&self, stream: S) -> Scoped<S> {
        Scoped { inner: Box::pin(stream), context: self.clone() }
    }

    /// Returns the verified caller behind the call; `None` for work that no request started.
    ///
    /// ```
    /// # use sts_client::CallContext;
    /// fn came_with_a_request(context: &CallContext) -> bool {
    ///     context.caller().is_some()
    /// }
    /// ```
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        match &self.0.origin {
            Origin::Inbound(caller) => Some(caller),
            Origin::Absent { .. } => None,
        }
    }

    /// Returns the verified caller if it is a user; `None` for a service account, and without a
    /// caller.
    ///
    /// ```
    /// # use sts_client::CallContext;
    /// fn is_for_a_user(context: &CallContext) -> bool {
    ///     context.user().is_some()
    /// }
    /// ```
    #[must_use]
    pub fn user(&self) -> Option<&Caller> {
        self.caller().filter(|caller| caller.kind() == Kind::User)
    }

    /// Returns the tenant of the call: the verified tenant, or the tenant that
    /// [`CallContext::without_user`] received.
    ///
    /// ```
    /// # use sts_client::{CallContext, SystemEntropy, Tenant};
    /// let context = CallContext::without_user(Some(Tenant::new("acme").unwrap()), &SystemEntropy);
    /// assert_eq!(context.tenant().unwrap().as_str(), "acme");
    /// ```
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        match &self.0.origin {
            Origin::Inbound(caller) => caller.tenant(),
            Origin::Absent { tenant } => tenant.as_ref(),
        }
    }

    /// Returns the headers that travel with the call.
    ///
    /// ```
    /// # use sts_client::CallContext;
    /// fn request(context: &CallContext) -> &str {
    ///     context.headers().correlation_id().as_str()
    /// }
    /// ```
    #[must_use]
    pub fn headers(&self) -> &PropagatedHeaders {
        &self.0.headers
    }
}

/// A stream or a body that is polled with a [`CallContext`] as the current one. Made by
/// [`CallContext::scope_stream`].
///
/// ```
/// # use sts_client::{CallContext, Caller, Scoped};
/// fn events<S>(caller: &Caller, events: S) -> Scoped<S> {
///     CallContext::from(caller).scope_stream(events)
/// }
/// ```
#[derive(Debug)]
pub struct Scoped<S> {
    inner: Pin<Box<S>>,
    context: CallContext,
}

impl<S: Stream> Stream for Scoped<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        CURRENT.sync_scope(this.context.clone(), || this.inner.as_mut().poll_next(cx))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

#[cfg(feature = "tower")]
impl<B: http_body::Body> http_body::Body for Scoped<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        CURRENT.sync_scope(this.context.clone(), || this.inner.as_mut().poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
