//! Integration with MCP over streamable HTTP, for the official Rust crate (`rmcp`).
//!
//! ```no_run
//! use rmcp::ServiceExt;
//! use rmcp::model::{CallToolRequest, CallToolRequestParams, ClientRequest};
//! use rmcp::transport::StreamableHttpClientTransport;
//! use rmcp::transport::streamable_http_client::{StreamableHttpClient, StreamableHttpClientTransportConfig};
//! use sts_client::integrations::rmcp::{McpHttpClient, with_context};
//! use sts_client::{CallContext, Propagator};
//!
//! /// `http`: `sts_client::integrations::http_client()`, given that rmcp's feature for reqwest is on.
//! async fn ask<C: StreamableHttpClient + Sync>(
//!     http: C,
//!     propagator: Propagator,
//!     context: CallContext,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let http = McpHttpClient::new(http, propagator, context.clone());
//!     let config = StreamableHttpClientTransportConfig::with_uri("https://tools.shop.example/mcp");
//!     let session = ().serve(StreamableHttpClientTransport::with_client(http.clone(), config)).await?;
//!     // On behalf of the session's context:
//!     session.list_all_tools().await?;
//!     // On behalf of a request of its own, of the same user:
//!     let call = CallToolRequest::new(CallToolRequestParams::new("stock"));
//!     session.send_request(ClientRequest::CallToolRequest(with_context(call, context))).await?;
//!     session.cancel().await?;
//!     Ok(())
//! }
//! ```

mod elicitation;
#[cfg(feature = "tower")]
mod guard;
mod headers;
mod operation;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use ::rmcp::model::{ClientJsonRpcMessage, Extensions, GetExtensions};
use ::rmcp::service::ClientInitializeError;
use ::rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use futures_util::stream::BoxStream;
use http::{HeaderName, HeaderValue, Method};
use sse_stream::Sse;

use crate::call::{CallContext, Caller};
use crate::error::Error;
use crate::integrations::PropagateError;
use crate::integrations::{challenge, probe};
use crate::propagate::again::{Sent, TargetRefusal};
use crate::propagate::{OutboundOperation, Propagator};
pub use elicitation::{URL_ELICITATION_REQUIRED, elicited_approval, url_elicitation};
#[cfg(feature = "tower")]
pub use guard::{ToolGuard, ToolGuardLayer};
use headers::Prepared;

/// The result of a call to the HTTP client below rmcp.
type Answer<T, E> = Result<T, StreamableHttpError<E>>;
type Headers = HashMap<HeaderName, HeaderValue>;
type Events = BoxStream<'static, Result<Sse, SseError>>;

/// An HTTP client for a single MCP session. The headers of every POST, GET and DELETE are set by
/// the route, and an expired token is exchanged again.
///
/// rmcp sends from its own task, which has no access to the caller's task-local context. So the
/// context of a call is attached to its message ([`with_context`]). Everything else (handshake,
/// notifications, streams, the end of the session) uses the session's context.
///
/// A session belongs to a single user of a single tenant, because the state that the server keeps
/// for it must not reach another user. The first context with a caller fixes the owner. Afterwards
/// a context with another caller, or without a caller, is refused with [`Error::Misconfigured`] and
/// nothing is sent. Clones share the session. Make a client per session, and never reuse it for
/// another user.
///
/// A message's context whose token expires later becomes the session's context, so that streams and
/// the end of the session have a valid token.
///
/// A `tools/call` carries a child of the request's idempotency key
/// ([`IdempotencyKey::child`](crate::IdempotencyKey::child)). The child depends on the tool, a
/// digest of its arguments, and the number of earlier calls with the same arguments under the
/// request. The order of the arguments' members is ignored. So a polled tool runs each time, and a
/// retry of the whole request repeats the keys. All other messages carry no key.
///
/// By a route with [`per_tool`](crate::Route::per_tool) each tool call carries a token for exactly its tool,
/// which is cached like every other. A call whose context has authorization details
/// ([`CallContext::with_authorization_details`]) gets those of them that permit the tool.
///
/// If the server answers 401 with `error="invalid_token"`, its token is dropped, and the message is
/// sent once more with another token. In the same way it is sent once more if the server asks for a
/// nonce in the proof of a bound token. rmcp does not show the headers of an answer, so a GET request
/// of the client that [`Propagator::http_client`] returns fetches the nonce.
///
/// The inner client must follow no redirects: use
/// [`http_client`](crate::integrations::http_client). The default client of rmcp does follow some
/// redirects.
#[derive(Debug, Clone)]
pub struct McpHttpClient<C> {
    inner: C,
    propagator: Propagator,
    session: Arc<Mutex<CallContext>>,
}

