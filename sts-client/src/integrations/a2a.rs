//! Integration with A2A, for the official Rust crates (`a2a-client-lf`, `a2a-server-lf`).
//!
//! Outbound, use the interceptor in the client:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use a2a_client::jsonrpc::JsonRpcTransport;
//! use a2a_client::A2AClient;
//! use sts_client::integrations::a2a::PropagateInterceptor;
//! use sts_client::{CallContext, Propagator};
//!
//! async fn ask(propagator: Propagator, context: CallContext) -> Result<(), Box<dyn std::error::Error>> {
//!     let url = "https://inventory.shop.example/a2a";
//!     let transport = JsonRpcTransport::new(sts_client::integrations::http_client()?, url.to_owned());
//!     let interceptor = PropagateInterceptor::new(propagator, url.parse()?);
//!     let client = A2AClient::new(transport).with_interceptors(vec![Arc::new(interceptor)]);
//!     let request = a2a::GetTaskRequest { id: "t-1".to_owned(), history_length: None, tenant: None };
//!     let task = context.scope(client.get_task(&request)).await?;
//!     println!("{task:?}");
//!     Ok(())
//! }
//! ```
//!
//! Inbound, call [`verify`] in an executor, which runs in its own task and has access only to the
//! parameters of the request. This protects only the calls that reach the executor. Calls to read,
//! list, watch and cancel tasks may not reach it. So also wrap the router of the server in
//! `inbound::VerifierLayer`, and check the owner of a task in its `RequestAuthorizer`.

use std::sync::Arc;

use ::a2a::errordetails::{ERROR_INFO_TYPE, TypedDetail};
use ::a2a::{A2AError, Message, Part, PartContent, Role, TaskState, TaskStatus, error_code};
use a2a_client::middleware::CallInterceptor;
pub use a2a_client::transport::ServiceParams;
use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use crate::call::{CallContext, Caller, IDEMPOTENCY_KEY, RequiredApproval, X_TENANT_ID};
use crate::error::Error;
use crate::inbound::{Refusal, Verifier};
use crate::integrations::probe;
use crate::outcome::{Approval, Halted, Trace};
use crate::propagate::again::Sent;
use crate::propagate::{OutboundOperation, Propagator};

/// The `domain` of the [`ErrorInfo`](https://google.aip.dev/193#errorinfo) in an [`A2AError`] that
/// represents an [`Error`].
pub const ERROR_DOMAIN: &str = "agent-sts";

/// The maximum wait that an error may request. A remote agent can forge the error.
const MAX_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(60 * 60);

/// Sets the parameters of every call to a single agent by its route.
///
/// The context is the fixed context, or else the context of the task. The interceptor has access
/// only to the parameters of a call: wrap the call in `CallContext::scope` to give each call its
/// own context.
///
/// The interceptor cannot see the URL that the transport calls. A client that a factory makes from
/// an agent card calls the URL in the card, which the other agent writes. Pass the URL of the
/// interface that `create_from_card_with_interface` chose, never the URL of the configuration.
/// Otherwise the token for one agent may be sent to another.
///
/// A call of a method that changes state (`SendMessage`, …) carries a child of the request's
/// idempotency key ([`IdempotencyKey::child`](crate::IdempotencyKey::child)). The child depends on
/// the method and on the number of earlier calls of it under the request. Methods that read, list
/// and subscribe carry no key. The interceptor cannot see the message. An agent that sends several
/// messages *at the same time* must name them ([`CallContext::for_operation`]). Otherwise a retry
/// of its request may number them differently.
///
/// The interceptor cannot see the answer either. A bearer token that the target refuses is sent until
/// it expires, unless the agent calls [`Propagator::forget`] after a failed call.
///
/// The proof of a bound token ([`StsBuilder::dpop`](crate::exchange::StsBuilder::dpop)) is for a POST
/// request to the URL of the interceptor, as the JSON-RPC transport sends it. Because the answer is not
/// seen, the nonce is fetched before the call, by a GET request of the client that
/// [`Propagator::http_client`] returns: for the first call, and again if the last answer is 30 seconds old.
/// A target must accept its nonces for longer than that.
///
/// Make it the last interceptor, because it cannot remove what a later interceptor adds. The inner
/// client must follow no redirects: use [`http_client`](crate::integrations::http_client).
#[derive(Debug, Clone)]
pub struct PropagateInterceptor {
    propagator: Propagator,
    url: Url,
    context: Option<CallContext>,
}

