//! Integration with [`reqwest`](https://docs.rs/reqwest), as a middleware.
//!
//! ```no_run
//! use sts_client::integrations::reqwest::client;
//! use sts_client::{CallContext, Caller, Propagator};
//!
//! async fn stock(propagator: Propagator, caller: Caller) -> Result<String, Box<dyn std::error::Error>> {
//!     let client = client(propagator)?;
//!     let request = client.get("https://inventory.shop.example/stock").with_extension(CallContext::from(caller));
//!     // Within `CallContext::scope` a request needs no extension.
//!     match request.send().await {
//!         Ok(response) => Ok(response.text().await?),
//!         Err(reqwest_middleware::Error::Middleware(error)) => match error.downcast::<sts_client::Error>()? {
//!             sts_client::Error::Refused { code } => Err(format!("not sent: {code}").into()),
//!             other => Err(other.into()),
//!         },
//!         Err(error) => Err(error.into()),
//!     }
//! }
//! ```

use async_trait::async_trait;
use http::{Extensions, HeaderValue};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use sts_jose::HttpClientError;

use crate::call::{CallContext, IDEMPOTENCY_KEY};
use crate::error::Error;
use crate::integrations::challenge;
use crate::net::{ClientSource, FollowedClient};
use crate::outcome::{Halted, Outcome, Success};
use crate::propagate::again::Sent;
use crate::propagate::{OutboundOperation, Propagator};

/// Returns a client that sets the headers of every request by its route and follows no redirects.
/// Uses the client of [`Propagator::http_client`]. It is made again when the files of its client
/// certificate change.
///
/// ```
/// use sts_client::{CallContext, Caller, Propagator, integrations};
///
/// # async fn handler(propagator: Propagator, caller: Caller) -> Result<(), Box<dyn std::error::Error>> {
/// let http = integrations::reqwest::client(propagator)?;
/// let stock = http.get("https://inventory.shop.example/stock").with_extension(CallContext::from(caller)).send().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// See [`Propagator::http_client`].
pub fn client(propagator: Propagator) -> Result<ClientWithMiddleware, HttpClientError> {
    let source = propagator.http_source()?;
    let middleware = PropagateMiddleware::new(propagator);
    Ok(match source {
        ClientSource::Fixed(client) => ClientBuilder::new(client).with(middleware).build(),
        ClientSource::Followed(followed) => {
            ClientBuilder::new(followed.last()).with(middleware).with(Following(followed)).build()
        }
    })
}

/// Sends every request by the client of the present client certificate. It is the last middleware.
struct Following(Box<FollowedClient>);

#[async_trait]
impl Middleware for Following {
    async fn handle(
        &self,
        request: ::reqwest::Request,
        _extensions: &mut Extensions,
        _next: Next<'_>,
    ) -> reqwest_middleware::Result<::reqwest::Response> {
        Ok(self.0.current().await.execute(request).await?)
    }
}

/// Sets the headers of every request by its route, on behalf of the context that
/// [`CallContext::find`] finds. That is the context attached by `RequestBuilder::with_extension`,
/// or else the context of the task. On an error nothing is sent, and
/// `reqwest_middleware::Error::Middleware` contains the [`Error`].
///
/// If the target answers 401 with `error="invalid_token"`, its token is dropped. The call is then
/// sent once more with another token, if the body can be sent again (a stream cannot). Both
/// attempts carry the same idempotency key. In the same way the call is sent once more if the target
/// asks for a nonce in the proof of a bound token (`error="use_dpop_nonce"`).
///
/// [`client`] builds a suitable client. If you use another client, make sure of the following:
/// - It follows no redirects, and has no cookie store and no default headers with credentials.
/// - This middleware is the last. It cannot remove what a later middleware adds.
/// - A retry middleware comes before it, so that every attempt carries a valid token. All attempts
///   of a request carry the same idempotency key.
#[derive(Debug, Clone)]
pub struct PropagateMiddleware {
    propagator: Propagator,
}

impl PropagateMiddleware {
    /// Returns a middleware that uses the routes of this propagator.
    ///
    /// ```
    /// use sts_client::Propagator;
    /// use sts_client::integrations::reqwest::PropagateMiddleware;
    /// use sts_client::reqwest_middleware::{ClientBuilder, Middleware};
    ///
    /// /// A client with a retry middleware, which comes before.
    /// fn client(propagator: Propagator, retries: impl Middleware) -> Result<(), sts_client::HttpClientError> {
    ///     let http = propagator.http_client()?;
    ///     let client = ClientBuilder::new(http).with(retries).with(PropagateMiddleware::new(propagator)).build();
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn new(propagator: Propagator) -> Self {
        Self { propagator }
    }