/// A request of a session.
struct Asked<'a> {
    context: CallContext,
    operation: OutboundOperation<'a>,
    /// The tool that it calls.
    tool: Option<&'a str>,
}

/// Attaches a context to a single request or notification, which is then made on behalf of that
/// context.
#[must_use]
pub fn with_context<M: GetExtensions>(mut message: M, context: CallContext) -> M {
    message.extensions_mut().insert(context);
    message
}

/// Returns the error that prevented a call through an [`McpHttpClient<C>`], extracted from the
/// error of rmcp. Returns `None` for any other error.
#[must_use]
pub fn propagation_error<'a, C: StreamableHttpClient>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a Error> {
    std::iter::successors(Some(error), |error| cause(*error)).find_map(|error| {
        match error.downcast_ref::<StreamableHttpError<PropagateError<C::Error>>>()? {
            StreamableHttpError::Client(error) => error.propagation(),
            _ => None,
        }
    })
}

/// Returns the source of an error of rmcp. A handshake error does not expose it through `source()`.
fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a (dyn std::error::Error + 'static)> {
    match error.downcast_ref::<ClientInitializeError>() {
        Some(ClientInitializeError::TransportError { error, .. }) => Some(error),
        _ => error.source(),
    }
}

impl<C> McpHttpClient<C> {
    /// Returns a client for a session that starts on behalf of `context`. If the route allows it, a
    /// context without a user ([`CallContext::without_user`]) can be used for a handshake before
    /// the user is known.
    pub fn new(inner: C, propagator: Propagator, context: CallContext) -> Self {
        Self { inner, propagator, session: Arc::new(Mutex::new(context)) }
    }

    /// Replaces the session's context, for example when the same user continues the session with
    /// another token.
    ///
    /// # Errors
    /// [`Error::Misconfigured`] if the session belongs to another user. The context is then
    /// unchanged.
    pub fn set_context(&self, context: CallContext) -> Result<(), Error> {
        self.enter(&context, |session| *session = context.clone())
    }

    /// Applies `change` to the session's context, unless the session belongs to another user.
    fn enter(&self, context: &CallContext, change: impl FnOnce(&mut CallContext)) -> Result<(), Error> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if !may_follow(&session, context) {
            return Err(Error::misconfigured("the mcp session belongs to another user"));
        }
        change(&mut session);
        Ok(())
    }

    fn context_of_message(&self, message: &ClientJsonRpcMessage) -> Result<CallContext, Error> {
        let Some(context) = attached(message) else {
            let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Ok(session);
        };
        self.enter(&context, |session| {
            if outlives(&context, session) {
                *session = context.clone().without_operation();
            }
        })?;
        Ok(context)
    }

    fn context_of_session(&self) -> CallContext {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone().without_operation()
    }
}

/// Returns true if the session may continue with `next`: the same principal and tenant. A session
/// without a user accepts any principal, but keeps its tenant if it has one.
fn may_follow(session: &CallContext, next: &CallContext) -> bool {
    match (session.caller(), next.caller()) {
        (Some(owner), Some(other)) => {
            owner.kind() == other.kind() && owner.subject() == other.subject() && owner.tenant() == other.tenant()
        }
        (Some(_), None) => false,
        (None, _) => session.tenant().is_none() || session.tenant() == next.tenant(),
    }
}

fn outlives(next: &CallContext, session: &CallContext) -> bool {
    next.caller().map(Caller::expires_at) >= session.caller().map(Caller::expires_at)
}

fn attached(message: &ClientJsonRpcMessage) -> Option<CallContext> {
    let extensions: &Extensions = match message {
        ClientJsonRpcMessage::Request(request) => request.request.extensions(),
        ClientJsonRpcMessage::Notification(notification) => notification.notification.extensions(),
        ClientJsonRpcMessage::Response(_) | ClientJsonRpcMessage::Error(_) => return None,
    };
    extensions.get::<CallContext>().cloned().or_else(|| extensions.get::<Caller>().map(CallContext::from))
}

