//! A tower layer that runs each idempotent request once.

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

use super::body::{Collected, collect};
use super::stored::{KEPT, Stored, select};
use super::{Attempt, Fingerprint, Idempotency, Repeatable, Work, multipart};
use crate::call::{Caller, IdempotencyKey};
use crate::net::ResponseBody;
use crate::outcome::{
    Clarification, Detail, FieldError, Halted, InputType, Location, RequiredInput, Trace, Validation,
};

/// The header of a stored answer that is returned again.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The default maximum size of the body of a request with a key.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Runs each operation of the services below it once, by `Idempotency-Key`. Add it below
/// [`Verifier::layer`](crate::Verifier::layer), which verifies the caller, and above the handlers:
/// `.layer(idempotency).layer(verifier.layer())`.
///
/// ```
/// # #[cfg(feature = "axum")] fn app(verifier: &sts_client::Verifier) -> axum::Router {
/// use std::sync::Arc;
///
/// use axum::{Router, routing::post};
/// use sts_client::SystemClock;
/// use sts_client::idempotency::{Idempotency, IdempotencyLayer};
/// use sts_client::dedup::{MemoryLimits, MemoryDedupStore};
///
/// let store = MemoryDedupStore::new(Arc::new(SystemClock), MemoryLimits::default());
/// let idempotency = IdempotencyLayer::new(Idempotency::new(Arc::new(store)), "orders").required();
/// Router::new().route("/orders", post(|| async { "ordered" })).layer(idempotency).layer(verifier.layer())
/// # }
/// ```
///
/// | request | response |
/// |---|---|
/// | GET, HEAD, OPTIONS, TRACE; or without a key | passes unchanged; without a required key: 400 `clarification_required` |
/// | repeated or malformed key | 400 `clarification_required` |
/// | new key | passes, and its answer is stored |
/// | key with a stored answer | the same answer: status, stored headers, body, trailers; and `Idempotency-Replayed: true` |
/// | key with an answer under another authority | 409 `conflict`, `IDEMPOTENCY_OTHER_AUTHORITY` |
/// | key whose answer is not stored | 409 `conflict`, `OUTCOME_NOT_KEPT` |
/// | key that was used with another body | 409 `conflict`, `IDEMPOTENCY_KEY_REUSED` |
/// | key whose operation is in progress | 409 `conflict`, `IDEMPOTENCY_IN_FLIGHT`, with `Retry-After` |
/// | any key while the store is unreachable | 424 `failed_dependency` |
///
/// "Another body" means another method, path, query, content type or body. A multipart body is
/// compared part by part, without its boundary, because clients choose a new boundary for each
/// attempt.
///
/// **Stored answers** have a status from 200 to 499, except 401, 403, 408, 412, 424, 425 and 429.
/// The excepted statuses mean that the operation has not been done yet. A retry may succeed with
/// more authority, with an approval, or after a dependency has recovered. Answers of 500 and above,
/// and panics, are not stored either. After all of these, a retry with the same key runs the work
/// again. The handler's own calls then use the same child keys. For gRPC, the statuses OK,
/// INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS and OUT_OF_RANGE are stored.
///
/// **Streams pass unchanged and are not stored.** A stream is one of these:
/// - an answer of `text/event-stream`, `multipart/x-mixed-replace`, `application/x-ndjson` or
///   `application/json-seq`;
/// - an answer that is too long to store;
/// - an answer of unknown length that does not end within 10 seconds.
///
/// The operation is done as soon as the head of the stream is sent: a retry gets
/// `OUTCOME_NOT_KEPT`. The remaining stream runs within the caller's request, and ends with it.
///
/// **A handler runs in its own task.** A disconnect, or a timeout above this layer, does not cancel
/// it, and a retry returns its outcome. A timeout below this layer answers with a status that is
/// not stored.
///
/// A nested router sees its paths without the prefix, so each layer has a name. Layers with the
/// same store and the same name share their keys.
#[derive(Debug, Clone)]
pub struct IdempotencyLayer {
    settings: Arc<Settings>,
}

#[derive(Debug, Clone)]
struct Settings {
    idempotency: Idempotency,
    name: String,
    is_required: bool,
    max_body_bytes: usize,
    kept: Vec<HeaderName>,
}

impl IdempotencyLayer {
    /// Returns a layer for the routes of this name. The key is optional, and a body may have 1 MiB.
    /// `idempotency` sets the limits for answers.
    pub fn new(idempotency: Idempotency, name: impl Into<String>) -> Self {
        let settings = Settings {
            idempotency,
            name: name.into(),
            is_required: false,
            max_body_bytes: MAX_BODY_BYTES,
            kept: KEPT.to_vec(),
        };
        Self { settings: Arc::new(settings) }
    }

