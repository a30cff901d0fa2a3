//! On whose behalf an outbound call is made.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use sts_jose::Entropy;
use sts_protocol::Tenant;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::caller::{Delegation, Kind};
use super::headers::{Carried, CorrelationId};
use super::idempotency_key::IdempotencyKey;
use crate::error::Error;

tokio::task_local! {
    static CURRENT: CallContext;
}

/// On whose behalf an outbound call is made, and what travels with it. Cloning is cheap.
///
/// Made of a [`Delegation`], or said in as many words with [`CallContext::without_user`]. A call for which none is known is an error and
/// not a call without a user: whoever loses the context on the way (a spawned task does) must not gain the service account's authority.
///
/// ```
/// # use sts_client::{CallContext, Delegation};
/// # async fn handler(caller: Delegation) {
/// CallContext::from(caller).scope(async { /* calls on behalf of the caller */ }).await;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CallContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    caller: Caller,
    carried: Carried,
}

/// Who asks, for the decision table.
#[derive(Debug)]
enum Caller {
    /// Whoever the verified inbound token names.
    Inbound(Delegation),
    /// Nobody: a scheduled run, or the handshake of a protocol.
    Absent {
        /// The tenant for which the work is done.
        tenant: Option<Tenant>,
    },
}

impl From<Delegation> for CallContext {
    fn from(delegation: Delegation) -> Self {
        let carried = delegation.verified().carried.clone();
        Self(Arc::new(Inner { caller: Caller::Inbound(delegation), carried }))
    }
}

impl From<&Delegation> for CallContext {
    fn from(delegation: &Delegation) -> Self {
        Self::from(delegation.clone())
    }
}

impl CallContext {
    /// For work that no user asked for, of one tenant or of none.
    ///
    /// ```
    /// use sts_client::{CallContext, SystemEntropy, Tenant};
    ///
    /// let nightly = CallContext::without_user(Some(Tenant::new("acme").unwrap()), &SystemEntropy);
    /// assert!(nightly.delegation().is_none());
    /// ```
    pub fn without_user(tenant: Option<Tenant>, entropy: &dyn Entropy) -> Self {
        Self(Arc::new(Inner { caller: Caller::Absent { tenant }, carried: Carried::fresh(entropy) }))
    }

    /// With another correlation id.
    ///
    /// ```
    /// # use sts_client::{CallContext, CorrelationId, SystemEntropy};
    /// # let context = CallContext::without_user(None, &SystemEntropy);
    /// let context = context.with_correlation_id(CorrelationId::from_text("run-7").unwrap());
    /// assert_eq!(context.carried().correlation_id().as_str(), "run-7");
    /// ```
    #[must_use]
    pub fn with_correlation_id(self, correlation_id: CorrelationId) -> Self {
        self.with_carried(|carried| carried.with_correlation_id(correlation_id))
    }

    /// With another idempotency key, for one of several calls that one request makes.
    ///
    /// ```
    /// # use sts_client::{CallContext, IdempotencyKey, SystemEntropy};
    /// # let context = CallContext::without_user(None, &SystemEntropy);
    /// let context = context.with_idempotency_key(IdempotencyKey::from_text("order-7").unwrap());
    /// assert_eq!(context.carried().idempotency_key().unwrap().as_str(), "order-7");
    /// ```
    #[must_use]
    pub fn with_idempotency_key(self, key: IdempotencyKey) -> Self {
        self.with_carried(|carried| carried.with_idempotency_key(key))
    }

    /// For one of several calls that one request makes, which the agent names: its idempotency key, if there is one, is
    /// [`IdempotencyKey::child`] of the request's. A repetition of the request that names its calls alike repeats their keys, and whoever is
    /// called does nothing twice.
    ///
    /// ```
    /// # use sts_client::{CallContext, IdempotencyKey, SystemEntropy};
    /// # let context = CallContext::without_user(None, &SystemEntropy).with_idempotency_key(IdempotencyKey::from_text("order-7").unwrap());
    /// let (reserve, charge) = (context.clone().for_operation("reserve"), context.for_operation("charge"));
    /// assert_eq!(reserve.carried().idempotency_key().unwrap().as_str(), "order-7::reserve");
    /// assert_eq!(charge.carried().idempotency_key().unwrap().as_str(), "order-7::charge");
    /// ```
    #[must_use]
    pub fn for_operation(self, operation: &str) -> Self {
        match self.carried().idempotency_key().map(|key| key.child(operation)) {
            Some(key) => self.with_idempotency_key(key),
            None => self,
        }
    }

