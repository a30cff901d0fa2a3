//! The guard of an MCP server: a token serves only the tools that its authorization details name.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Map, Value};
use tower_layer::Layer;
use tower_service::Service;

use crate::call::{Caller, RequiredAction};
use crate::net::ResponseBody;
use crate::outcome::{Detail, FieldError, Halted, Trace, Validation};

/// The maximum size of a message.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Refuses a tool call that no authorization detail of its token permits (RFC 9396): the detail names the
/// tool in its `actions`, or is an `mcp_tool` without `actions`, and each of its `limits` is a number among
/// the arguments of the call, from 0 to that limit. An argument that is absent, or no number, is refused
/// where its name is limited. A detail with an `identifier` or `datatypes` permits no call here, because the
/// guard cannot know which arguments name them. All messages other than `tools/call` pass.
///
/// Add it below [`Verifier::layer`](crate::Verifier::layer), which verifies the caller, and above the MCP
/// service. A refusal has the status 403, with the error `insufficient_authorization_details`
/// ([`Caller::require_action`]). A body that is no message of MCP, has a repeated member, or is longer than
/// 4 MiB is refused with 422.
///
/// ```
/// # #[cfg(feature = "axum")] fn app(verifier: &sts_client::Verifier, mcp: axum::Router) -> axum::Router {
/// use sts_client::integrations::rmcp::ToolGuardLayer;
///
/// axum::Router::new().nest("/mcp", mcp).layer(ToolGuardLayer::new()).layer(verifier.layer())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ToolGuardLayer {
    location: Option<String>,
}

impl ToolGuardLayer {
    /// Returns a guard of a server whose only place is the `aud` of its tokens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the URI by which the `locations` of details name this server.
    ///
    /// ```
    /// # use sts_client::integrations::rmcp::ToolGuardLayer;
    /// let guard = ToolGuardLayer::new().at("https://tools.shop.example/mcp");
    /// ```
    #[must_use]
    pub fn at(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Returns the actions of the tool calls in a body; `None` if it cannot be read.
    fn actions(&self, body: &[u8]) -> Option<Vec<RequiredAction>> {
        let messages = match sts_jose::json::parse_value(body).ok()? {
            Value::Array(messages) => messages,
            message => vec![message],
        };
        let mut actions = Vec::new();
        for message in &messages {
            let message = message.as_object()?;
            if message.get("method").is_some_and(|method| method == "tools/call") {
                actions.push(self.action(message.get("params")?.as_object()?)?);
            }
        }
        Some(actions)
    }

    fn action(&self, params: &Map<String, Value>) -> Option<RequiredAction> {
        let mut action = RequiredAction::new(params.get("name")?.as_str()?);
        for (name, argument) in params.get("arguments").and_then(Value::as_object).into_iter().flatten() {
            if let Some(number) = argument.as_f64() {
                action = action.limit(name, number);
            }
        }
        Some(match &self.location {
            Some(location) => action.at(location),
            None => action,
        })
    }
}

impl<S> Layer<S> for ToolGuardLayer {
    type Service = ToolGuard<S>;

    fn layer(&self, inner: S) -> ToolGuard<S> {
        ToolGuard { inner, guard: self.clone() }
    }
}

/// An MCP service behind a guard. Made by [`ToolGuardLayer`].
///
/// ```
/// # use sts_client::integrations::rmcp::{ToolGuard, ToolGuardLayer};
/// # use tower_layer::Layer as _;
/// fn guarded<S>(mcp: S) -> ToolGuard<S> {
///     ToolGuardLayer::new().layer(mcp)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ToolGuard<S> {
    inner: S,
    guard: ToolGuardLayer,
}

impl<S, B, R> Service<Request<B>> for ToolGuard<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + From<Vec<u8>>
        + Send
        + 'static,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Call the service that was polled ready. Its clone takes the next request.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let guard = self.guard.clone();
        Box::pin(async move {
            match guard.admit(request).await {
                Ok(request) => Ok(inner.call(request).await?.map(ResponseBody::of_service)),
                Err(refused) => Ok(refused.map(ResponseBody::from)),
            }
        })
    }
}

impl ToolGuardLayer {
    /// Returns the request if its token permits all of its tool calls, or else the response.
    async fn admit<B>(&self, request: Request<B>) -> Result<Request<B>, Response<Vec<u8>>>
    where
        B: http_body::Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + From<Vec<u8>>,
    {
        if request.method() != Method::POST {
            return Ok(request);
        }
        let Some(caller) = request.extensions().get::<Caller>().cloned() else {
            tracing::error!("no verifier layer runs before the tool guard: all messages are rejected");
            let halted = Halted::error("MISCONFIGURED", "this agent is not set up for the call");
            return Err(halted.answer(&Trace::unknown()).to_response());
        };
        let (parts, body) = request.into_parts();
        // The cause is dropped because it concerns only the connection between the caller and the server.
        let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
            return Err(unreadable(&caller));
        };
        let body = body.to_bytes();
        let actions = self.actions(&body).ok_or_else(|| unreadable(&caller))?;
        if let Err(refusal) = caller.require_actions(&actions) {
            tracing::debug!(reason = refusal.reason(), "a tool call is refused");
            return Err(refusal.to_response());
        }
        Ok(Request::from_parts(parts, B::from(Vec::from(body))))
    }
}

fn unreadable(caller: &Caller) -> Response<Vec<u8>> {
    let message = format!("it is no message of MCP, has a repeated member, or is longer than {MAX_BODY_BYTES} bytes");
    let errors = vec![FieldError { field: "body".to_owned(), message }];
    let detail = Detail::new("BODY_UNREADABLE", "the body is refused");
    Halted::ValidationFailed(Validation { detail, errors }).answer(&Trace::from(caller)).to_response()
}