    /// Requires a key on every request except GET, HEAD, OPTIONS and TRACE.
    #[must_use]
    pub fn required(mut self) -> Self {
        Arc::make_mut(&mut self.settings).is_required = true;
        self
    }

    /// Sets the maximum size of the body of a request with a key. A longer body is refused with 422
    /// `validation_failed`. Default 1 MiB.
    #[must_use]
    pub fn max_body_bytes(mut self, max: usize) -> Self {
        Arc::make_mut(&mut self.settings).max_body_bytes = max;
        self
    }

    /// Adds a response header that is stored. These are stored by default: `Allow`,
    /// `Cache-Control`, `Content-Digest`, `Content-Disposition`, `Content-Encoding`,
    /// `Content-Language`, `Content-Location`, `Content-Type`, `ETag`, `Expires`, `Last-Modified`,
    /// `Link`, `Location`, `Retry-After`, `Vary`, `WWW-Authenticate`, and the gRPC headers. All
    /// trailers are stored.
    #[must_use]
    pub fn keep(mut self, header: HeaderName) -> Self {
        Arc::make_mut(&mut self.settings).kept.push(header);
        self
    }
}

impl<S> Layer<S> for IdempotencyLayer {
    type Service = IdempotencyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IdempotencyService { settings: Arc::clone(&self.settings), inner }
    }
}

/// A service that runs each operation of the inner service once.
#[derive(Debug, Clone)]
pub struct IdempotencyService<S> {
    settings: Arc<Settings>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for IdempotencyService<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + From<Vec<u8>> + Send + 'static,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Call the service that was polled ready. Its clone takes the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let settings = Arc::clone(&self.settings);
        Box::pin(async move {
            let key = match settings.key_of(&request) {
                Ok(Some(key)) => key,
                Ok(None) => return Ok(inner.call(request).await?.map(ResponseBody::of_service)),
                Err(halted) => return Ok(halted.answer(&trace(request.extensions())).to_response()),
            };
            let trace = trace(request.extensions());
            Ok(settings.run(inner, request, &key).await.unwrap_or_else(|halted| halted.answer(&trace).to_response()))
        })
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Settings {
    /// Returns the idempotency key of the request; `None` if the layer does not apply.
    fn key_of<B>(&self, request: &Request<B>) -> Result<Option<IdempotencyKey>, Halted> {
        let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(request.method());
        if is_safe {
            return Ok(None);
        }
        match IdempotencyKey::from_headers(request.headers()) {
            Ok(None) if self.is_required => Err(key_wanted("IDEMPOTENCY_KEY_MISSING")),
            Ok(key) => Ok(key),
            Err(_malformed) => Err(key_wanted("IDEMPOTENCY_KEY_MALFORMED")),
        }
    }

    async fn run<S, B, R>(
        &self,
        inner: S,
        request: Request<B>,
        key: &IdempotencyKey,
    ) -> Result<Response<ResponseBody<R>>, Halted>
    where
        S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data: Send, Error: Into<BoxError>> + From<Vec<u8>> + Send + 'static,
        R: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Some(caller) = request.extensions().get::<Caller>().cloned() else {
            tracing::error!("no verifier layer runs before the idempotency layer: requests with a key are rejected");
            return Err(Halted::error("MISCONFIGURED", "this agent is not set up for the call"));
        };
        let (parts, body) = request.into_parts();
        let body = self.collect(body).await?;
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let method = parts.method.as_str();
        let fingerprint = [method.as_bytes(), path.as_bytes(), query.as_bytes()];
        let content = multipart::canonical(parts.headers.get(CONTENT_TYPE), &body);
        let fingerprint = Fingerprint::of(fingerprint.into_iter().chain(content));
        let route = format!("{} {method} {path}", self.name);
        let repeatable = Repeatable { caller: &caller, route: &route, key, fingerprint };
        let (kept, max) = (self.kept.clone(), self.idempotency.max_outcome_bytes);
        let (first, mut answered) = oneshot::channel();
        let work = move |attempt: Attempt| async move {
            let mut request = Request::from_parts(parts, B::from(body));
            request.extensions_mut().insert(attempt);
            handle(inner, request, (&kept, max), first).await
        };
        let ran = self.idempotency.run(repeatable, work).await?;
        if ran.replayed {
            return replay(&ran.outcome);
        }
        // The first caller gets the complete answer of the handler, not only the stored part.
        answered.try_recv().or(Err(Halted::error("BROKEN", "the operation did not end")))
    }

