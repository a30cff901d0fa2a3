//! For [`reqwest`](https://docs.rs/reqwest), by way of its middleware.
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
use crate::integrations::challenge::refuses_token;
use crate::outcome::{Halted, Outcome, Success};
use crate::propagate::again::Sent;
use crate::propagate::{Operation, Propagator};

/// A client whose every request carries what its route says, and that follows no redirects: [`Propagator::http_client`].
///
/// # Errors
/// See [`Propagator::http_client`].
pub fn client(propagator: Propagator) -> Result<ClientWithMiddleware, HttpClientError> {
    Ok(ClientBuilder::new(propagator.http_client()?).with(PropagateMiddleware::new(propagator)).build())
}

/// Makes the headers of every request those that its route says, on behalf of the context that [`CallContext::find`] finds: one that was
/// attached by `RequestBuilder::with_extension`, or that of the task. On an error nothing is sent, and the [`Error`] is what the
/// `reqwest_middleware::Error::Middleware` holds.
///
/// Where the target answers 401 with `error="invalid_token"`, its token is dropped, and the call is made once more with another, if the body
/// can be sent again (a stream cannot). Both carry one idempotency key.
///
/// [`client`] builds the right client. Whoever brings another sees to it that it follows no redirects, has no cookie store and no default
/// headers that speak for somebody, and that this is the last middleware: what comes after it, it cannot take off. A middleware that tries
/// again comes before it, so that every attempt carries a token that is alive; the attempts of one request carry one idempotency key.
#[derive(Debug, Clone)]
pub struct PropagateMiddleware {
    propagator: Propagator,
}

impl PropagateMiddleware {
    /// A middleware that propagates by these routes.
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
        let operation = Operation::Request { method: &method, body };
        let sent = self.propagator.prepare(context, url, &mut headers, operation).await?;
        *request.headers_mut() = headers;
        if let Some(key) = sent.key() {
            extensions.insert(KeyOfRequest(key.clone()));
        }
        Ok(sent)
    }
}

/// The idempotency key of a request, kept among its extensions: a middleware that tries again passes them on for every attempt.
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
        let again = request.try_clone();
        let sent = self.prepare(&mut request, extensions).await.map_err(reqwest_middleware::Error::middleware)?;
        let response = next.clone().run(request, extensions).await?;
        if !refuses_token(response.status(), response.headers()) {
            return Ok(response);
        }
        // Also where it cannot be made again, for the calls after it.
        let mut headers = again.as_ref().map(|again| again.headers().clone()).unwrap_or_default();
        match (self.propagator.prepare_again(&sent, &mut headers).await, again) {
            (true, Some(mut again)) => {
                *again.headers_mut() = headers;
                next.run(again, extensions).await
            }
            _ => Ok(response),
        }
    }
}

/// The outcome of a call by [`client`]: total, so that nothing that went wrong is lost on the way. What did not go out is what
/// [`Halted`] makes of its [`Error`]; what was not answered, or not whole, is [`Halted::FailedDependency`] with the code
/// `UPSTREAM_UNREACHABLE`; and an answer is read by [`Outcome::read`].
///
/// `max_bytes` is the longest body that is read; a longer one is not understood.
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

/// The cause names places, and is nobody else's concern.
fn not_reached() -> Halted {
    Halted::failed_dependency("UPSTREAM_UNREACHABLE", "there was no answer, or not all of it", None)
}