    /// Without the idempotency key: it names one operation, and this context serves for others.
    #[cfg(feature = "rmcp")]
    pub(crate) fn without_idempotency_key(self) -> Self {
        self.with_carried(Carried::without_idempotency_key)
    }

    fn with_carried(self, change: impl FnOnce(Carried) -> Carried) -> Self {
        let caller = match &self.0.caller {
            Caller::Inbound(delegation) => Caller::Inbound(delegation.clone()),
            Caller::Absent { tenant } => Caller::Absent { tenant: tenant.clone() },
        };
        Self(Arc::new(Inner { caller, carried: change(self.0.carried.clone()) }))
    }

    /// The context of the task that is running, where [`CallContext::scope`] set one.
    ///
    /// ```
    /// # use sts_client::CallContext;
    /// assert!(CallContext::current().is_none());
    /// ```
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// The context of one call: the [`CallContext`] or else the [`Delegation`] among the extensions of the request, or else that of the
    /// task that is running.
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
    /// [`Error::Misconfigured`] when there is none.
    pub fn find(extensions: &http::Extensions) -> Result<Self, Error> {
        let attached = extensions.get::<Self>().cloned().or_else(|| extensions.get::<Delegation>().map(Self::from));
        attached.or_else(Self::current).ok_or_else(|| {
            Error::misconfigured(
                "no call context: attach one to the request, or make the call within CallContext::scope",
            )
        })
    }

    /// Runs a future with this context as the current one. Like every task-local it does not reach into tasks that the future spawns:
    /// [`Self::spawn`] takes it there, and [`Self::scope_stream`] into a body that is streamed after the handler has returned.
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

    /// Spawns a task with this context as the current one. The task may outlive the request, but not the token: a call that it makes
    /// after the token has expired fails with [`RefusalCode::INVALID_TOKEN`](crate::RefusalCode::INVALID_TOKEN).
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
    /// Outside of a Tokio runtime, as [`tokio::spawn`] does.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        tokio::spawn(self.clone().scope(future).in_current_span())
    }

    /// Wraps a stream, or with the feature `tower` a response body, so that this context is the current one each time it is polled. For
    /// bodies that a handler returns and the server polls later: server-sent events, a gRPC stream.
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

    /// The verified delegation behind the call; `None` for work that no request asked for.
    ///
    /// ```
    /// # use sts_client::CallContext;
    /// fn came_with_a_request(context: &CallContext) -> bool {
    ///     context.delegation().is_some()
    /// }
    /// ```
    #[must_use]
    pub fn delegation(&self) -> Option<&Delegation> {
        match &self.0.caller {
            Caller::Inbound(delegation) => Some(delegation),
            Caller::Absent { .. } => None,
        }
    }

    /// The user's delegation; `None` when a service account calls, or nobody.
    ///
    /// ```
    /// # use sts_client::CallContext;
    /// fn is_for_a_user(context: &CallContext) -> bool {
    ///     context.user().is_some()
    /// }
    /// ```
    #[must_use]
    pub fn user(&self) -> Option<&Delegation> {
        self.delegation().filter(|delegation| delegation.kind() == Kind::User)
    }

    /// The tenant for which the call is made: verified, or said in [`CallContext::without_user`].
    ///
    /// ```
    /// # use sts_client::{CallContext, SystemEntropy, Tenant};
    /// let context = CallContext::without_user(Some(Tenant::new("acme").unwrap()), &SystemEntropy);
    /// assert_eq!(context.tenant().unwrap().as_str(), "acme");
    /// ```
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        match &self.0.caller {
            Caller::Inbound(delegation) => delegation.tenant(),
            Caller::Absent { tenant } => tenant.as_ref(),
        }
    }

    /// What travels with the call.
    ///
    /// ```
    /// # use sts_client::CallContext;
    /// fn request(context: &CallContext) -> &str {
    ///     context.carried().correlation_id().as_str()
    /// }
    /// ```
    #[must_use]
    pub fn carried(&self) -> &Carried {
        &self.0.carried
    }
}

/// A stream or a body that is polled with a [`CallContext`] as the current one; from [`CallContext::scope_stream`].
///
/// ```
/// # use sts_client::{CallContext, Delegation, Scoped};
/// fn events<S>(caller: &Delegation, events: S) -> Scoped<S> {
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