    async fn collect<B: http_body::Body<Error: Into<BoxError>>>(&self, body: B) -> Result<Vec<u8>, Halted> {
        match Limited::new(body, self.max_body_bytes).collect().await {
            Ok(collected) => Ok(collected.to_bytes().to_vec()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(body_refused("BODY_TOO_LARGE", &format!("longer than {} bytes", self.max_body_bytes)))
            }
            // The cause is dropped because it concerns only the connection between the caller and
            // the server.
            Err(_error) => Err(body_refused("BODY_UNREADABLE", "it did not come whole")),
        }
    }
}

/// Decodes a stored answer and marks it with `Idempotency-Replayed: true`.
fn replay<R>(stored: &[u8]) -> Result<Response<ResponseBody<R>>, Halted> {
    let unreadable = || Halted::failed_dependency("IDEMPOTENCY_STORE_UNAVAILABLE", "what was kept is unreadable", None);
    let stored = Stored::from_bytes(stored).ok_or_else(unreadable)?;
    let mut response = Response::new(ResponseBody::in_memory(stored.body, stored.trailers));
    *response.status_mut() = stored.status;
    *response.headers_mut() = stored.headers;
    response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

/// Calls the handler, sends its answer to the waiting caller, and returns the part to be stored.
async fn handle<S, B, R>(
    mut inner: S,
    request: Request<B>,
    (kept, max): (&[HeaderName], usize),
    first: oneshot::Sender<Response<ResponseBody<R>>>,
) -> Work
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    R: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let Ok(response) = inner.call(request).await;
    let (parts, body) = response.into_parts();
    let (response, work) = match collect(&parts.headers, body, max).await {
        Collected::Whole { bytes, trailers } => {
            let stands = stands(parts.status, &parts.headers, trailers.as_ref());
            let stored = Stored {
                status: parts.status,
                headers: select(&parts.headers, kept),
                trailers: trailers.clone(),
                body: bytes.to_vec(),
            };
            let work = if stands { Work::Final(stored.to_bytes()) } else { Work::Transient(Vec::new()) };
            (Response::from_parts(parts, ResponseBody::in_memory(bytes, trailers)), work)
        }
        Collected::Stream(body) => {
            warn_of_stream();
            // The trailers could contain another status, but they have not arrived yet.
            let work = if stands_by_status(parts.status) {
                Work::Unrepeatable(Vec::new())
            } else {
                Work::Transient(Vec::new())
            };
            (Response::from_parts(parts, body), work)
        }
        Collected::Broken(error) => {
            let error: BoxError = error.into();
            tracing::error!(error = &*error as &dyn Error, "the body of an answer broke off");
            let mut response = Response::new(ResponseBody::default());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            (response, Work::Transient(Vec::new()))
        }
    };
    // The caller may have disconnected.
    let _gone = first.send(response);
    work
}

/// Warns once per process, because a caller could otherwise cause a log line per request.
fn warn_of_stream() {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!("an answer to a request with an idempotency key is a stream: it passes and is not kept");
    });
}

/// Returns true if an answer is final: see [`IdempotencyLayer`].
fn stands(status: StatusCode, headers: &HeaderMap, trailers: Option<&HeaderMap>) -> bool {
    let is_grpc = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if !is_grpc || !stands_by_status(status) {
        return stands_by_status(status);
    }
    // OK, INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, OUT_OF_RANGE.
    let grpc_status = trailers.and_then(|trailers| trailers.get("grpc-status")).or_else(|| headers.get("grpc-status"));
    grpc_status.is_some_and(|code| ["0", "3", "5", "6", "11"].iter().any(|standing| code == standing))
}

fn stands_by_status(status: StatusCode) -> bool {
    let is_transient = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::PRECONDITION_FAILED,
        StatusCode::FAILED_DEPENDENCY,
        StatusCode::TOO_EARLY,
        StatusCode::TOO_MANY_REQUESTS,
    ]
    .contains(&status);
    !status.is_server_error() && !is_transient
}

fn trace(extensions: &http::Extensions) -> Trace {
    extensions.get::<Caller>().map_or_else(Trace::unknown, Trace::from)
}

fn key_wanted(code: &str) -> Halted {
    let key = RequiredInput {
        name: "Idempotency-Key".to_owned(),
        location: Location::Header,
        input_type: InputType::String,
        required: true,
        question: "one key for each operation, the same when it is repeated: 1 to 255 visible ASCII characters"
            .to_owned(),
        allowed_values: None,
    };
    let detail = Detail::new(code, "the Idempotency-Key header is absent, repeated or malformed");
    Halted::ClarificationRequired(Clarification { detail, required_inputs: vec![key] })
}

fn body_refused(code: &str, message: &str) -> Halted {
    let errors = vec![FieldError { field: "body".to_owned(), message: message.to_owned() }];
    Halted::ValidationFailed(Validation { detail: Detail::new(code, "the body is refused"), errors })
}