impl PropagateInterceptor {
    /// Returns an interceptor for the agent at this URL. It must be the URL that the agent's card
    /// names for the transport, and that the transport calls.
    #[must_use]
    pub fn new(propagator: Propagator, url: Url) -> Self {
        Self { propagator, url, context: None }
    }

    /// Sets a fixed context for all calls, for a client that exists only for a single request.
    #[must_use]
    pub fn with_context(mut self, context: CallContext) -> Self {
        self.context = Some(context);
        self
    }

    async fn prepare(&self, method: &str, params: &ServiceParams) -> Result<ServiceParams, Error> {
        let context = match &self.context {
            Some(context) => context.clone(),
            None => CallContext::find(&Extensions::new())?,
        };
        let operation =
            if is_operation(method) { OutboundOperation::Message(method) } else { OutboundOperation::Keyless };
        let before = headers_of(params)?;
        let mut after = before.clone();
        let request = (Method::POST, self.url.clone());
        // This comes before the proof is made: an answer that another call gets meanwhile is not in it.
        let is_probe_due = self.propagator.is_probe_due(&self.url);
        let mut call = self.propagator.prepare(context, request, &mut after, operation).await?;
        if is_probe_due {
            self.probe(&mut call, &before, &mut after).await;
        }
        replaced(params, &before, &after)
    }

    /// Asks the target for a nonce, and sets `after` to headers that it accepts. Probes once more if the
    /// target refused the token before it gave a nonce.
    async fn probe(&self, call: &mut Sent, before: &HeaderMap, after: &mut HeaderMap) {
        while let Some(refusal) = probe::ask(&self.propagator, call).await {
            let mut again = before.clone();
            // Each reason causes one repetition, so the loop ends.
            if !self.propagator.prepare_again(call, refusal, &mut again).await {
                return;
            }
            *after = again;
            if !self.propagator.is_probe_due(&self.url) {
                return;
            }
        }
    }
}

#[async_trait]
impl CallInterceptor for PropagateInterceptor {
    async fn before(&self, method: &str, params: &mut ServiceParams) -> Result<(), A2AError> {
        match self.prepare(method, params).await {
            Ok(prepared) => {
                *params = prepared;
                Ok(())
            }
            Err(error) => {
                params.clear();
                Err(to_a2a_error(&error))
            }
        }
    }
}

/// Returns true if a method changes state. All methods do, except those that read, list and
/// subscribe.
fn is_operation(method: &str) -> bool {
    use ::a2a::jsonrpc::methods;
    let reads = [
        methods::GET_TASK,
        methods::LIST_TASKS,
        methods::SUBSCRIBE_TO_TASK,
        methods::GET_PUSH_CONFIG,
        methods::LIST_PUSH_CONFIGS,
        methods::GET_EXTENDED_AGENT_CARD,
    ];
    !reads.contains(&method)
}

fn headers_of(params: &ServiceParams) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, values) in params {
        let name = HeaderName::try_from(name.as_str())
            .map_err(|error| Error::misconfigured(format!("a parameter of the call is not a header: {error}")))?;
        for value in values {
            let value = HeaderValue::try_from(value.as_str()).map_err(|error| {
                Error::misconfigured(format!("the parameter {name} of the call is not a header: {error}"))
            })?;
            headers.append(&name, value);
        }
    }
    Ok(headers)
}