impl<C: StreamableHttpClient + Sync> McpHttpClient<C> {
    /// Sends a message. Sends it once more if the server answers that the token is invalid.
    async fn send_message<T, F>(
        &self,
        uri: &str,
        message: &ClientJsonRpcMessage,
        headers: Headers,
        send: impl Fn(Prepared) -> F + Send,
    ) -> Answer<T, PropagateError<C::Error>>
    where
        F: Future<Output = Answer<T, C::Error>> + Send,
    {
        let context = self.context_of_message(message).map_err(not_sent)?;
        // Only a tool call is an operation with a key.
        let operation = operation::of(message);
        let operation = operation.as_deref().map_or(OutboundOperation::Keyless, OutboundOperation::Message);
        let asked = Asked { context, operation, tool: operation::tool(message) };
        self.send(asked, (Method::POST, uri), headers, send).await
    }

    /// Sends a request of the session itself, with the same retry.
    async fn send_of_session<T, F>(
        &self,
        (method, uri): (Method, &str),
        headers: Headers,
        send: impl Fn(Prepared) -> F + Send,
    ) -> Answer<T, PropagateError<C::Error>>
    where
        F: Future<Output = Answer<T, C::Error>> + Send,
    {
        let asked = Asked { context: self.context_of_session(), operation: OutboundOperation::Keyless, tool: None };
        self.send(asked, (method, uri), headers, send).await
    }

    async fn send<T, F>(
        &self,
        Asked { context, operation, tool }: Asked<'_>,
        (method, uri): (Method, &str),
        headers: Headers,
        send: impl Fn(Prepared) -> F + Send,
    ) -> Answer<T, PropagateError<C::Error>>
    where
        F: Future<Output = Answer<T, C::Error>> + Send,
    {
        let call = headers::Call::new(method, uri, headers).map_err(not_sent)?;
        let context = self.propagator.for_message(context, call.url(), tool).map_err(not_sent)?;
        let (mut prepared, mut last) = call.prepare(&self.propagator, context, operation).await.map_err(not_sent)?;
        loop {
            let answer = send(prepared).await;
            let refusal = match &answer {
                Err(error) => self.refusal(error, &mut last).await,
                Ok(_) => None,
            };
            let Some(refusal) = refusal else { return answer.map_err(sent) };
            prepared = match call.prepare_again(&self.propagator, &mut last, refusal).await {
                Some(again) => again,
                None => return answer.map_err(sent),
            };
        }
    }

    /// Returns the reason why the server refused a request, if the request may be repeated. The error
    /// shows the first challenge at most, and no nonce.
    async fn refusal(&self, error: &StreamableHttpError<C::Error>, last: &mut Sent) -> Option<TargetRefusal> {
        let named = match error {
            StreamableHttpError::AuthRequired(why) => challenge::named(&why.www_authenticate_header),
            StreamableHttpError::Client(error) if is_unauthorized(error) => None,
            _ => return None,
        };
        match named {
            Some(TargetRefusal::InvalidToken) => named,
            Some(TargetRefusal::NonceWanted) => {
                probe::ask(&self.propagator, last).await;
                named
            }
            None => probe::ask(&self.propagator, last).await,
        }
    }
}

