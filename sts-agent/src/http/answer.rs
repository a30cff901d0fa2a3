//! All statuses and bodies of the endpoints.

use std::collections::BTreeMap;
use std::future::Future;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use sts_client::outcome::{Halted, Trace};
use sts_client::{CallContext, Error, RequiredApproval};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::header_pairs::{self, HeaderError, HeaderPairs};
use crate::loaded::CallerError;
use crate::matches::MatchError;
use crate::metrics;

/// The reason why there is no other answer.
#[derive(Debug, Clone, Copy, Serialize, ToSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum FailureKind {
    /// The question is malformed. The integration is wrong.
    InvalidRequest,
    /// The bearer of this process is missing or wrong.
    Unauthorized,
    /// The caller is refused, or its call is. The same question fails again.
    Refused,
    /// A person must approve the call first. The same question passes once the approval is granted.
    ApprovalRequired,
    /// No route of the agent's file names the target, so the call must not be made.
    NoRoute,
    /// The agent's file is wrong.
    Misconfigured,
    /// There is no answer now. The same question may succeed later.
    Unavailable,
}

/// A failed question. The agent must not serve the request, or not make the call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failure {
    error: FailureKind,
    /// The OAuth error code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The cause, for the log of the agent.
    message: String,
    /// The time after which to ask again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    /// The approval that the call requires.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<Box<CallApproval>>,
    /// The answer that the agent gives to its own caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Box<AgentResponse>>,
}

/// An approval that a call requires.
#[derive(Debug, Serialize, ToSchema)]
struct CallApproval {
    /// The id. Equal calls share one.
    id: String,
    /// The page on which the person decides.
    interaction_uri: String,
    /// The person who decides, `user` or `operator`, if the service names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    approver: Option<&'static str>,
}

impl CallApproval {
    fn of(required: &RequiredApproval) -> Self {
        Self {
            id: required.approval_id.clone(),
            interaction_uri: required.interaction_uri.to_string(),
            approver: required.approver.map(sts_client::Approver::as_str),
        }
    }
}

/// An answer of the agent to its own caller.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentResponse {
    /// The status.
    pub(super) status: u16,
    /// The headers, each as `[name, value]`.
    #[schema(value_type = Vec<Vec<String>>)]
    pub(super) headers: HeaderPairs,
    /// The body.
    pub(super) body: String,
}

impl FailureKind {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Refused | Self::NoRoute => StatusCode::FORBIDDEN,
            Self::ApprovalRequired => StatusCode::PRECONDITION_FAILED,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
            Self::ApprovalRequired => "approval_required",
            Self::NoRoute => "no_route",
            Self::Misconfigured => "misconfigured",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Failure {
    fn new(error: FailureKind, message: impl Into<String>) -> Self {
        Self { error, code: None, message: message.into(), retry_after_seconds: None, approval: None, response: None }
    }

    /// A proxy whose configuration is wrong.
    pub(super) fn misconfigured(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Misconfigured, message)
    }

    /// A malformed question.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::InvalidRequest, message)
    }

    /// A call that must not be made.
    pub(super) fn call(error: &Error, context: &CallContext) -> Self {
        let kind = match error {
            Error::Refused { .. } => FailureKind::Refused,
            Error::ApprovalRequired(_) => FailureKind::ApprovalRequired,
            Error::Unavailable { .. } => FailureKind::Unavailable,
            Error::NoRoute { .. } => FailureKind::NoRoute,
            _ => FailureKind::Misconfigured,
        };
        let mut failure = Self::new(kind, sts_jose::error_chain(error));
        match error {
            Error::Refused { code } => failure.code = Some(code.as_str().to_owned()),
            Error::ApprovalRequired(required) => {
                failure.code = Some("interaction_required".to_owned());
                failure.approval = Some(Box::new(CallApproval::of(required)));
            }
            Error::Unavailable { retry_after, .. } => {
                failure.retry_after_seconds = retry_after.map(|after| after.as_secs().max(1));
            }
            _ => {}
        }
        let answer = Halted::from(error).answer(&Trace::from(context));
        failure.response = Some(AgentResponse::of(answer.to_response()));
        failure
    }

    fn into_response(self) -> Response {
        let mut response = json(&self);
        *response.status_mut() = self.error.status();
        let retry_after = self.retry_after_seconds.filter(|_| self.error == FailureKind::Unavailable);
        response.headers_mut().extend(retry_after.map(|after| (RETRY_AFTER, HeaderValue::from(after))));
        response
    }

    /// The answer that a proxy gives to the caller of the agent, for a request that must not be served.
    pub(super) fn for_caller(self) -> AgentResponse {
        match self.response {
            Some(response) => *response,
            // The message is for the agent's own people.
            None => AgentResponse::bare(self.error),
        }
    }

    /// The answer that a proxy gives to the agent, for a call that must not be made: that of
    /// `POST /v1/headers`.
    pub(super) fn for_agent(&self) -> AgentResponse {
        let mut headers = AgentResponse::bare(self.error).headers;
        let retry_after = self.retry_after_seconds.filter(|_| self.error == FailureKind::Unavailable);
        headers.extend(retry_after.map(|after| ["retry-after".to_owned(), after.to_string()]));
        let body = serde_json::to_string(self).unwrap_or_default();
        AgentResponse { status: self.error.status().as_u16(), headers, body }
    }
}