    async fn prepare(&self, request: &mut ::reqwest::Request, extensions: &mut Extensions) -> Result<Sent, Error> {
        let context = CallContext::find(extensions)?;
        let mut headers = std::mem::take(request.headers_mut());
        if let Some(KeyOfRequest(key)) = extensions.get() {
            headers.entry(IDEMPOTENCY_KEY).or_insert_with(|| key.clone());
        }
        let (url, method) = (request.url().clone(), request.method().clone());
        let body = request.body().map_or(Some([].as_slice()), ::reqwest::Body::as_bytes);
        let operation = OutboundOperation::Request { method: &method, body };
        let sent = self.propagator.prepare(context, (method.clone(), url), &mut headers, operation).await?;
        *request.headers_mut() = headers;
        if let Some(key) = sent.key() {
            extensions.insert(KeyOfRequest(key.clone()));
        }
        Ok(sent)
    }
}

/// The idempotency key of a request, stored in its extensions. A retry middleware passes the
/// extensions on for every attempt.
#[derive(Clone)]
struct KeyOfRequest(HeaderValue);

#[async_trait]
impl Middleware for PropagateMiddleware {
    async fn handle(
        &self,
        mut request: ::reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<::reqwest::Response> {
        let mut again = request.try_clone();
        let mut sent = self.prepare(&mut request, extensions).await.map_err(reqwest_middleware::Error::middleware)?;
        loop {
            let response = next.clone().run(request, extensions).await?;
            self.propagator.learn_nonce_of(&mut sent, response.headers());
            let Some(refusal) = challenge::refusal(response.status(), response.headers()) else { return Ok(response) };
            // Drop the token even if this request cannot be sent again, for the sake of later calls.
            let mut headers = again.as_ref().map(|again| again.headers().clone()).unwrap_or_default();
            request = match (self.propagator.prepare_again(&mut sent, refusal, &mut headers).await, again.take()) {
                (true, Some(repeated)) => repeated,
                _ => return Ok(response),
            };
            again = request.try_clone();
            *request.headers_mut() = headers;
        }
    }
}

/// Returns the outcome of a call by [`client`]. Every failure maps to an outcome:
/// - A call that was not sent is the [`Halted`] of its [`Error`].
/// - A call without a complete answer is [`Halted::FailedDependency`] with the code
///   `UPSTREAM_UNREACHABLE`.
/// - A complete answer is read by [`Outcome::read`].
///
/// `max_bytes` is the maximum size of the body. A longer body is reported as unreadable.
///
/// ```
/// use sts_client::integrations::reqwest::outcome;
/// use sts_client::outcome::{Answer, Trace, Translator};
/// use sts_client::{Caller, reqwest_middleware::ClientWithMiddleware};
///
/// async fn stock(http: &ClientWithMiddleware, caller: &Caller) -> Result<u32, Answer> {
///     let asked = outcome(http.get("https://inventory.shop.example/stock").send().await, 64 << 10).await;
///     asked.json().settle(&Translator::of("inventory"), &Trace::from(caller))
/// }
/// ```
pub async fn outcome(answer: reqwest_middleware::Result<::reqwest::Response>, max_bytes: usize) -> Outcome<Success> {
    let mut response = match answer {
        Ok(response) => response,
        Err(error) => return Outcome::Halted(not_answered(&error)),
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Outcome::read(status, headers, body),
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) <= max_bytes => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let message = "the answer is too long";
                return Outcome::Halted(Halted::failed_dependency("UNREADABLE_ANSWER", message, None));
            }
            Err(_broken) => return Outcome::Halted(not_reached()),
        }
    }
}

fn not_answered(error: &reqwest_middleware::Error) -> Halted {
    match error {
        reqwest_middleware::Error::Middleware(error) => match error.downcast_ref::<Error>() {
            Some(error) => Halted::from(error),
            None => Halted::error("MISCONFIGURED", "this agent is not set up for the call"),
        },
        reqwest_middleware::Error::Reqwest(_) => not_reached(),
    }
}

/// The cause is dropped because it names internal addresses.
fn not_reached() -> Halted {
    Halted::failed_dependency("UPSTREAM_UNREACHABLE", "there was no answer, or not all of it", None)
}
