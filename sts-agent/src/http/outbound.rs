//! `POST /v1/headers`: the headers of an outbound call.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sts_client::propagate::{Credential, OutboundOperation};
use utoipa::ToSchema;

use super::Api;
use super::answer::{self, Failure};
use super::asked::{self, WithoutUser};
use crate::header_pairs::{self, HeaderPairs};
use crate::traces;

/// A call that the agent is about to make. Exactly one of `inbound` and `without_user` is needed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadersRequest {
    /// The HTTP method of the call.
    method: String,
    /// The URL of the call.
    url: String,
    /// The headers that the call has so far, each as `[name, value]`.
    #[serde(default)]
    #[schema(value_type = Vec<Vec<String>>)]
    headers: HeaderPairs,
    /// The `inbound` of the verification of the request that the call is made for. The headers of
    /// that request do too, but then each call has an idempotency key as if it were the first.
    #[schema(value_type = Option<Vec<Vec<String>>>)]
    inbound: Option<HeaderPairs>,
    /// A call for no user, such as that of a scheduled run.
    without_user: Option<WithoutUser>,
    /// SHA-256 of the body in hexadecimal, for the idempotency key. Absent if the body is a stream.
    body_sha256: Option<String>,
    /// The authorization details to request for the call (RFC 9396), in place of those of the route. An empty
    /// array requests none.
    #[schema(value_type = Option<Vec<Object>>)]
    authorization_details: Option<Value>,
    /// The first attempt, for a call that is sent once more because `forget` said so. The call keeps its
    /// idempotency key, and gets no credential with less authority.
    again: Option<FirstAttempt>,
}

/// A call as it was sent first: the answer to its question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FirstAttempt {
    /// The headers with which it was sent.
    #[schema(value_type = Vec<Vec<String>>)]
    headers: HeaderPairs,
    /// The kind of its credential.
    credential: CredentialKind,
}

/// A kind of credential.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CredentialKind {
    /// A token that the service issued for this call. It names the user and the agent.
    Exchanged,
    /// The agent's own token.
    ServiceAccount,
    /// The agent's own token, in place of an exchanged one during an outage.
    Fallback,
    /// The user's own token.
    PassThrough,
}

/// All headers of a call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallHeaders {
    /// The headers to send. They replace all that the call had.
    #[schema(value_type = Vec<Vec<String>>)]
    headers: HeaderPairs,
    /// The kind of credential.
    credential: CredentialKind,
}

/// Returns the headers of a call, with the one credential that its route allows, or the refusal.
#[utoipa::path(
    post,
    path = "/v1/headers",
    operation_id = "headers",
    request_body = HeadersRequest,
    responses((status = 200, description = "The headers of the call.", body = CallHeaders), Failure)
)]
pub(super) async fn headers(State(api): State<Api>, request: Request) -> Response {
    answer::timed("headers", async {
        let asked: HeadersRequest = asked::json(request.into_body()).await?;
        traces::join([&asked.headers].into_iter().chain(&asked.inbound));
        let (method, url) = (asked::method(&asked.method)?, asked::url(&asked.url)?);
        let mut headers = header_pairs::read(&asked.headers)?;
        let loaded = api.live.current();
        let context = asked::context(&loaded, asked.inbound, asked.without_user).await?;
        let context = asked::with_details(context, asked.authorization_details)?;
        let credential = match asked.again {
            Some(first) => {
                let sent = header_pairs::read_answered(&first.headers)?;
                let first = (&sent, first.credential.into());
                loaded.propagator().apply_again(&context, (&method, &url), &mut headers, first).await
            }
            None => {
                let body = asked.body_sha256.as_deref().map(str::as_bytes);
                let operation = OutboundOperation::Request { method: &method, body };
                loaded.propagator().apply_as(&context, &url, &mut headers, operation).await
            }
        };
        let credential = credential.map_err(|error| Failure::call(&error, &context))?;
        Ok(answer::json(&CallHeaders { headers: header_pairs::write(&headers), credential: credential.into() }))
    })
    .await
}

impl From<Credential> for CredentialKind {
    fn from(credential: Credential) -> Self {
        match credential {
            Credential::Exchanged => Self::Exchanged,
            Credential::ServiceAccount => Self::ServiceAccount,
            Credential::Fallback => Self::Fallback,
            Credential::PassThrough => Self::PassThrough,
        }
    }
}

impl From<CredentialKind> for Credential {
    fn from(kind: CredentialKind) -> Self {
        match kind {
            CredentialKind::Exchanged => Self::Exchanged,
            CredentialKind::ServiceAccount => Self::ServiceAccount,
            CredentialKind::Fallback => Self::Fallback,
            CredentialKind::PassThrough => Self::PassThrough,
        }
    }
}