/// Returns the parameters with the headers in `after`. Unchanged parameters keep their spelling.
fn replaced(params: &ServiceParams, before: &HeaderMap, after: &HeaderMap) -> Result<ServiceParams, Error> {
    let is_kept = |name: &HeaderName| before.contains_key(name) && before.get_all(name).iter().eq(after.get_all(name));
    let spelled_like_kept = |name: &str| HeaderName::try_from(name).is_ok_and(|name| is_kept(&name));
    let mut prepared: ServiceParams =
        params.iter().filter(|(name, _)| spelled_like_kept(name)).map(|(k, v)| (k.clone(), v.clone())).collect();
    for name in after.keys().filter(|name| !is_kept(name)) {
        let values = after.get_all(name).iter().map(|value| value.to_str().map(str::to_owned));
        let values = values.collect::<Result<Vec<_>, _>>().map_err(|error| {
            Error::misconfigured(format!("the header {name} cannot be a parameter of an a2a call: {error}"))
        })?;
        prepared.insert(name.as_str().to_owned(), values);
    }
    Ok(prepared)
}

/// Converts an [`Error`] for the caller of an A2A client. [`to_error`] is the reverse.
fn to_a2a_error(error: &Error) -> A2AError {
    let (reason, metadata) = match error {
        Error::Refused { code } => ("REFUSED", vec![("code", code.to_string())]),
        Error::ApprovalRequired(required) => {
            let RequiredApproval { approval_id, interaction_uri, approver } = &**required;
            let approver = approver.map(|approver| ("approver", approver.as_str().to_owned()));
            let named = [("approval_id", approval_id.clone()), ("interaction_uri", interaction_uri.to_string())];
            ("APPROVAL_REQUIRED", named.into_iter().chain(approver).collect())
        }
        Error::Unavailable { retry_after, .. } => {
            let seconds = retry_after.map(|after| ("retry_after_seconds", after.as_secs().to_string()));
            ("UNAVAILABLE", seconds.into_iter().collect())
        }
        Error::Misconfigured { what } => ("MISCONFIGURED", vec![("what", what.to_string())]),
        Error::WrongAudience { issued } => ("WRONG_AUDIENCE", vec![("issued", issued.to_string())]),
        Error::NoRoute { url, routes } => {
            let routes: Vec<&str> = routes.iter().map(Url::as_str).collect();
            ("NO_ROUTE", vec![("url", url.to_string()), ("routes", routes.join(" "))])
        }
    };
    let metadata = metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    A2AError::new(error_code::INTERNAL_ERROR, error.to_string()).with_details(vec![TypedDetail::error_info(
        reason,
        ERROR_DOMAIN,
        Some(metadata),
    )])
}

