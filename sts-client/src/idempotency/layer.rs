//! A tower layer that does what is asked for again once.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::oneshot;
use tower_layer::Layer;
use tower_service::Service;

use super::stored::{self, KEPT};
use super::{Attempt, Fingerprint, Idempotency, Repeatable, Work};
use crate::carried::IdempotencyKey;
use crate::delegation::Delegation;
use crate::outcome::{
    Clarification, Detail, FieldError, Halted, InputType, Location, RequiredInput, Trace, Validation,
};
use crate::response_body::ResponseBody;

/// Stands on an answer that was given before.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest body of a request that bears a key.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Whatever stands below does each operation once, by `Idempotency-Key`. Put it below [`Verifier::layer`](crate::Verifier::layer), which
/// says who calls, and before handlers: `.layer(idempotency).layer(verifier.layer())`.
///
/// | a request | |
/// |---|---|
/// | GET, HEAD, OPTIONS, TRACE; or without a key | goes on as it is; without a key, where one is required: 400 `clarification_required` |
/// | with a key that is repeated or malformed | 400 `clarification_required` |
/// | with a key that is new | goes on, and its answer is kept |
/// | with one that has been answered | the same answer: status, kept headers, body; and `Idempotency-Replayed: true` |
/// | with one that has been used with another body | 409 `conflict` |
/// | with one whose operation is going on | 409 `conflict` with `Retry-After` |
/// | while the store cannot be asked | 424 `failed_dependency` |
///
/// "Another body" is another method, path, query, content type or body.
///
/// **What is kept**: answers that stand, of a status from 200 to 499. Not those of 408, 412, 424, 425 and 429, which say that nothing has
/// been done yet and a repetition may be answered otherwise (approval may have been given, a dependency may be back); and not those of 500
/// and up, nor panics. After these the same key does it again, under which the handler's own calls bear the same child keys.
///
/// **A handler runs in a task of its own**: a caller that hangs up, or a timeout above, takes nothing back, and its repetition is told the
/// outcome. A timeout below this layer answers with a status that is not kept.
///
/// A router that is nested sees its paths without the prefix; so each layer has a name, and layers of one store with one name are one.
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
    /// A layer for the routes of that name. A key is not required, bodies have up to 1 MiB, answers what `idempotency` says.
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

    /// Requests that do something must have a key.
    #[must_use]
    pub fn required(mut self) -> Self {
        Arc::make_mut(&mut self.settings).is_required = true;
        self
    }

    /// The longest body of a request that bears a key. A longer one is 422 `validation_failed`.
    #[must_use]
    pub fn max_body_bytes(mut self, max: usize) -> Self {
        Arc::make_mut(&mut self.settings).max_body_bytes = max;
        self
    }

    /// A header of answers that is kept too. Those that describe the outcome are: `Content-Type`, `Content-Language`, `Content-Location`,
    /// `Location`, `ETag`, `Last-Modified`, `Cache-Control`, `Vary`, `Link`, `Retry-After`.
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

/// Does each operation of the service inside once.
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
        // The service that was polled ready is the one that is called; its clone waits for the next request.
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
    /// The key by which the request goes; `None` where it goes by none.
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
        let Some(caller) = request.extensions().get::<Delegation>().cloned() else {
            tracing::error!(
                "no verifier's layer stands before the idempotency layer: requests with a key are not served"
            );
            return Err(Halted::error("MISCONFIGURED", "this agent is not set up for the call"));
        };
        let (parts, body) = request.into_parts();
        let body = self.collect(body).await?;
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let content_type = parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let method = parts.method.as_str();
        let fingerprint = Fingerprint::of([method.as_bytes(), path.as_bytes(), query.as_bytes(), content_type, &body]);
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
        let unreadable =
            || Halted::failed_dependency("IDEMPOTENCY_STORE_UNAVAILABLE", "what was kept is unreadable", None);
        let stored = stored::from_bytes(&ran.outcome).ok_or_else(unreadable)?;
        let mut response = Response::new(ResponseBody::from(stored.body));
        *response.status_mut() = stored.status;
        *response.headers_mut() = stored.headers;
        if ran.replayed {
            response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        } else if let Ok(parts) = answered.try_recv() {
            // The first to ask has all that the handler said, and not only what is kept.
            *response.headers_mut() = parts.headers;
            *response.extensions_mut() = parts.extensions;
        }
        Ok(response)
    }

    async fn collect<B: http_body::Body<Error: Into<BoxError>>>(&self, body: B) -> Result<Vec<u8>, Halted> {
        match Limited::new(body, self.max_body_bytes).collect().await {
            Ok(collected) => Ok(collected.to_bytes().to_vec()),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(body_refused("BODY_TOO_LARGE", &format!("longer than {} bytes", self.max_body_bytes)))
            }
            // What went wrong on the way of the body is between the caller and the server.
            Err(_error) => Err(body_refused("BODY_UNREADABLE", "it did not come whole")),
        }
    }
}

/// Calls the handler, and says what is kept of its answer.
async fn handle<S, B, R>(
    mut inner: S,
    request: Request<B>,
    (kept, max): (&[HeaderName], usize),
    first: oneshot::Sender<response::Parts>,
) -> Work
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    R: http_body::Body<Error: Into<BoxError>>,
{
    let Ok(response) = inner.call(request).await;
    let (parts, body) = response.into_parts();
    let (status, headers) = (parts.status, parts.headers.clone());
    let body = match Limited::new(body, max).collect().await {
        Ok(collected) => collected.to_bytes(),
        // Kept as what is too long.
        Err(error) if error.is::<LengthLimitError>() => return Work::Final(vec![0; max.saturating_add(1)]),
        Err(error) => {
            tracing::error!(error = &*error as &dyn std::error::Error, "the body of an answer broke off");
            return Work::Transient(stored::to_bytes(StatusCode::INTERNAL_SERVER_ERROR, &HeaderMap::new(), &[], &[]));
        }
    };
    // Nobody may wait for it any more.
    let _gone = first.send(parts);
    let bytes = stored::to_bytes(status, &headers, kept, &body);
    if stands(status) { Work::Final(bytes) } else { Work::Transient(bytes) }
}

/// Whether an answer stands: see [`IdempotencyLayer`].
fn stands(status: StatusCode) -> bool {
    let is_transient = [
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
    extensions.get::<Delegation>().map_or_else(Trace::unknown, Trace::from)
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