/// Returns true if an answer of reqwest had the status 401. rmcp reports the refusal of a DELETE so.
fn is_unauthorized(error: &(dyn std::error::Error + 'static)) -> bool {
    let status = error.downcast_ref::<::reqwest::Error>().and_then(::reqwest::Error::status);
    status.is_some_and(|status| status == 401)
}

/// Every method prepares its headers and calls the inner method of the same name, so that the
/// limits of the transport apply.
impl<C: StreamableHttpClient + Sync> StreamableHttpClient for McpHttpClient<C> {
    type Error = PropagateError<C::Error>;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Answer<StreamableHttpPostResponse, Self::Error> {
        self.send_message(&uri, &message, custom_headers, |Prepared { uri, token, headers }| {
            self.inner.post_message(uri, message.clone(), session_id.clone(), token, headers)
        })
        .await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: Headers,
        max_sse_event_size: usize,
    ) -> Answer<StreamableHttpPostResponse, Self::Error> {
        self.send_message(&uri, &message, custom_headers, |Prepared { uri, token, headers }| {
            let (message, session_id, token) = (message.clone(), session_id.clone(), token);
            let max = max_sse_event_size;
            self.inner.post_message_with_max_sse_event_size(uri, message, session_id, token, headers, max)
        })
        .await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: Headers,
        limits: StreamableHttpResponseLimits,
    ) -> Answer<StreamableHttpPostResponse, Self::Error> {
        self.send_message(&uri, &message, custom_headers, |Prepared { uri, token, headers }| {
            let (message, session_id, token) = (message.clone(), session_id.clone(), token);
            self.inner.post_message_with_response_limits(uri, message, session_id, token, headers, limits)
        })
        .await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Answer<(), Self::Error> {
        self.send_of_session((Method::DELETE, &uri), custom_headers, |Prepared { uri, token, headers }| {
            self.inner.delete_session(uri, session_id.clone(), token, headers)
        })
        .await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Answer<Events, Self::Error> {
        self.send_of_session((Method::GET, &uri), custom_headers, |Prepared { uri, token, headers }| {
            self.inner.get_stream(uri, session_id.clone(), last_event_id.clone(), token, headers)
        })
        .await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: Headers,
        max_sse_event_size: usize,
    ) -> Answer<Events, Self::Error> {
        self.send_of_session((Method::GET, &uri), custom_headers, |Prepared { uri, token, headers }| {
            let (session_id, last_event_id, token) = (session_id.clone(), last_event_id.clone(), token);
            let max = max_sse_event_size;
            self.inner.get_stream_with_max_sse_event_size(uri, session_id, last_event_id, token, headers, max)
        })
        .await
    }
}

fn not_sent<E: std::error::Error + Send + Sync + 'static>(error: Error) -> StreamableHttpError<PropagateError<E>> {
    StreamableHttpError::Client(PropagateError::Propagation(error))
}

/// Converts the error to the outer type and keeps its kind. rmcp uses the kind to decide whether to
/// retry or to start a new session.
fn sent<E: std::error::Error + Send + Sync + 'static>(
    error: StreamableHttpError<E>,
) -> StreamableHttpError<PropagateError<E>> {
    use StreamableHttpError as Kind;
    match error {
        Kind::Client(error) => Kind::Client(PropagateError::Inner(error)),
        Kind::Sse(error) => Kind::Sse(error),
        Kind::Io(error) => Kind::Io(error),
        Kind::HttpStatus(error) => Kind::HttpStatus(error),
        Kind::UnexpectedEndOfStream => Kind::UnexpectedEndOfStream,
        Kind::UnexpectedServerResponse(text) => Kind::UnexpectedServerResponse(text),
        Kind::ResponseBodyTooLarge { max_size } => Kind::ResponseBodyTooLarge { max_size },
        Kind::UnexpectedContentType(content_type) => Kind::UnexpectedContentType(content_type),
        Kind::ServerDoesNotSupportSse => Kind::ServerDoesNotSupportSse,
        Kind::ServerDoesNotSupportDeleteSession => Kind::ServerDoesNotSupportDeleteSession,
        Kind::TokioJoinError(error) => Kind::TokioJoinError(error),
        Kind::Deserialize(error) => Kind::Deserialize(error),
        Kind::TransportChannelClosed => Kind::TransportChannelClosed,
        Kind::MissingSessionIdInResponse => Kind::MissingSessionIdInResponse,
        Kind::AuthRequired(error) => Kind::AuthRequired(error),
        Kind::InsufficientScope(error) => Kind::InsufficientScope(error),
        Kind::ReservedHeaderConflict(name) => Kind::ReservedHeaderConflict(name),
        Kind::SessionExpired => Kind::SessionExpired,
        Kind::SessionRecoveryTimeout => Kind::SessionRecoveryTimeout,
        Kind::ReinitializationFailed(error) => Kind::ReinitializationFailed(error),
        Kind::ControlRequestTimeout => Kind::ControlRequestTimeout,
        // Kinds that a later rmcp adds, and kinds behind features that this crate does not enable.
        other => Kind::UnexpectedServerResponse(other.to_string().into()),
    }
}