impl From<MatchError> for Failure {
    fn from(error: MatchError) -> Self {
        Self::new(FailureKind::Refused, error.to_string())
    }
}

impl From<HeaderError> for Failure {
    fn from(error: HeaderError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<CallerError> for Failure {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::NoInbound => Self::new(FailureKind::Misconfigured, error.to_string()),
            CallerError::Header(error) => error.into(),
            CallerError::Refused(refusal) => {
                let retry_after = refusal.retry_after();
                let kind = if retry_after.is_some() { FailureKind::Unavailable } else { FailureKind::Refused };
                let mut failure = Self::new(kind, format!("the caller is refused: {}", refusal.reason()));
                failure.code = refusal.error().map(str::to_owned);
                failure.retry_after_seconds = retry_after.map(|after| after.as_secs().max(1));
                failure.response = Some(AgentResponse::of(refusal.to_response()));
                failure
            }
            CallerError::Lost => {
                let mut failure = Self::new(FailureKind::Unavailable, error.to_string());
                failure.retry_after_seconds = Some(1);
                failure.response = Some(AgentResponse::new_request());
                failure
            }
        }
    }
}

impl AgentResponse {
    fn of(response: http::Response<Vec<u8>>) -> Box<Self> {
        let (parts, body) = response.into_parts();
        let body = String::from_utf8_lossy(&body).into_owned();
        Box::new(Self { status: parts.status.as_u16(), headers: header_pairs::write(&parts.headers), body })
    }

    /// The answer to a caller that is served when it sends its request again, with a new proof.
    fn new_request() -> Box<Self> {
        let mut answer = Self::bare(FailureKind::Unavailable);
        answer.headers.push(["retry-after", "1"].map(str::to_owned));
        Box::new(answer)
    }

    /// The answer that says the kind of a failure alone.
    fn bare(kind: FailureKind) -> Self {
        let code = match kind {
            FailureKind::InvalidRequest => "invalid_request",
            FailureKind::Unauthorized | FailureKind::Refused | FailureKind::NoRoute => "access_denied",
            FailureKind::ApprovalRequired => "interaction_required",
            FailureKind::Misconfigured => "server_error",
            FailureKind::Unavailable => "temporarily_unavailable",
        };
        let headers = [["content-type", "application/json"], ["cache-control", "no-store"]];
        let headers = headers.map(|pair| pair.map(str::to_owned)).into();
        Self { status: kind.status().as_u16(), headers, body: format!(r#"{{"error":"{code}"}}"#) }
    }
}

/// The failures of every question, for the OpenAPI document.
impl IntoResponses for Failure {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        [
            ("400", "The question is malformed."),
            ("401", "The bearer of this process is missing or wrong."),
            ("403", "The caller is refused, or the call is."),
            ("412", "A person must approve the call first."),
            ("500", "The agent's file is wrong."),
            ("503", "There is no answer now."),
        ]
        .map(|(status, description)| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
            let response = ResponseBuilder::new().description(description).content("application/json", content);
            (status.to_owned(), response.build().into())
        })
        .into()
    }
}

/// Answers a question, and counts the answer with the time that it took.
pub(super) async fn timed(endpoint: &'static str, answer: impl Future<Output = Result<Response, Failure>>) -> Response {
    counted(endpoint, answer).await.unwrap_or_else(Failure::into_response)
}

