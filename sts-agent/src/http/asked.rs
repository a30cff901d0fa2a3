//! The intake of a question: a bounded body of JSON, and the parts that several questions share.

use axum::body::{Body, to_bytes};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sts_client::http::Method;
use sts_client::url::Url;
use sts_client::{AuthorizationDetail, CallContext, CorrelationId, Tenant};
use utoipa::ToSchema;

use super::answer::Failure;
use crate::header_pairs::HeaderPairs;
use crate::loaded::Loaded;

/// The maximum size of a body: three sets of headers.
const MAX_BODY_BYTES: usize = 512 * 1024;

/// The context of a call without a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WithoutUser {
    /// The tenant for which the call is made.
    tenant_id: Option<String>,
    /// The identifier that joins the events of the work. Made if absent.
    correlation_id: Option<String>,
}

/// Reads the body of a question.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Failure> {
    // The cause is the size, or a requester that is gone.
    let bytes = to_bytes(body, MAX_BODY_BYTES).await.or(Err(Failure::invalid("the body is too long or incomplete")))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        // The message of the parser quotes the body, which holds a token.
        Failure::invalid(format!(
            "the body is not the JSON of this endpoint: line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

/// Returns the context of a call: that of exactly one of an inbound request and no user.
pub(super) async fn context(
    loaded: &Loaded,
    inbound: Option<HeaderPairs>,
    without_user: Option<WithoutUser>,
) -> Result<CallContext, Failure> {
    match (inbound, without_user) {
        (Some(inbound), None) => Ok(loaded.context(&inbound).await?),
        (None, Some(WithoutUser { tenant_id, correlation_id })) => {
            let tenant = tenant_id.map(|tenant| Tenant::new(&tenant)).transpose();
            let tenant = tenant.map_err(|_malformed| Failure::invalid("tenant_id is no tenant"))?;
            let context = CallContext::without_user(tenant, loaded.entropy());
            let Some(id) = correlation_id else { return Ok(context) };
            let id = CorrelationId::from_text(&id);
            Ok(context.with_correlation_id(id.ok_or_else(|| Failure::invalid("correlation_id is no correlation id"))?))
        }
        (None, None) | (Some(_), Some(_)) => Err(Failure::invalid("exactly one of inbound and without_user is needed")),
    }
}

/// Returns the context with the authorization details of one call, in place of those of its route. An empty
/// array requests none.
pub(super) fn with_details(context: CallContext, details: Option<Value>) -> Result<CallContext, Failure> {
    let details = match details {
        None => return Ok(context),
        Some(Value::Array(none)) if none.is_empty() => Vec::new(),
        Some(details) => AuthorizationDetail::array(details)
            .map_err(|error| Failure::invalid(format!("authorization_details: {}", sts_jose::error_chain(&error))))?,
    };
    Ok(context.with_authorization_details(details))
}

/// Returns the URL of a call.
pub(super) fn url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| Failure::invalid("url is no absolute http or https URL"))
}

/// Returns the method of a request.
pub(super) fn method(text: &str) -> Result<Method, Failure> {
    // The cause says no more.
    Method::from_bytes(text.as_bytes()).or(Err(Failure::invalid("method is no HTTP method")))
}