/// Returns the [`Error`] with which [`PropagateInterceptor`] stopped a call; `None` for any other
/// error. The cause of an outage is not preserved.
///
/// A remote agent can send an error with the same form. Use the result to decide on a retry and on
/// a message, never on authority. The error contains internal addresses, so an agent must not pass
/// it to its own caller.
#[must_use]
pub fn to_error(error: &A2AError) -> Option<Error> {
    let is_ours = |detail: &&TypedDetail| {
        detail.type_url == ERROR_INFO_TYPE && detail.value.get("domain").is_some_and(|domain| domain == ERROR_DOMAIN)
    };
    let info = &error.details.as_ref()?.iter().find(is_ours)?.value;
    let metadata = |name: &str| info.get("metadata")?.get(name)?.as_str();
    match info.get("reason")?.as_str()? {
        "REFUSED" => Some(Error::Refused { code: crate::RefusalCode::from_answer(metadata("code")?) }),
        "APPROVAL_REQUIRED" => {
            let required =
                RequiredApproval::new(metadata("approval_id")?, metadata("interaction_uri")?, metadata("approver"))?;
            Some(Error::ApprovalRequired(Arc::new(required)))
        }
        "UNAVAILABLE" => {
            let seconds = metadata("retry_after_seconds").and_then(|seconds| seconds.parse().ok());
            let retry_after = seconds.map(|seconds| std::time::Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
            Some(Error::Unavailable { retry_after, outage: None })
        }
        "MISCONFIGURED" => Some(Error::misconfigured(metadata("what")?.to_owned())),
        "WRONG_AUDIENCE" => Some(Error::WrongAudience { issued: metadata("issued")?.into() }),
        "NO_ROUTE" => {
            let routes = metadata("routes")?.split_ascii_whitespace().filter_map(|url| url.parse().ok()).collect();
            Some(Error::NoRoute { url: Box::new(metadata("url")?.parse().ok()?), routes })
        }
        _ => None,
    }
}

/// Returns the status of a task whose work waits for the approval of a person, `TASK_STATE_AUTH_REQUIRED`. The
/// message has the page as text, and the outcome as data. The next message of the task resumes it: the same
/// call passes once the approval is granted.
///
/// ```
/// # #[cfg(feature = "test-util")] {
/// use sts_client::integrations::a2a::{auth_required, required_approval};
/// use sts_client::outcome::{Halted, Trace};
/// use sts_client::{Caller, Error};
///
/// /// The status of a task whose call to another agent was not sent.
/// fn status(error: &Error, caller: &Caller) -> Option<a2a::TaskStatus> {
///     let Halted::ApprovalRequired(approval) = Halted::from(error) else { return None };
///     Some(auth_required(&approval, &Trace::from(caller)))
/// }
/// # let _ = (status, required_approval);
/// # }
/// ```
#[must_use]
pub fn auth_required(approval: &Approval, trace: &Trace) -> TaskStatus {
    let text = match &approval.interaction_uri {
        Some(page) => format!("{}: {page}", approval.detail.message),
        None => approval.detail.message.clone(),
    };
    let data = Halted::ApprovalRequired(Box::new(approval.clone())).answer(trace).to_value();
    let message = Message::new(Role::Agent, vec![Part::text(text), Part::data(data)]);
    TaskStatus { state: TaskState::AuthRequired, message: Some(message), timestamp: None }
}

/// Returns the approval for which the task of a called agent waits; `None` for another state, and if the agent
/// does not say which. The called agent chose the page: show its host to the user.
///
/// ```
/// use a2a::SendMessageResponse;
/// use sts_client::integrations::a2a::required_approval;
/// use sts_client::outcome::Halted;
///
/// /// The outcome of a call, for the caller of this agent.
/// fn outcome(answer: &SendMessageResponse) -> Option<Halted> {
///     let SendMessageResponse::Task(task) = answer else { return None };
///     required_approval(&task.status).map(|approval| Halted::ApprovalRequired(Box::new(approval)))
/// }
/// ```
#[must_use]
pub fn required_approval(status: &TaskStatus) -> Option<Approval> {
    if status.state != TaskState::AuthRequired {
        return None;
    }
    status.message.as_ref()?.parts.iter().find_map(|part| match &part.content {
        PartContent::Data(data) => match Halted::from_value(data) {
            Halted::ApprovalRequired(approval) => Some(*approval),
            _ => None,
        },
        PartContent::Text(_) | PartContent::Raw(_) | PartContent::Url(_) => None,
    })
}

/// Verifies the token of a request to an A2A server, from the parameters of the request.
///
/// The task of an executor has no context. So an executor starts with this code:
///
/// ```no_run
/// use sts_client::integrations::a2a::{ServiceParams, verify};
/// use sts_client::{CallContext, Verifier};
///
/// # async fn work() {}
/// async fn execute(verifier: &Verifier, params: &ServiceParams) -> Result<(), a2a::A2AError> {
///     let caller = verify(verifier, params)
///         .await
///         .map_err(|refusal| a2a::A2AError::invalid_request(refusal.to_string()))?;
///     CallContext::from(caller).scope(work()).await;
///     Ok(())
/// }
/// ```
///
/// # Errors
/// See [`Refusal`]. Every spelling and every value of a parameter counts as a separate header.
pub async fn verify(verifier: &Verifier, params: &ServiceParams) -> Result<Caller, Refusal> {
    verifier.verify(&received(params)).await
}

/// Replaces the value of a credential, a tenant or a key that cannot have been a header. No check
/// accepts it.
const MALFORMED: HeaderValue = HeaderValue::from_static("? ?");

/// Returns the headers that the parameters were made of. A credential, a tenant or a key that cannot
/// have been a header is malformed and not absent, because a request with a malformed credential is
/// not a request without one. Any other value that cannot have been a header is dropped.
fn received(params: &ServiceParams) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in params {
        let Ok(name) = HeaderName::try_from(name.as_str()) else { continue };
        for value in values {
            match HeaderValue::try_from(value.as_str()) {
                Ok(value) => headers.append(&name, value),
                Err(_) if [AUTHORIZATION, X_TENANT_ID, IDEMPOTENCY_KEY].contains(&name) => {
                    headers.append(&name, MALFORMED)
                }
                Err(_) => continue,
            };
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::RefusalCode;

    #[test]
    fn the_kind_of_an_error_survives_the_way_through_an_a2a_error() {
        let rows = [
            Error::Refused { code: RefusalCode::from_answer("invalid_target") },
            Error::ApprovalRequired(Arc::new(
                RequiredApproval::new("a-1", "https://sts.example.com/approvals/a-1", Some("operator")).unwrap(),
            )),
            Error::Unavailable { retry_after: Some(Duration::from_secs(7)), outage: None },
            Error::Unavailable { retry_after: None, outage: None },
            Error::misconfigured("no call context"),
            Error::WrongAudience { issued: "inventory-agent".into() },
            Error::NoRoute {
                url: Box::new("https://a.example/x".parse().unwrap()),
                routes: ["https://b.example/".parse().unwrap(), "https://c.example/".parse().unwrap()].into(),
            },
        ];
        for error in rows {
            let back = to_error(&to_a2a_error(&error)).unwrap();
            assert_eq!(format!("{back:?}"), format!("{error:?}"));
        }
    }

    #[test]
    fn a_value_that_is_no_header_is_malformed_where_it_decides_and_dropped_elsewhere() {
        let names = ["Authorization", "X-Tenant-ID", "Idempotency-Key", "traceparent", "x-correlation-id", "x-note"];
        let params = names.map(|name| (name.to_owned(), vec!["a\r\nb".to_owned()])).into();
        let headers = received(&params);
        let decide = [AUTHORIZATION, X_TENANT_ID, IDEMPOTENCY_KEY];
        assert!(decide.iter().all(|name| headers.get(name) == Some(&MALFORMED)), "{headers:?}");
        assert_eq!(headers.len(), decide.len(), "{headers:?}");
    }

    #[test]
    fn no_remote_agent_makes_its_caller_wait_for_ever() {
        let forged = Error::Unavailable { retry_after: Some(Duration::MAX), outage: None };
        let Some(Error::Unavailable { retry_after, .. }) = to_error(&to_a2a_error(&forged)) else { panic!() };
        assert_eq!(retry_after, Some(MAX_RETRY_AFTER));
    }

    #[test]
    fn an_error_of_a_remote_agent_is_none_of_ours() {
        let foreign = TypedDetail::error_info("REFUSED", ::a2a::errordetails::PROTOCOL_DOMAIN, None);
        let malformed = TypedDetail::error_info("REFUSED", ERROR_DOMAIN, None);
        for error in [
            A2AError::internal("x"),
            A2AError::internal("x").with_details(vec![foreign]),
            A2AError::internal("x").with_details(vec![malformed]),
        ] {
            assert!(to_error(&error).is_none(), "{error:?}");
        }
    }
}