/// Counts the answer to a question with the time that it took.
pub(super) async fn counted<T>(
    endpoint: &'static str,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let span = span_of(endpoint);
    let start = Instant::now();
    let answer = answer.instrument(span.clone()).await;
    let outcome = answer.as_ref().map_or_else(|failure| failure.error.name(), |_answer| "answered");
    span.record("outcome", outcome);
    metrics::count_request(endpoint, outcome, start.elapsed());
    answer
}

/// Makes the span of a question.
fn span_of(endpoint: &'static str) -> Span {
    let name = format_args!("sts_agent.{endpoint}");
    tracing::info_span!("question", otel.name = %name, otel.kind = "server", endpoint, outcome = Empty)
}

/// Reads the status of a target's answer.
pub(super) fn status_of(status: u16) -> Result<StatusCode, Failure> {
    // The cause says no more.
    StatusCode::from_u16(status).or(Err(Failure::invalid("answer.status is no status")))
}

/// Returns 200 with JSON.
pub(super) fn json(body: &impl Serialize) -> Response {
    // The types of this module have no maps, so they can be written.
    text("application/json", serde_json::to_string(body).unwrap_or_default())
}

/// Returns 200 with a text, which must not be cached: it may hold a token.
pub(super) fn text(media_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns 401: the bearer is missing or wrong.
pub(super) fn unauthorized() -> Response {
    metrics::count_request("any", FailureKind::Unauthorized.name(), std::time::Duration::ZERO);
    let failure = Failure::new(FailureKind::Unauthorized, "the bearer of the bearer file is needed");
    let mut response = failure.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Returns 404.
pub(super) async fn unknown_endpoint() -> Response {
    let mut response = Failure::invalid("no such endpoint").into_response();
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// Returns 405.
pub(super) async fn unknown_method() -> Response {
    let mut response = Failure::invalid("the endpoint has another method").into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// The contract of the packages: the rows of the decision table, the refusals and the rules of
/// headers, each with the answer of this process. `contract.json` is read by the tests of each
/// language.
#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Map, Value, json};
    use sts_client::http::{HeaderMap, Method};
    use sts_client::propagate::OutboundOperation;
    use sts_client::propagate::decide::{Answer, Decision, InboundToken, Plan, Rules, WithUser, after, before};
    use sts_client::test_util::{MockAnswer, MockSts};
    use sts_client::{Caller, CorrelationId, Propagator, RefusalCode, Route, SystemEntropy};

    use super::*;

    const CONTRACT: &str = include_str!("../../contract.json");
    const INBOUND: [&str; 4] = ["verified", "invalid", "service_account", "absent"];
    const WITH_USER: [&str; 3] = ["exchange", "pass_through", "service_account"];
    const EITHER: [&str; 2] = ["fail", "service_account"];
    const STS: [&str; 6] = ["token", "expired", "no", "overloaded", "no_credential", "outage"];

    /// The outcome of a row, by the two functions of the table.
    fn decided([inbound, with_user, on_outage, without_user, sts]: [&str; 5]) -> &'static str {
        let own = |rule: &str| (rule == "service_account").then_some(());
        let with_user = match with_user {
            "exchange" => WithUser::Exchange { exchange: (), stand_in: own(on_outage) },
            "pass_through" => WithUser::PassThrough,
            _ => WithUser::ServiceAccount(()),
        };
        let inbound = match inbound {
            "verified" => InboundToken::Verified(()),
            "invalid" => InboundToken::Invalid,
            "service_account" => InboundToken::ServiceAccount,
            _ => InboundToken::Absent,
        };
        let rules = Rules { with_user, without_user: own(without_user) };
        let stand_in = match before(inbound, &rules) {
            Plan::ServiceAccount(()) => return "service_account",
            Plan::PassThrough(()) => return "pass_through",
            Plan::InvalidToken => return "invalid_token",
            Plan::LoginRequired => return "login_required",
            Plan::Exchange { stand_in, .. } => stand_in,
        };
        let answer = match sts {
            "token" => Answer::Token(()),
            "expired" => Answer::Expired,
            "no" => Answer::No(()),
            "overloaded" => Answer::Overloaded(()),
            "no_credential" => Answer::NoCredential(()),
            _ => Answer::Outage(()),
        };
        match after(stand_in, answer) {
            Decision::Exchanged(()) => "exchanged",
            Decision::Fallback { .. } => "fallback",
            Decision::InvalidToken => "invalid_token",
            Decision::Refused(()) => "refused",
            Decision::Unavailable(()) => "unavailable",
        }
    }

    fn rows() -> Vec<Value> {
        let mut rows = Vec::new();
        for inbound in INBOUND {
            for with_user in WITH_USER {
                for on_outage in EITHER {
                    for without_user in EITHER {
                        rows.extend(STS.map(|sts| {
                            let row = [inbound, with_user, on_outage, without_user, sts];
                            json!([inbound, with_user, on_outage, without_user, sts, decided(row)])
                        }));
                    }
                }
            }
        }
        assert_eq!(rows.len(), 288);
        rows
    }

    fn context() -> CallContext {
        CallContext::without_user(None, &SystemEntropy)
            .with_correlation_id(CorrelationId::from_text("request-7").unwrap())
    }

    fn failed(failure: Failure) -> Value {
        json!({ "status": failure.error.status().as_u16(), "body": failure })
    }

    /// The answer to each decision.
    fn answers() -> Value {
        let mut answers = Map::new();
        for credential in ["exchanged", "service_account", "fallback", "pass_through"] {
            let mut headers = vec![["authorization", credential], ["x-correlation-id", "request-7"], ["accept", "*/*"]];
            headers.extend((credential == "fallback").then_some(["x-delegation-fallback", "service-account"]));
            headers[0][1] = match credential {
                "exchanged" => "Bearer exchanged",
                "pass_through" => "Bearer of-the-user",
                _ => "Bearer of-the-agent",
            };
            let body = json!({ "headers": headers, "credential": credential });
            answers.insert(credential.to_owned(), json!({ "status": 200, "body": body }));
        }
        let refused = |code| Error::Refused { code };
        let unavailable = Error::Unavailable { retry_after: Some(std::time::Duration::from_secs(7)), outage: None };
        for (name, error) in [
            ("invalid_token", refused(RefusalCode::INVALID_TOKEN)),
            ("login_required", refused(RefusalCode::LOGIN_REQUIRED)),
            ("refused", refused(RefusalCode::from_answer("invalid_target"))),
            ("unavailable", unavailable),
        ] {
            answers.insert(name.to_owned(), failed(Failure::call(&error, &context())));
        }
        Value::Object(answers)
    }

    /// The answer to a call that a person must approve first.
    async fn approvals() -> Vec<Value> {
        let url = "https://shop.example/".parse().unwrap();
        let sts = MockSts::new();
        sts.answer_with(MockAnswer::RequireApproval);
        let route = Route::to(sts_client::url::Url::clone(&url)).audience("shop");
        let propagator = Propagator::builder().sts(sts.sts("coordinator")).route(route).build().await.unwrap();
        let alice = Caller::for_test().correlation_id("request-7").build();
        let error = propagator.apply(&alice.into(), &url, &mut HeaderMap::new()).await.unwrap_err();
        vec![failed(Failure::call(&error, &context()))]
    }

    /// The refusals of inbound requests, by the headers that earn them.
    async fn refusals() -> Vec<Value> {
        let file = "[inbound]\naudience = [\"inventory\"]\n\
                    issuers = [{ issuer = \"https://sts.example\", sts = true, jwks = { keys = [KEY] } }]\n";
        let key = "{ kty = \"EC\", crv = \"P-256\", x = \"B-rsEqz1pLozzSA18m2gqIT-suZk8KQakGlcOz80hnQ\", y = \"kh14D3_Q1MAOlxfBTMVlgtpqKT16dO8r8vQxWXtnz5U\", kid = \"seuyFNpCqZVBsClr-GwyVYstts2x_G28Gafqv-tw7Js\", alg = \"ES256\", use = \"sig\" }";
        let verifier = sts_client::Verifier::from_toml(&file.replace("KEY", key)).unwrap().build().unwrap();
        let mut refusals = Vec::new();
        for headers in [
            json!([]),
            json!([["authorization", "Basic YTpi"]]),
            json!([["authorization", "Bearer a b"]]),
            json!([["authorization", "Bearer not.a.token"]]),
            json!([["authorization", "Bearer a"], ["Authorization", "Bearer b"]]),
        ] {
            let pairs: HeaderPairs = serde_json::from_value(headers.clone()).unwrap();
            let refusal = verifier.verify(&header_pairs::read(&pairs).unwrap()).await.unwrap_err();
            let mut refused = failed(CallerError::Refused(refusal).into());
            refused["headers"] = headers;
            refusals.push(refused);
        }
        refusals
    }

    /// The headers of calls, as given and as sent.
    async fn header_rules() -> Vec<Value> {
        let url = "https://inventory.shop.example/stock".parse().unwrap();
        let route = Route::to("https://inventory.shop.example/".parse().unwrap()).audience("inventory");
        let sts = MockSts::new().sts("coordinator");
        let propagator = Propagator::builder().sts(sts).route(route).build().await.unwrap();
        let caller = Caller::for_test().subject("alice").tenant("acme").correlation_id("request-7").build();
        let mut rules = Vec::new();
        for given in [
            json!([]),
            json!([["AUTHORIZATION", "Bearer of-another"], ["authorization", "Bearer of-a-third"]]),
            json!([["Cookie", "session=1"], ["Proxy-Authorization", "Basic YTpi"], ["DPoP", "a-proof"]]),
            json!([
                ["X-Tenant-ID", "evil"],
                ["X-Delegation-Fallback", "service-account"],
                ["X-Correlation-ID", "evil"]
            ]),
            json!([["Client-Cert", ":AA==:"], ["X-Forwarded-Client-Cert", "Hash=1"]]),
            json!([["Connection", "x-tenant-id"], ["Host", "evil.example"]]),
            json!([["Accept", "a"], ["accept", "b"], ["X-Name", "M\u{fc}ller"]]),
            json!([
                ["Idempotency-Key", "of-the-agent"],
                ["traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
            ]),
        ] {
            let pairs: HeaderPairs = serde_json::from_value(given.clone()).unwrap();
            let mut headers: HeaderMap = header_pairs::read(&pairs).unwrap();
            let operation = OutboundOperation::Request { method: &Method::GET, body: None };
            propagator.apply_as(&CallContext::from(&caller), &url, &mut headers, operation).await.unwrap();
            headers.insert("authorization", "Bearer exchanged".parse().unwrap());
            let mut sent = header_pairs::write(&headers);
            sent.sort();
            rules.push(json!({ "given": given, "sent": sent }));
        }
        rules
    }

    /// The text of the contract, an item a line.
    fn text(contract: &Value) -> String {
        let list = |items: Vec<String>| items.join(",\n    ");
        let parts = contract.as_object().unwrap().iter().map(|(name, part)| match part {
            Value::Array(items) => {
                format!("  \"{name}\": [\n    {}\n  ]", list(items.iter().map(Value::to_string).collect()))
            }
            members => {
                let members = members.as_object().unwrap().iter();
                format!(
                    "  \"{name}\": {{\n    {}\n  }}",
                    list(members.map(|(key, value)| format!("\"{key}\": {value}")).collect())
                )
            }
        });
        format!("{{\n{}\n}}\n", parts.collect::<Vec<_>>().join(",\n"))
    }

    /// The value with its texts of JSON read, whose order of members depends on the features of the build.
    fn read_whole(value: &Value) -> Value {
        match value {
            Value::String(text) if text.starts_with('{') => {
                serde_json::from_str(text).map_or_else(|_| value.clone(), |read: Value| read_whole(&read))
            }
            Value::Array(items) => items.iter().map(read_whole).collect(),
            Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), read_whole(value))).collect(),
            _ => value.clone(),
        }
    }

    #[tokio::test]
    async fn the_contract_of_the_packages_is_what_this_process_answers() {
        let contract = json!({
            "decisions": rows(), "answers": answers(), "approvals": approvals().await,
            "refusals": refusals().await, "headers": header_rules().await,
        });
        let known: Value = serde_json::from_str(CONTRACT).unwrap_or_default();
        if read_whole(&known) != read_whole(&contract) && std::env::var_os("STS_TESTS_GENERATE").is_some() {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("contract.json"), text(&contract)).unwrap();
            return;
        }
        assert!(read_whole(&known) == read_whole(&contract), "STS_TESTS_GENERATE=1 writes contract.json");
    }
}
